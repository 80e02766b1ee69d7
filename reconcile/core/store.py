"""Store: the cached objects of one resource, by key, with indexes. Written by one reflector a partition, read by all.

A partition is what one list-watch sees: everything, or one namespace. Each has its own table, so that a new list of one
namespace replaces that namespace only.

Guarantees:
    * ``apply`` never goes back: an event older than what is stored for the same uid is ignored. Versions that are not
      numbers cannot be compared and are believed (fail open).
    * Deltas chain: the ``old`` of each is the ``new`` of the one before it, or None.
    * An object deleted and created again under its name gives two deltas: gone, then new.
    * A new list appears whole or not at all (``Replacement``): readers never see half of one. What vanished meanwhile
      becomes a delta with the last known object.
    * An object that cannot be decoded is kept in its last good version and listed in ``quarantined`` until a good
      version or its deletion arrives: acting on what was true is level-based, forgetting a living object is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from reconcile.core.index import IndexFunction
from reconcile.core.table import Deaf, Deltas, StoreListener, Table, Transform
from reconcile.errors import UsageError
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.watch_event import Undecodable, Upserted, WatchEvent

OBJECT_BYTES = 1500
"""Estimated memory of one cached object beside its raw JSON: struct, typed metadata, key, index entries (measured)."""


class StoreReader(Protocol):
    """What readers may do with a store. Objects read are shared: never change them."""

    def get(self, key: ObjectKey) -> Object | None: ...

    def list(self, namespace: str = "") -> Sequence[Object]:
        """The objects of one namespace, or all of them."""
        ...

    def owned_by(self, uid: str) -> Sequence[Object]:
        """The objects whose controller reference carries this uid."""
        ...

    def indexed(self, index: str, value: str) -> Sequence[Object]:
        """The objects under ``value``. Raises UsageError for an index that was not declared."""
        ...

    @property
    def quarantined(self) -> Mapping[ObjectKey, str]:
        """The keys whose newest version could not be decoded, and why."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object, /) -> bool: ...


class Replacement:
    """A new list of one partition in the making: invisible until it is whole."""

    def __init__(self, store: Store, partition: str) -> None:
        self._store = store
        self._partition = partition
        self._current = store.table(partition)
        self.table = store.new_table()
        self._discard: Deltas = []

    def add(self, objects: Iterable[Object]) -> None:
        """Items of a page. One that is cached in this very version is reused, so that a relist needs little memory."""
        known = self._current.objects
        for obj in objects:
            current = known.get(obj.key)
            same = current is not None and (
                current.metadata.uid == obj.metadata.uid
                and current.metadata.resource_version == obj.metadata.resource_version
            )
            if current is not None and same:
                self._keep(obj.key, current)
            else:
                self.table.put(obj, self._discard)
        self._discard.clear()

    def apply(self, events: Iterable[WatchEvent]) -> None:
        """Events of an initial stream (KEP-3157)."""
        for event in events:
            if type(event) is Upserted:
                self.add((event.object,))
            elif type(event) is Undecodable:
                self.quarantine(event)
            else:
                self.table.apply((event,), self._discard)
        self._discard.clear()

    def quarantine(self, event: Undecodable) -> None:
        """An item that cannot be read: it lives, so what is cached of it stays."""
        self.table.quarantine(event)

    def forget(self, key: ObjectKey) -> None:
        """The object is known to be gone, though its deletion could not be read."""
        self.table.forget(key, self._discard)
        self._discard.clear()

    def _keep(self, key: ObjectKey, current: Object) -> None:
        table = self.table
        old = table.objects.get(key)
        table.objects[key] = current
        table.bytes_raw += len(current.rest) - (len(old.rest) if old is not None else 0)
        table.indexes.update(key, old, current)

    def promote(self, resource_version: str) -> Iterator[Delta]:
        """Make it the partition's table, at once; the changes are worked out as the result is read."""
        # What could not be read or transformed lives, and is not in the new table: what was cached of it stays.
        for key in self.table.quarantined:
            current = self._current.objects.get(key)
            if current is not None and key not in self.table.objects:
                self._keep(key, current)
        self.table.resource_version = resource_version
        self._store.promote(self._partition, self.table)
        before, self._current = self._current, self.table  # let the old table go once its changes are read
        return _differences(before.objects, self.table.objects)


def _differences(before: dict[ObjectKey, Object], after: dict[ObjectKey, Object]) -> Iterator[Delta]:
    # Both dicts outlive this iteration in the reader's hands; ``after`` may change under it, so its keys are copied.
    for key, old in before.items():
        if key not in after:
            yield Delta(key, old, None)
    for key, new in tuple(after.items()):
        old_or_none = before.get(key)
        if old_or_none is new:
            continue
        if old_or_none is not None and old_or_none.metadata.uid != new.metadata.uid:
            yield Delta(key, old_or_none, None)
            old_or_none = None
        yield Delta(key, old_or_none, new)


