"""Table: the objects of one partition, with their indexes, and the version up to which they have been seen.

The rules for a single event are here: what is older is ignored, a namesake is another object, what cannot be read keeps
its last good version. ``reconcile.core.store`` puts tables together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias, assert_never

from reconcile.core.index import Indexes, IndexFunction
from reconcile.errors import UsageError
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.version import is_older
from reconcile.model.watch_event import Bookmark, Deleted, ServerError, Undecodable, Upserted, WatchEvent

Transform: TypeAlias = Callable[[Object], Object]
"""Changes an object before it is stored, such as dropping what nobody reads. Must keep its key, uid and version."""

Deltas: TypeAlias = list[Delta]


class StoreListener(Protocol):
    """Hears of single objects that could not be taken in as they came. Must not raise."""

    def quarantined(self, key: ObjectKey, reason: str, /) -> None:
        """An object that could not be decoded or transformed; its last good version stays."""
        ...

    def not_indexed(self, index: str, key: ObjectKey, error: Exception, /) -> None:
        """An index function raised; the object is cached, but not found by that index."""
        ...


class Deaf:
    """Hears nothing."""

    def quarantined(self, key: ObjectKey, reason: str, /) -> None: ...

    def not_indexed(self, index: str, key: ObjectKey, error: Exception, /) -> None: ...


class Table:
    """The objects of one partition, and the version that they are at."""

    __slots__ = (
        "_listener",
        "bytes_raw",
        "ignored",
        "indexes",
        "objects",
        "quarantined",
        "resource_version",
        "transform",
    )

    def __init__(
        self, indexes: Mapping[str, IndexFunction], transform: Transform | None, listener: StoreListener
    ) -> None:
        self.objects: dict[ObjectKey, Object] = {}
        self._listener = listener
        self.indexes = Indexes(listener.not_indexed)
        for name, function in indexes.items():
            self.indexes.declare(name, function, {})
        self.quarantined: dict[ObjectKey, str] = {}
        self.transform = transform
        self.resource_version = ""
        """The version up to which this table has seen everything; empty before the first list."""
        self.bytes_raw = 0
        self.ignored = 0

    def apply(self, events: Iterable[WatchEvent], deltas: Deltas) -> None:
        """Take the events in, appending what changed to ``deltas``."""
        before = self.resource_version
        for event in events:
            match event:
                case Upserted(obj):
                    self.put(obj, deltas)
                    self.resource_version = obj.metadata.resource_version
                case Deleted(obj):
                    self._delete(obj, deltas)
                    self.resource_version = obj.metadata.resource_version
                case Bookmark(version):
                    self.resource_version = version
                case Undecodable():
                    self.quarantine(event)
                case ServerError():
                    break  # the stream is over; nothing that follows is part of it
                case _:
                    assert_never(event)
        if is_older(self.resource_version, before):
            self.resource_version = before  # replayed events

    def put(self, obj: Object, deltas: Deltas) -> None:
        """The object is in this state now."""
        metadata = obj.metadata
        key = ObjectKey(metadata.namespace, metadata.name)
        old = self.objects.get(key)
        if old is not None and old.metadata.uid == metadata.uid:
            before, after = old.metadata.resource_version, metadata.resource_version
            if before == after or is_older(after, before):
                self.ignored += 1
                return
        if self.transform is not None:
            try:
                obj = _same_object(obj, self.transform(obj))
            except Exception as error:  # noqa: BLE001  user code on one object must not stop the cache
                self._isolate(key, f"transform raised {type(error).__name__}: {error}")
                return
        if self.quarantined:
            self.quarantined.pop(key, None)
        if old is not None and old.metadata.uid != metadata.uid:
            self._remove(key, old, deltas)
            old = None
        self.objects[key] = obj
        self.bytes_raw += len(obj.rest) if old is None else len(obj.rest) - len(old.rest)
        self.indexes.update(key, old, obj)
        deltas.append(Delta(key, old, obj))

    def _delete(self, obj: Object, deltas: Deltas) -> None:
        key = obj.key
        self.quarantined.pop(key, None)
        old = self.objects.get(key)
        if old is None or is_older(obj.metadata.resource_version, old.metadata.resource_version):
            self.ignored += 1
            return
        self._remove(key, old, deltas)

    def forget(self, key: ObjectKey, deltas: Deltas) -> None:
        """The object is known to be gone, though its deletion could not be read."""
        self.quarantined.pop(key, None)
        old = self.objects.get(key)
        if old is not None:
            self._remove(key, old, deltas)

    def _remove(self, key: ObjectKey, old: Object, deltas: Deltas) -> None:
        del self.objects[key]
        self.bytes_raw -= len(old.rest)
        self.indexes.update(key, old, None)
        deltas.append(Delta(key, old, None))

    def quarantine(self, event: Undecodable) -> None:
        """The newest version of this object cannot be read; the last good one stays."""
        self._isolate(ObjectKey(event.namespace, event.name), event.reason)
        if event.resource_version:
            self.resource_version = event.resource_version

    def _isolate(self, key: ObjectKey, reason: str) -> None:
        if key.name:  # else nobody can tell whose bytes these were
            self.quarantined[key] = reason
        self._listener.quarantined(key, reason)


def _same_object(before: Object, after: Object) -> Object:
    """What a transform made of an object. Raises UsageError where it is another object, or none."""
    if not isinstance(after, Object):
        raise UsageError(f"it returned {type(after).__name__}: want the Object, changed or not")
    identities = [(obj.key, obj.uid, obj.resource_version) for obj in (before, after)]
    if identities[0] != identities[1]:
        raise UsageError(f"it made {after!r} of {before!r}: key, uid and version must stay")
    return after
