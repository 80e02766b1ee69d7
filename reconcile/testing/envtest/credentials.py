"""The files by which a control plane and its users know each other: certificates, keys, the administrator's token.

Why client certificates and not tokens: the API server reads ``--token-auth-file`` once, so users would have to be
named before the start; its JWT authenticator wants an issuer on HTTPS; impersonation is not known to every client
and shows as another user in the audit log. A certificate makes anybody at any time, for every client, and costs 2 ms.
The one token is the administrator's, for ``curl`` and for what tests bearer authentication itself; tokens of
ServiceAccounts come from the API server's TokenRequest, as in production.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from reconcile.testing.envtest.certificate_authority import Certificate, CertificateAuthority
from reconcile.testing.envtest.signing_key import SigningKey

__all__ = ["ADMINISTRATOR", "ADMINISTRATORS", "Credentials", "token_kubeconfig", "write_private"]

ADMINISTRATOR = "envtest-admin"
ADMINISTRATORS = "system:masters"
"""The group that may do everything (RBAC bootstrap, ClusterRoleBinding ``cluster-admin``)."""

# The first address of the service range, by which Pods would reach the API server, is part of its names too.
_SERVING_HOSTS = ("127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1")


def write_private(path: Path, text: str) -> None:
    """Write ``text`` so that only this user can read it, and nobody sees half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.rename(path)


@attrs.frozen
class Credentials:
    """The credentials in ``directory``.

    Attributes:
        authority: signs for every user.
        admin_token: the administrator's bearer token.
    """

    directory: Path
    authority: CertificateAuthority = attrs.field(repr=False)
    admin_token: str = attrs.field(repr=False)

    @classmethod
    def create(cls, directory: Path, now: datetime) -> Credentials:
        """Make all files in ``directory``, which must exist."""
        authority = CertificateAuthority.create(now)
        credentials = cls(directory, authority, secrets.token_urlsafe(24))
        serving = authority.serve(now, _SERVING_HOSTS)
        write_private(credentials.ca_key_file, authority.key.to_pem())
        write_private(credentials.serving_key_file, serving.key_pem)
        write_private(credentials.serving_certificate_file, serving.certificate_pem)
        write_private(credentials.service_account_key_file, SigningKey.generate().to_pem())
        write_private(
            credentials.token_file, f'{credentials.admin_token},{ADMINISTRATOR},{ADMINISTRATOR},"{ADMINISTRATORS}"\n'
        )
        write_private(credentials.ca_file, authority.certificate_pem)
        return credentials

    @classmethod
    def load_or_create(cls, directory: Path, now: datetime) -> Credentials:
        """Those of an earlier start in ``directory``, or new ones; the root certificate is the last file to be made."""
        return cls.load(directory) if (directory / "ca.crt").exists() else cls.create(directory, now)

    @classmethod
    def load(cls, directory: Path) -> Credentials:
        """Read what ``create`` made."""
        key = SigningKey.from_pem((directory / "ca.key").read_text())
        authority = CertificateAuthority(key, (directory / "ca.crt").read_text())
        return cls(directory, authority, (directory / "tokens.csv").read_text().split(",")[0])

    @property
    def ca_file(self) -> Path:
        """The root certificate: servers and clients are signed by it."""
        return self.directory / "ca.crt"

    @property
    def ca_key_file(self) -> Path:
        return self.directory / "ca.key"

    @property
    def serving_certificate_file(self) -> Path:
        return self.directory / "serving.crt"

    @property
    def serving_key_file(self) -> Path:
        return self.directory / "serving.key"

    @property
    def service_account_key_file(self) -> Path:
        """Signs the tokens of ServiceAccounts."""
        return self.directory / "service-account.key"

    @property
    def token_file(self) -> Path:
        return self.directory / "tokens.csv"

    def kubeconfig(self, url: str, now: datetime, user: str, groups: Sequence[str], namespace: str) -> Path:
        """Write a kubeconfig with which every client is ``user`` of ``groups`` at ``url``; readable by us alone."""
        certificate = self.authority.identify(now, user, groups)
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", user).strip("-")[:60]
        digest = hashlib.sha256(json.dumps([user, list(groups), namespace]).encode()).hexdigest()[:8]
        path = self.directory / f"kubeconfig-{slug}-{digest}.yaml"
        content = _kubeconfig(url, self.authority.certificate_pem, certificate, user, namespace)
        write_private(path, json.dumps(content, indent=2) + "\n")  # JSON is YAML
        return path


def _kubeconfig(url: str, ca_pem: str, certificate: Certificate, user: str, namespace: str) -> dict[str, Any]:
    name = "envtest"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": _base64(ca_pem)}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _base64(certificate.certificate_pem),
                    "client-key-data": _base64(certificate.key_pem),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
        "current-context": name,
    }


def token_kubeconfig(url: str, ca_pem: str, token: str, *, name: str = "embedded") -> str:
    """A kubeconfig for who has a bearer token instead of a certificate: its text."""
    cluster = {"server": url, "certificate-authority-data": _base64(ca_pem)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    return json.dumps(content, indent=2) + "\n"  # JSON is YAML


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
