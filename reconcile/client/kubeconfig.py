"""The kubeconfig file format: files in, merged entries out, each knowing the file that it came from.

Guarantees:
    * Safe loading: no tags that build objects, a bound on size, on aliases and on nesting.
    * Fields that nobody here knows are ignored, as kubectl does; known ones of a wrong type are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import msgspec
import yaml

from reconcile.errors import ConfigurationError, DecodeError
from reconcile.model import json

FILE_BYTES_MAX = 4 * 1024 * 1024
"""Some thousand clusters with their certificates."""

ALIASES_MAX = 32
"""YAML aliases multiply: a few nested ones fill the memory. Kubeconfigs hardly use any."""

T = TypeVar("T")


class ExtensionEntry(msgspec.Struct, frozen=True):
    """``extensions[]``."""

    name: str = ""
    extension: Any = None


class ClusterEntry(msgspec.Struct, frozen=True):
    """``clusters[].cluster``."""

    server: str = ""
    ca: str = msgspec.field(default="", name="certificate-authority")
    ca_data: str = msgspec.field(default="", name="certificate-authority-data")
    tls_server_name: str = msgspec.field(default="", name="tls-server-name")
    insecure_skip_tls_verify: bool = msgspec.field(default=False, name="insecure-skip-tls-verify")
    proxy_url: str = msgspec.field(default="", name="proxy-url")
    extensions: list[ExtensionEntry] = []


class ExecVariable(msgspec.Struct, frozen=True):
    """``users[].user.exec.env[]``."""

    name: str
    value: str = ""


class ExecEntry(msgspec.Struct, frozen=True):
    """``users[].user.exec``."""

    command: str = ""
    args: list[str] | None = None
    env: list[ExecVariable] | None = None
    api_version: str = msgspec.field(default="", name="apiVersion")
    install_hint: str = msgspec.field(default="", name="installHint")
    provide_cluster_info: bool = msgspec.field(default=False, name="provideClusterInfo")
    interactive_mode: str = msgspec.field(default="IfAvailable", name="interactiveMode")


class AuthProviderEntry(msgspec.Struct, frozen=True):
    """``users[].user.auth-provider``."""

    name: str = ""
    config: dict[str, str] = {}


class UserEntry(msgspec.Struct, frozen=True):
    """``users[].user``."""

    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    cert: str = msgspec.field(default="", name="client-certificate")
    cert_data: str = msgspec.field(default="", name="client-certificate-data")
    key: str = msgspec.field(default="", name="client-key")
    key_data: str = msgspec.field(default="", name="client-key-data")
    exec_: ExecEntry | None = msgspec.field(default=None, name="exec")
    auth_provider: AuthProviderEntry | None = msgspec.field(default=None, name="auth-provider")
    as_: str = msgspec.field(default="", name="as")
    as_uid: str = msgspec.field(default="", name="as-uid")
    as_groups: list[str] | None = msgspec.field(default=None, name="as-groups")


class ContextEntry(msgspec.Struct, frozen=True):
    """``contexts[].context``."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""


@attrs.frozen
class Named(Generic[T]):
    """One named entry and its origin. ``where`` names it in errors."""

    where: str
    path: Path
    value: T = attrs.field(repr=False)

    def resolve(self, path: str) -> Path:
        """A path of this entry: relative ones start from the file's directory."""
        return self.path.absolute().parent / path


@attrs.define
class Kubeconfig:
    """What several files merge into."""

    current_context: str = ""
    clusters: dict[str, Named[ClusterEntry]] = attrs.field(factory=dict)
    users: dict[str, Named[UserEntry]] = attrs.field(factory=dict)
    contexts: dict[str, Named[ContextEntry]] = attrs.field(factory=dict)


def read_kubeconfig(paths: list[Path]) -> Kubeconfig:
    """Merge files: the first to name a thing wins. Raises ConfigurationError."""
    merged = Kubeconfig()
    for path in paths:
        document = _load(path)
        current = document.get("current-context") or ""
        if not isinstance(current, str):
            raise ConfigurationError(f"kubeconfig {path}: current-context is not a text")
        merged.current_context = merged.current_context or current
        _merge(merged.clusters, document, path, "cluster", ClusterEntry)
        _merge(merged.users, document, path, "user", UserEntry)
        _merge(merged.contexts, document, path, "context", ContextEntry)
    return merged


def _merge(into: dict[str, Named[T]], document: Mapping[str, Any], path: Path, singular: str, kind: type[T]) -> None:
    plural = f"{singular}s"
    entries = document.get(plural) or []
    if not isinstance(entries, list):
        raise ConfigurationError(f"kubeconfig {path}: {plural} is not a list")
    for position, entry in enumerate(entries):
        where = f"kubeconfig {path}: {plural}[{position}]"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str) or not name:
            raise ConfigurationError(f"{where} has no name; want 'name: …' and '{singular}: …'")
        where = f"kubeconfig {path}: {plural}[{name}].{singular}"
        value = entry.get(singular)
        if value is None:
            value = {}
        elif not isinstance(value, dict):
            raise ConfigurationError(f"{where} is not a mapping")
        # An explicit null is as good as nothing, as in kubectl.
        present = {field: item for field, item in value.items() if item is not None}
        try:
            into.setdefault(name, Named(where, path, json.convert(present, kind)))
        except DecodeError as error:
            raise ConfigurationError(f"{where}: {_field(error)}") from None


def _field(error: DecodeError) -> str:
    """The text of msgspec says which field has which type; it quotes no value, so that no secret shows."""
    return str(error).partition(": ")[2] or "has a wrong type"


class _Loader(yaml.SafeLoader):
    """The safe loader with a bound on aliases."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > ALIASES_MAX:
                raise yaml.YAMLError(f"more than {ALIASES_MAX} aliases")
        return super().compose_node(parent, index)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"kubeconfig {path}: cannot read it: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(f"kubeconfig {path} is longer than {FILE_BYTES_MAX} bytes; is it the right file?")
    try:
        document = yaml.load(data, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        # The excerpt that the error carries may show a secret: only the problem and the place are told.
        raise ConfigurationError(f"kubeconfig {path}: bad YAML{at}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ConfigurationError(f"kubeconfig {path}: bad YAML: {reason}") from None
    if document is None:
        raise ConfigurationError(f"kubeconfig {path} is empty; want clusters, users and contexts")
    if not isinstance(document, dict):
        raise ConfigurationError(f"kubeconfig {path} is not a mapping; want clusters, users and contexts")
    return document
