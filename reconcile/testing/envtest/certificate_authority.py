"""A certificate authority for one control plane: its root, its serving certificate, and a certificate for any user.

The API server takes a client certificate's common name as the user and its organizations as the groups
(Kubernetes documentation, "X509 client certificates"). So whoever holds the authority's key can be anybody, at any
time, without a restart, and every request goes through the same RBAC as a production user's.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from reconcile.testing.envtest import der
from reconcile.testing.envtest.signing_key import SigningKey, pem

__all__ = ["Certificate", "CertificateAuthority"]

_ECDSA_WITH_SHA256 = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
_COMMON_NAME, _ORGANIZATION = "2.5.4.3", "2.5.4.10"
_SUBJECT_KEY_IDENTIFIER, _KEY_USAGE, _SUBJECT_ALTERNATIVE_NAME = "2.5.29.14", "2.5.29.15", "2.5.29.17"
_BASIC_CONSTRAINTS, _AUTHORITY_KEY_IDENTIFIER, _EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.35", "2.5.29.37"
_SERVER_AUTHENTICATION, _CLIENT_AUTHENTICATION = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
# KeyUsage counts its bits from the left: digitalSignature is bit 0, keyCertSign bit 5, cRLSign bit 6.
_USAGE_SIGN_CERTIFICATES = der.bit_string(b"\x06", unused_bits=1)
_USAGE_SIGN_HANDSHAKES = der.bit_string(b"\x80", unused_bits=7)

_VALIDITY = timedelta(days=365)  # a detached control plane on a developer's machine may live for months
_CLOCK_SKEW = timedelta(hours=1)  # suspended and virtual machines wake with a clock behind


@attrs.frozen
class Certificate:
    """A certificate and its private key, both as PEM."""

    certificate_pem: str
    key_pem: str = attrs.field(repr=False)


def _name(common_name: str, organizations: Sequence[str] = ()) -> bytes:
    parts = [(_ORGANIZATION, organization) for organization in organizations]
    parts.append((_COMMON_NAME, common_name))
    return der.sequence(
        *(der.set_of([der.sequence(der.object_identifier(kind), der.utf8_string(text))]) for kind, text in parts)
    )


def _extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = der.boolean(value=True) if critical else b""
    return der.sequence(der.object_identifier(kind), flag, der.octet_string(value))


def _key_identifier(key: SigningKey) -> bytes:
    return hashlib.sha256(key.public_point).digest()[:20]


@attrs.frozen
class CertificateAuthority:
    """Signs certificates with ``key``; ``certificate_pem`` is the root that both sides trust."""

    key: SigningKey
    certificate_pem: str

    @classmethod
    def create(cls, now: datetime) -> CertificateAuthority:
        """A new authority, valid for a year from ``now``."""
        key = SigningKey.generate()
        extensions = [
            _extension(_BASIC_CONSTRAINTS, der.sequence(der.boolean(value=True)), critical=True),
            _extension(_KEY_USAGE, _USAGE_SIGN_CERTIFICATES, critical=True),
            _extension(_SUBJECT_KEY_IDENTIFIER, der.octet_string(_key_identifier(key))),
        ]
        return cls(key, _signed(key, _ISSUER, key, extensions, now))

    def serve(self, now: datetime, hosts: Sequence[str]) -> Certificate:
        """A serving certificate for ``hosts``: DNS names and IP addresses."""
        names = [
            der.implicit(7, address.packed) if (address := _address(host)) else der.implicit(2, host.encode("ascii"))
            for host in hosts
        ]
        extension = _extension(_SUBJECT_ALTERNATIVE_NAME, der.sequence(*names))
        return self._issue(now, _name("kube-apiserver"), _SERVER_AUTHENTICATION, [extension])

    def identify(self, now: datetime, user: str, groups: Sequence[str] = ()) -> Certificate:
        """A client certificate with which the API server knows its holder as ``user`` of ``groups``."""
        return self._issue(now, _name(user, groups), _CLIENT_AUTHENTICATION, [])

    def _issue(self, now: datetime, subject: bytes, usage: str, extensions: list[bytes]) -> Certificate:
        key = SigningKey.generate()
        extensions = [
            _extension(_BASIC_CONSTRAINTS, der.sequence(), critical=True),
            _extension(_KEY_USAGE, _USAGE_SIGN_HANDSHAKES, critical=True),
            _extension(_EXTENDED_KEY_USAGE, der.sequence(der.object_identifier(usage))),
            _extension(_AUTHORITY_KEY_IDENTIFIER, der.sequence(der.implicit(0, _key_identifier(self.key)))),
            *extensions,
        ]
        return Certificate(_signed(self.key, subject, key, extensions, now), key.to_pem())


_ISSUER = _name("reconcile-envtest")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _signed(issuer: SigningKey, subject: bytes, key: SigningKey, extensions: list[bytes], now: datetime) -> str:
    """An X.509 version 3 certificate (RFC 5280, section 4.1), as PEM."""
    content = der.sequence(
        der.explicit(0, der.integer(2)),
        der.integer(secrets.randbits(120) + 1),
        _ECDSA_WITH_SHA256,
        _ISSUER,
        der.sequence(der.time(now - _CLOCK_SKEW), der.time(now + _VALIDITY)),
        subject,
        key.public_key_info(),
        der.explicit(3, der.sequence(*extensions)),
    )
    return pem("CERTIFICATE", der.sequence(content, _ECDSA_WITH_SHA256, der.bit_string(issuer.sign(content))))
