"""One request as the handlers see it, and what they answer with: a closed union of Response and Stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

import msgspec

from reconcile.cluster.api_server.failure import Failure, bad_request

if TYPE_CHECKING:
    from reconcile.cluster.api_server.watch import Watch

MANAGER_LENGTH_MAX = 128
"""Bytes of a field manager's name (``meta/v1`` validation)."""


class User(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("embedded-admin", ("system:masters", "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Request(msgspec.Struct, gc=False):
    """One HTTP request; ``path`` is percent-encoded, ``query`` is not. ``warnings`` go into the answer's headers."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""
    content_type: str = ""
    accept: str = "application/json"
    user_agent: str = ""
    user: User = ADMIN
    warnings: list[str] = []
    if_none_match: str = ""

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def is_dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    @property
    def field_manager(self) -> str:
        """Who owns the fields that are written: as said, else the first part of the user agent."""
        said = self.query.get("fieldManager", "")
        return said or self.user_agent.partition("/")[0][:MANAGER_LENGTH_MAX] or "unknown"

    def flag(self, name: str) -> bool:
        """A boolean parameter, as Go's decoder of query parameters reads it."""
        text = self.query.get(name)
        return text is not None and text not in ("false", "0", "False", "FALSE", "f", "F")

    def integer(self, name: str) -> int | None:
        text = self.query.get(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


class Response(msgspec.Struct, gc=False):
    """A complete answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Stream(msgspec.Struct, gc=False):
    """A watch: whoever serves it takes events from ``watch`` until it ends, or ``timeout_seconds`` are over."""

    watch: Watch
    timeout_seconds: float
    content_type: str = "application/json"


Answer: TypeAlias = Response | Stream


class Target(msgspec.Struct, frozen=True, gc=False):
    """What a path below ``/api`` or ``/apis`` names. ``plural`` is empty for the group version itself."""

    group: str
    version: str
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""


def target_of(path: str) -> Target | None:
    """The parts of a resource's path; None for any other path. Source: API concepts, "Resource URIs"."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if "%" in path:
        rest = [unquote(part) for part in rest]
    if not rest:
        return Target(group, version)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    rest += [""] * (3 - len(rest))
    return Target(group, version, namespace, *rest)


def refused(failure: Failure) -> Response:
    """A refusal as an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    if failure.retry_after_seconds:
        headers = (("Retry-After", str(failure.retry_after_seconds)),)
    return Response(failure.code, failure.body(), headers=headers)


def with_warnings(request: Request, response: Response) -> Response:
    """The answer with the warnings that came up, as the real server writes them (RFC 7234, section 5.5)."""
    if request.warnings:
        quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in request.warnings]
        response.headers += tuple(("Warning", f'299 - "{text}"') for text in quoted)
    return response
