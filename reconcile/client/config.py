"""Which cluster, as whom, and how to reach it: from a kubeconfig, from inside a Pod, or said explicitly.

A kubeconfig is found and merged as kubectl does it: an explicit path; else the files of ``KUBECONFIG`` (those that
exist; the first to name a cluster, a user, a context or the current context wins); else ``~/.kube/config``; else the
Pod's own service account. Paths in a file are relative to that file.

Secrets never show in a ``repr``. Every error is a ConfigurationError that names the file, the field and the way out.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import attrs

from reconcile.client.kubeconfig import ClusterEntry, ExecEntry, Named, UserEntry, read_kubeconfig
from reconcile.errors import ConfigurationError

SERVICE_ACCOUNT_DIRECTORY = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_CLUSTER_EXTENSION = "client.authentication.k8s.io/exec"


def check_header(value: str, where: str) -> str:
    """``value``, if it can stand in an HTTP header. Raises ConfigurationError, which does not show it."""
    if any(character < " " or character == "\x7f" for character in value):
        raise ConfigurationError(
            f"{where} has a line break or another control character in it; is it wrapped, or a YAML block ('|')?"
        )
    return value


def _is_header(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    check_header(value, f"{type(instance).__name__}.{attribute.name}")


@attrs.frozen
class TokenAuth:
    """A fixed bearer token."""

    token: str = attrs.field(repr=False, validator=_is_header)


@attrs.frozen
class TokenFileAuth:
    """A bearer token in a file that is renewed in place, such as a projected service account token."""

    path: Path


@attrs.frozen
class BasicAuth:
    """User name and password, for a proxy before the API server."""

    username: str
    password: str = attrs.field(repr=False)


@attrs.frozen
class ExecAuth:
    """A program that prints credentials (KEP-541). It is run as it stands, without a shell.

    Attributes:
        command: a name on PATH or an absolute path.
        cluster_info: what the program is told of the cluster, where it asks for that.
    """

    command: str
    args: tuple[str, ...] = attrs.field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    api_version: str = _EXEC_VERSIONS[0]
    install_hint: str = ""
    cluster_info: Mapping[str, Any] | None = attrs.field(default=None, repr=False)


@attrs.frozen
class OIDCAuth:
    """The ``oidc`` auth-provider: an ID token that is renewed with a refresh token."""

    issuer_url: str
    client_id: str
    client_secret: str = attrs.field(default="", repr=False)
    id_token: str = attrs.field(default="", repr=False)
    refresh_token: str = attrs.field(default="", repr=False)
    ca_data: bytes | None = attrs.field(default=None, repr=False)


Auth: TypeAlias = TokenAuth | TokenFileAuth | BasicAuth | ExecAuth | OIDCAuth


@attrs.frozen
class Pem:
    """Certificates or a key: in a file that may be replaced while we run, or given as they are."""

    path: Path | None = None
    data: bytes | None = attrs.field(default=None, repr=False)

    def read(self, field: str) -> bytes:
        """The bytes as they are now. Raises ConfigurationError that names ``field``."""
        if self.path is None:
            return self.data or b""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{field}: cannot read {self.path}: {error.strerror}") from error


def _is_url(_config: Any, _attribute: attrs.Attribute[str], value: str) -> None:
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigurationError("server is not a URL; want one such as https://10.0.0.1:6443") from None
    if parts.username is not None:
        raise ConfigurationError("server: the URL carries a user name; put credentials under users[].user")
    if not valid or parts.query or parts.fragment:
        raise ConfigurationError(f"server: {value!r} is not an http(s) URL, such as https://10.0.0.1:6443")


@attrs.frozen
class ClusterConfig:
    """All that a connection needs.

    Attributes:
        server: base URL of the API server.
        auth: how to prove who we are, beside or instead of a client certificate.
        ca: whom to trust; None for the system's certificates.
        client_certificate, client_key: a client certificate and its key.
        namespace: the context's namespace, for callers that need a default.
        source: where this was read, for errors.
        impersonate: headers that ask the server to act as somebody else (kubeconfig ``as``).
    """

    server: str = attrs.field(validator=_is_url)
    auth: Auth | None = None
    ca: Pem | None = None
    client_certificate: Pem | None = None
    client_key: Pem | None = None
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    proxy_url: str = attrs.field(default="", repr=False)
    namespace: str = "default"
    source: str = "explicit configuration"
    impersonate: tuple[tuple[str, str], ...] = ()

    def __attrs_post_init__(self) -> None:
        if (self.client_certificate is None) != (self.client_key is None):
            missing = "client-key" if self.client_key is None else "client-certificate"
            raise ConfigurationError(f"{self.source}: a client certificate needs both parts; {missing} is missing")
        if self.insecure_skip_tls_verify and self.ca is not None:
            raise ConfigurationError(
                f"{self.source}: insecure-skip-tls-verify and certificate-authority exclude each other; remove one"
            )


def load_config(
    kubeconfig: Path | str | None = None, *, context: str | None = None, environ: Mapping[str, str] = os.environ
) -> ClusterConfig:
    """The configuration that kubectl would use.

    Args:
        kubeconfig: a file; None for the search described above.
        context: a context of the kubeconfig; None for its current one.
        environ: the environment.

    Raises:
        ConfigurationError: nothing found, or what was found cannot be used.
    """
    if kubeconfig is not None:
        path = Path(kubeconfig).expanduser()
        if not path.exists():
            raise ConfigurationError(f"kubeconfig {path} does not exist; check --kubeconfig")
        return from_kubeconfig([path], context=context)
    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    searched = listed or [Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"]
    found = [path for path in searched if path.exists()]
    if found:
        return from_kubeconfig(found, context=context)
    if context is None and not listed and environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ=environ)
    places = ", ".join(map(str, searched))
    raise ConfigurationError(
        f"no kubeconfig: {places} does not exist"
        + ("" if listed else ", and this is no Pod (KUBERNETES_SERVICE_HOST is not set)")
        + "; give --kubeconfig PATH or set KUBECONFIG"
    )


def in_cluster(
    *, directory: Path = SERVICE_ACCOUNT_DIRECTORY, environ: Mapping[str, str] = os.environ
) -> ClusterConfig:
    """The Pod's own service account. Raises ConfigurationError where this is no Pod, or the token is not mounted."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigurationError("not in a Pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set")
    token, ca = directory / "token", directory / "ca.crt"
    for path in (token, ca):
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing; is automountServiceAccountToken off for this Pod?")
    try:
        namespace = (directory / "namespace").read_text().strip()
    except OSError:
        namespace = ""
    return ClusterConfig(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        auth=TokenFileAuth(token),
        ca=Pem(path=ca),
        namespace=namespace or "default",
        source="service account of this Pod",
    )


