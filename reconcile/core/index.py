"""Indexes of one table of objects: by namespace, by controller-owner uid, and by functions that users name.

Guarantees:
    * After ``update`` every index says what its function says of the new object; ``check`` proves it by recomputation.
    * A function that raises keeps the object out of that index only; the fault is reported, the cache goes on.
    * A lookup costs what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import attrs

from reconcile.errors import UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.owner import controller_of

IndexFunction: TypeAlias = Callable[[Object], Iterable[str]]
"""The values under which an object is found (several, so not a single text). Called once for each version of each
object."""

IndexFault: TypeAlias = Callable[[str, ObjectKey, Exception], None]
"""Hears of an index function that raised: the index, the object, the exception."""


def ignore(_index: str, _key: ObjectKey, _error: Exception) -> None:
    """Hear of a fault and do nothing."""


_NONE: Mapping[ObjectKey, None] = MappingProxyType({})


@attrs.define
class Buckets:
    """value → the keys found under it, in order of arrival (a dict without values keeps the order; a set would not)."""

    _keys: dict[str, dict[ObjectKey, None]] = attrs.field(factory=dict)

    def add(self, value: str, key: ObjectKey) -> None:
        bucket = self._keys.get(value)
        if bucket is None:
            self._keys[value] = {key: None}
        else:
            bucket[key] = None

    def remove(self, value: str, key: ObjectKey) -> None:
        bucket = self._keys[value]
        del bucket[key]
        if not bucket:
            del self._keys[value]

    def under(self, value: str) -> Collection[ObjectKey]:
        return self._keys.get(value, _NONE).keys()

    def as_sets(self) -> dict[str, set[ObjectKey]]:
        return {value: set(keys) for value, keys in self._keys.items()}


@attrs.define
class NamedIndex:
    """One user-named index. The values of each object are remembered, so a function is called once a version."""

    name: str
    function: IndexFunction
    on_fault: IndexFault
    buckets: Buckets = attrs.field(factory=Buckets)
    values: dict[ObjectKey, tuple[str, ...]] = attrs.field(factory=dict)

    def update(self, key: ObjectKey, new: Object | None) -> None:
        before = self.values.get(key, ())
        after = self._values_of(key, new)
        if after == before:
            return
        for value in before:
            self.buckets.remove(value, key)
        for value in after:
            self.buckets.add(value, key)
        if after:
            self.values[key] = after
        else:
            self.values.pop(key, None)

    def _values_of(self, key: ObjectKey, new: Object | None) -> tuple[str, ...]:
        if new is None:
            return ()
        try:
            return _distinct(self.function(new))
        except Exception as error:  # noqa: BLE001  user code on one object must not stop the cache
            self.on_fault(self.name, key, error)
            return ()


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise UsageError(f"an index function returned the text {values!r}: want several values, such as ({values!r},)")
    return tuple(dict.fromkeys(values))


@attrs.define
class Indexes:
    """All indexes of one table."""

    on_fault: IndexFault = ignore
    _by_namespace: Buckets = attrs.field(factory=Buckets)
    _by_owner: Buckets = attrs.field(factory=Buckets)
    _named: dict[str, NamedIndex] = attrs.field(factory=dict)

    def declare(self, name: str, function: IndexFunction, objects: Mapping[ObjectKey, Object]) -> None:
        """Add a named index over the objects present."""
        index = NamedIndex(name, function, self.on_fault)
        for key, obj in objects.items():
            index.update(key, obj)
        self._named[name] = index

    def __contains__(self, name: str) -> bool:
        """Whether the named index was declared."""
        return name in self._named

    def update(self, key: ObjectKey, old: Object | None, new: Object | None) -> None:
        """The object under ``key`` was ``old`` and is ``new``."""
        if old is None:
            self._by_namespace.add(key.namespace, key)
        elif new is None:
            self._by_namespace.remove(key.namespace, key)
        before = None if old is None else controller_of(old)
        after = None if new is None else controller_of(new)
        if before is not after and (before is None or after is None or before.uid != after.uid):
            if before is not None:
                self._by_owner.remove(before.uid, key)
            if after is not None:
                self._by_owner.add(after.uid, key)
        if self._named:
            for index in self._named.values():
                index.update(key, new)

    def in_namespace(self, namespace: str) -> Collection[ObjectKey]:
        return self._by_namespace.under(namespace)

    def owned_by(self, uid: str) -> Collection[ObjectKey]:
        return self._by_owner.under(uid)

    def named(self, name: str, value: str) -> Collection[ObjectKey]:
        """Raises UsageError for an index that was not declared."""
        index = self._named.get(name)
        if index is None:
            known = ", ".join(sorted(self._named)) or "none"
            raise UsageError(f"index {name!r} was not declared (declared: {known}); name it in indexes= of the watch")
        return index.buckets.under(value)

    def check(self, objects: Mapping[ObjectKey, Object]) -> None:
        """Compares every index with its recomputation. Raises AssertionError."""
        fresh = Indexes()
        for name, index in self._named.items():
            fresh.declare(name, index.function, {})
        for key, obj in objects.items():
            fresh.update(key, None, obj)
        _same("namespace", self._by_namespace, fresh._by_namespace)
        _same("owner uid", self._by_owner, fresh._by_owner)
        for name, index in self._named.items():
            _same(name, index.buckets, fresh._named[name].buckets)


def _same(name: str, kept: Buckets, recomputed: Buckets) -> None:
    if kept.as_sets() != recomputed.as_sets():
        raise AssertionError(f"index {name}: kept {kept.as_sets()}, recomputed {recomputed.as_sets()}")
