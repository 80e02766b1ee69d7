"""How a write ended: Applied, Refused or Unknown. Never anything else."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import attrs

from reconcile.errors import ApiError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.resource import Resource


class Verb(StrEnum):
    """The write verbs, as RBAC and metrics name them."""

    CREATE = "create"
    UPDATE = "update"
    PATCH = "patch"
    DELETE = "delete"


@attrs.frozen
class Write:
    """One write, complete enough to be sent again byte for byte.

    Attributes:
        resource: what is written.
        key: the object's key (the name is fixed before sending: ``generateName`` cannot be sent twice safely).
        subresource: ``status``, ``eviction``, ``scale`` or empty.
        path: request path; ``query``: its parameters; ``body`` and ``content_type``: what is sent.
    """

    verb: Verb
    resource: Resource
    key: ObjectKey
    path: str
    subresource: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = attrs.field(default=b"", repr=False)
    content_type: str = "application/json"

    def __str__(self) -> str:
        slash = f"/{self.subresource}" if self.subresource else ""
        return f"{self.verb} {self.resource}{slash} {self.key}"


@attrs.frozen
class Applied:
    """The server executed it. ``object`` is the result (None where the answer carries none, as for some deletes)."""

    write: Write
    object: Object | None

    @property
    def resource_version(self) -> str:
        """The version that the cache must reach before the key runs again; empty where none is known."""
        return self.object.resource_version if self.object is not None else ""


@attrs.frozen
class Refused:
    """The server answered and did not execute it."""

    write: Write
    error: ApiError


@attrs.frozen
class Unknown:
    """No answer: the write may have been executed, or may be executed yet."""

    write: Write
    reason: str


Outcome: TypeAlias = Applied | Refused | Unknown