def from_kubeconfig(paths: list[Path], *, context: str | None = None) -> ClusterConfig:
    """One context of the kubeconfig that ``paths`` merge into. Raises ConfigurationError."""
    merged = read_kubeconfig(paths)
    name = context or merged.current_context
    where = " + ".join(map(str, paths))
    if not name:
        raise ConfigurationError(f"{where}: no current-context; choose one with --context: {_names(merged.contexts)}")
    chosen = _named(merged.contexts, name, "context", where)
    cluster = _named(merged.clusters, chosen.value.cluster, "cluster", where)
    if not cluster.value.server:
        raise ConfigurationError(f"{cluster.where}.server is missing; want the URL of the API server")
    user = _named(merged.users, chosen.value.user, "user", where) if chosen.value.user else None
    try:
        return ClusterConfig(
            server=cluster.value.server.rstrip("/"),
            auth=None if user is None else _auth(user, cluster),
            ca=_pem(cluster, "certificate-authority", cluster.value.ca, cluster.value.ca_data),
            client_certificate=None
            if user is None
            else _pem(user, "client-certificate", user.value.cert, user.value.cert_data),
            client_key=None if user is None else _pem(user, "client-key", user.value.key, user.value.key_data),
            tls_server_name=cluster.value.tls_server_name,
            insecure_skip_tls_verify=cluster.value.insecure_skip_tls_verify,
            proxy_url=cluster.value.proxy_url,
            namespace=chosen.value.namespace or "default",
            source=f"context {name!r} of {where}",
            impersonate=() if user is None else _impersonate(user.value),
        )
    except ConfigurationError as error:
        if where in str(error) or str(cluster.path) in str(error):
            raise
        raise ConfigurationError(f"{cluster.where}: {error}") from error


def _named(entries: Mapping[str, Named[Any]], name: str, what: str, where: str) -> Named[Any]:
    if name not in entries:
        raise ConfigurationError(f"{where}: no {what} is named {name!r}; there are: {_names(entries)}")
    return entries[name]


