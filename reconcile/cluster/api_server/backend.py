"""What the handlers share: the store, the registry and chance; and one call, as it is handed from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import attrs
import msgspec

from reconcile.cluster.api_server.authorization import Authorizer
from reconcile.cluster.api_server.registry import Registry, ResourceType
from reconcile.cluster.api_server.representation import MetadataOnly, Representation, WholeObject
from reconcile.cluster.api_server.request import Request, Target
from reconcile.cluster.api_server.storage import Storage, Table
from reconcile.cluster.api_server.stored_form import from_stored
from reconcile.cluster.api_server.tables import TableRows

NAME_SUFFIX_LENGTH = 5
"""Letters that ``generateName`` gets appended (API conventions, "Idempotency")."""

GENERATED_NAME_LENGTH_MAX = 63
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Call(msgspec.Struct, gc=False):
    """One request to one resource, at one time."""

    request: Request
    target: Target
    resource: ResourceType
    table: Table
    now: datetime

    @property
    def key(self) -> str:
        return self.resource.key(self.target.namespace, self.target.name)


class Listener(Protocol):
    """Hears of a write; may fill in the object's status."""

    def __call__(self, obj: dict[str, Any], /, *, is_gone: bool) -> None: ...


@attrs.define
class Backend:
    """The state of one API server.

    Attributes:
        random: a number in [0, 1), for uids and generated names.
        authorize: who may do what, for those who ask.
    """

    storage: Storage
    registry: Registry
    random: Callable[[], float]
    authorize: Authorizer
    listeners: dict[str, Listener] = attrs.field(factory=dict)
    """Who must know of each write to a resource, before it is stored."""

    def notice(self, resource: ResourceType, obj: dict[str, Any]) -> None:
        """An object is about to be created or changed."""
        listener = self.listeners.get(resource.name)
        if listener is not None:
            listener(obj, is_gone=False)

    def forget(self, resource: ResourceType, obj: dict[str, Any]) -> None:
        """An object is about to be removed."""
        listener = self.listeners.get(resource.name)
        if listener is not None:
            listener(obj, is_gone=True)

    def table(self, resource: ResourceType) -> Table:
        """Where a resource's objects are."""
        return self.storage.table(resource.storage_name, resource.fields_of)

    def uid(self) -> str:
        """A version 4 UUID."""
        high, low = int(self.random() * 2**52), int(self.random() * 2**52)
        third = int(self.random() * 2**24)
        a, b, c = high >> 20, (high >> 4) & 0xFFFF, high & 0xFFF
        d, e = (low >> 36) & 0x3FFF, low & 0xFFFFFF
        return f"{a:08x}-{b:04x}-4{c:03x}-{0x8000 | d:04x}-{third:06x}{e:06x}"

    def generated_name(self, base: str) -> str:
        """``base`` with a random ending."""
        draw = self.random
        ending = "".join([_ALPHABET[int(draw() * len(_ALPHABET))] for _ in range(NAME_SUFFIX_LENGTH)])
        return base[: GENERATED_NAME_LENGTH_MAX - NAME_SUFFIX_LENGTH] + ending

    def representation(self, call: Call, form: str) -> Representation:
        """How objects are sent in this call."""
        resource = call.resource
        convert = from_stored(resource)
        if form.startswith("PartialObjectMetadata"):
            return MetadataOnly()
        if form == "Table":
            included = call.request.query.get("includeObject", "Metadata")
            return TableRows(resource, lambda: call.now, included, convert)
        key = resource.api_version if convert is not None else ""
        return WholeObject(resource, key=key, convert=convert)


def encoded(obj: dict[str, Any]) -> dict[str, Any]:
    """The members of an object in the order in which they are stored: what kind it is first."""
    return {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": obj["metadata"], **obj}