class Store:
    """The objects of one resource in all partitions. Implements ``StoreReader``."""

    def __init__(
        self,
        partitions: Sequence[str] = ("",),
        *,
        indexes: Mapping[str, IndexFunction] | None = None,
        transform: Transform | None = None,
        listener: StoreListener | None = None,
    ) -> None:
        self._listener = listener if listener is not None else Deaf()
        self._functions: dict[str, IndexFunction] = dict(indexes or {})
        self._transform = transform
        self._tables = {partition: self.new_table() for partition in partitions}

    # -- reading -----------------------------------------------------------------------------------------------

    def get(self, key: ObjectKey) -> Object | None:
        """The object under ``key``, or None."""
        table = self._table_of(key.namespace)
        return table.objects.get(key) if table is not None else None

    def list(self, namespace: str = "") -> Sequence[Object]:
        """The objects of one namespace, or all of them."""
        if not namespace:
            return tuple(obj for table in self._tables.values() for obj in table.objects.values())
        table = self._table_of(namespace)
        if table is None:
            return ()
        return tuple(table.objects[key] for key in table.indexes.in_namespace(namespace))

    def owned_by(self, uid: str) -> Sequence[Object]:
        """The objects whose controller reference carries this uid."""
        return tuple(table.objects[key] for table in self._tables.values() for key in table.indexes.owned_by(uid))

    def indexed(self, index: str, value: str) -> Sequence[Object]:
        """The objects under ``value``. Raises UsageError for an index that was not declared."""
        return tuple(table.objects[key] for table in self._tables.values() for key in table.indexes.named(index, value))

    @property
    def quarantined(self) -> Mapping[ObjectKey, str]:
        """The keys whose newest version could not be decoded, and why."""
        return {key: reason for table in self._tables.values() for key, reason in table.quarantined.items()}

    def __len__(self) -> int:
        return sum(len(table.objects) for table in self._tables.values())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, ObjectKey) and self.get(key) is not None

    def __repr__(self) -> str:
        return f"<Store of {len(self)} objects in {len(self._tables)} partitions>"

    @property
    def bytes_cached(self) -> int:
        """Estimated memory of the objects."""
        return sum(table.bytes_raw + OBJECT_BYTES * len(table.objects) for table in self._tables.values())

    @property
    def ignored(self) -> int:
        """How many events were older than, or the same as, what is stored."""
        return sum(table.ignored for table in self._tables.values())

    def keys(self) -> Iterator[ObjectKey]:
        """The keys of all objects. Not to be changed while it is read."""
        return (key for table in self._tables.values() for key in table.objects)

    # -- writing: the informer's own ---------------------------------------------------------------------------

    def declare_index(self, name: str, function: IndexFunction) -> None:
        """Add a named index, over what is there already too. Raises UsageError where the name has another function."""
        known = self._functions.get(name)
        if known is function:
            return
        if known is not None:
            raise UsageError(f"index {name!r} is declared twice with different functions: {known!r} and {function!r}")
        self._functions[name] = function
        for table in self._tables.values():
            table.indexes.declare(name, function, table.objects)

    def apply(self, events: Iterable[WatchEvent], partition: str = "") -> Deltas:
        """Take a chunk of watch events in; what changed, in order."""
        deltas: Deltas = []
        self._tables[partition].apply(events, deltas)
        return deltas

    def forget(self, key: ObjectKey, partition: str = "") -> Deltas:
        """The object is known to be gone, though its deletion could not be read; what changed."""
        deltas: Deltas = []
        self._tables[partition].forget(key, deltas)
        return deltas

    def replace(self, partition: str = "") -> Replacement:
        """Begin a new list of a partition."""
        return Replacement(self, partition)

    def table(self, partition: str) -> Table:
        """The table of a partition."""
        return self._tables[partition]

    def new_table(self) -> Table:
        """An empty table with the store's indexes."""
        return Table(self._functions, self._transform, self._listener)

    def promote(self, partition: str, table: Table) -> None:
        """Put a whole new table in the place of a partition's."""
        for name, function in self._functions.items():
            if name not in table.indexes:  # declared while the list was under way
                table.indexes.declare(name, function, table.objects)
        table.ignored += self._tables[partition].ignored
        self._tables[partition] = table

    def _table_of(self, namespace: str) -> Table | None:
        return self._tables.get("") or self._tables.get(namespace)

    def check(self) -> None:
        """Verifies the invariants. Raises AssertionError."""
        for partition, table in self._tables.items():
            for key, obj in table.objects.items():
                if key != obj.key or (partition and key.namespace != partition):
                    raise AssertionError(f"{obj!r} is stored under {key} in partition {partition!r}")
            if table.bytes_raw != sum(len(obj.rest) for obj in table.objects.values()):
                raise AssertionError(f"partition {partition!r}: bytes_raw {table.bytes_raw} is not the sum")
            table.indexes.check(table.objects)