def _names(entries: Mapping[str, Named[Any]]) -> str:
    return ", ".join(sorted(entries)) or "none"


def _pem(entry: Named[Any], field: str, path: str, data: str) -> Pem | None:
    """``FIELD-data`` wins over ``FIELD``, as in kubectl."""
    if data:
        try:
            return Pem(data=base64.b64decode(data, validate=True))
        except (binascii.Error, ValueError) as error:
            raise ConfigurationError(f"{entry.where}.{field}-data is not base64") from error
    if path:
        pem = Pem(path=entry.resolve(path))
        pem.read(f"{entry.where}.{field}")
        return pem
    return None


def _auth(user: Named[UserEntry], cluster: Named[ClusterEntry]) -> Auth | None:
    """In kubectl's order. More than one way at once is refused only where kubectl refuses it too."""
    value = user.value
    if value.exec_ is not None and (value.auth_provider is not None or value.username):
        raise ConfigurationError(f"{user.where}: exec excludes auth-provider and username; remove one")
    if value.token_file:
        path = user.resolve(value.token_file)
        if not path.is_file():
            raise ConfigurationError(f"{user.where}.tokenFile: {path} does not exist")
        return TokenFileAuth(path)
    if value.token:
        return TokenAuth(check_header(value.token, f"{user.where}.token"))
    if value.username:
        return BasicAuth(value.username, value.password)
    if value.exec_ is not None:
        return _exec(user, value.exec_, cluster.value)
    if value.auth_provider is not None:
        return _oidc(user)
    return None


def _exec(user: Named[UserEntry], entry: ExecEntry, cluster: ClusterEntry) -> ExecAuth:
    where = f"{user.where}.exec"
    if not entry.command:
        raise ConfigurationError(f"{where}.command is missing")
    if entry.api_version not in _EXEC_VERSIONS:
        raise ConfigurationError(
            f"{where}.apiVersion is {entry.api_version!r}; supported are {' and '.join(_EXEC_VERSIONS)}"
        )
    if entry.interactive_mode == "Always":
        raise ConfigurationError(
            f"{where}.interactiveMode is Always, and a controller has no terminal; log in first, or use another user"
        )
    # A path is relative to the kubeconfig, a bare name is looked up on PATH (KEP-541).
    command = str(user.resolve(entry.command)) if os.sep in entry.command else entry.command
    info: dict[str, Any] | None = None
    if entry.provide_cluster_info:
        extension = next((item.extension for item in cluster.extensions if item.name == _EXEC_CLUSTER_EXTENSION), None)
        said = {
            "server": cluster.server,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
            "certificate-authority-data": cluster.ca_data,
            "proxy-url": cluster.proxy_url,
            "config": extension,
        }
        info = {name: item for name, item in said.items() if item}
    return ExecAuth(
        command,
        tuple(entry.args or ()),
        tuple((item.name, item.value) for item in entry.env or ()),
        entry.api_version,
        entry.install_hint,
        info,
    )


def _oidc(user: Named[UserEntry]) -> OIDCAuth:
    provider = user.value.auth_provider
    if provider is None or provider.name != "oidc":
        raise ConfigurationError(
            f"{user.where}.auth-provider {provider and provider.name!r} is not supported (nor by kubectl since 1.26); "
            "use an exec plugin"
        )
    settings = provider.config
    ca_file, ca_data = settings.get("idp-certificate-authority", ""), settings.get("idp-certificate-authority-data", "")
    ca = _pem(user, "auth-provider.config.idp-certificate-authority", ca_file, ca_data)
    return OIDCAuth(
        issuer_url=settings.get("idp-issuer-url", ""),
        client_id=settings.get("client-id", ""),
        client_secret=settings.get("client-secret", ""),
        id_token=settings.get("id-token", ""),
        refresh_token=settings.get("refresh-token", ""),
        ca_data=None if ca is None else ca.read(f"{user.where}.auth-provider.config.idp-certificate-authority"),
    )


def _impersonate(user: UserEntry) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    if user.as_:
        headers.append(("Impersonate-User", user.as_))
    if user.as_uid:
        headers.append(("Impersonate-Uid", user.as_uid))
    headers += [("Impersonate-Group", group) for group in user.as_groups or ()]
    if headers and not user.as_:
        raise ConfigurationError("as-groups and as-uid need a user to act as; set as")
    for name, value in headers:
        check_header(value, f"the value of {name} (as, as-uid, as-groups)")
    return tuple(headers)
