"""Reading one's own writes: what the cache must have seen before a key may run again.

Each write of a key leaves a *floor*: the informer of the written resource must have reached the version that the write
was answered with. Bookmarks count, so that a floor is met even when the object itself changed again or is gone. A write
without an answer leaves an *unknown* instead: the identical request is sent again, and its answer makes the floor.

Guarantees:
    * ``blocked(key)`` is None only if every informer that covers what the key wrote has reached it, or nobody can tell:
      no informer covers it, or the versions are opaque (such floors are dropped and counted: fail open, never stuck).
    * Until then ``overlay`` gives the object as it was just written, where the cache is older.
    * Memory: one entry for each written object whose floor stands, at most ``FLOORS_MAX`` a key; a floor that is met
      takes every lower one of its resource and namespace with it that is met too.

Assumptions: within one resource, versions are comparable numbers that grow (KEP-5504); an informer that has reached a
version has seen all earlier changes of what it covers.

Peers: kube-controller-manager's ConsistencyStore (1.36), controller-runtime#3472.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Mapping
from operator import attrgetter
from typing import Generic, TypeAlias, TypeVar

import attrs
import msgspec

from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.resource import Resource
from reconcile.model.version import version_number
from reconcile.model.write import Applied, Outcome, Unknown, Verb, Write

K = TypeVar("K", bound=Hashable)

FLOORS_MAX = 50_000
"""Floors of one key in one namespace: far above one reconcile's writes. Beyond it the oldest goes."""


class Floor(msgspec.Struct, frozen=True, gc=False):
    """What the cache must show: ``resource`` at ``version``, or for a delete that the object of that ``uid`` is gone.

    Attributes:
        target: the written object; its namespace and ``labels`` tell whether an informer covers it.
        version: None where the answer to a delete carried none.
        deleted: the object was deleted; ``uid`` says which one.
    """

    resource: Resource
    target: ObjectKey
    uid: str
    version: int | None
    deleted: bool
    object: Object | None

    @property
    def labels(self) -> Mapping[str, str]:
        """The written object's labels; none are known where the answer carried no object."""
        return self.object.labels if self.object is not None else {}

    def __str__(self) -> str:
        if self.deleted:
            return f"{self.resource} {self.target} gone"
        return f"{self.resource} {self.target} at resourceVersion {self.version}"


VersionOf: TypeAlias = Callable[[Floor], int | None]
"""How far the informers that cover a floor's object have seen; None where none does, or the version is opaque."""
UidOf: TypeAlias = Callable[[Floor], str | None]
"""The uid under which a floor's target is in the cache; None where it is not there."""

_version = attrgetter("version")


@attrs.define
class _Group:
    """The floors of one key in one resource and namespace."""

    # By version, lowest first: what is met is cut off at the left, the highest decides. Same floors as in by_target.
    by_version: list[Floor] = attrs.field(factory=list)
    # The latest write of each object.
    by_target: dict[ObjectKey, Floor] = attrs.field(factory=dict)
    # Deletes that were answered without a version.
    gone: dict[ObjectKey, Floor] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.by_version) + len(self.gone)

    def add(self, floor: Floor) -> None:
        if floor.version is None:
            self.gone[floor.target] = floor
            return
        earlier = self.by_target.get(floor.target)
        if earlier is not None:
            if earlier.version is not None and earlier.version > floor.version:
                return
            self.remove(earlier)
        insort(self.by_version, floor, key=_version)
        self.by_target[floor.target] = floor

    def remove(self, floor: Floor) -> None:
        del self.by_target[floor.target]
        position = bisect_left(self.by_version, floor.version, key=_version)
        while self.by_version[position] is not floor:
            position += 1
        del self.by_version[position]

    def cut(self, version: int, version_of: VersionOf) -> None:
        """Drop what is met at ``version``. Another informer, with another selector, may be behind with some of it."""
        position = bisect_left(self.by_version, version + 1, key=_version)
        behind: list[Floor] = []
        for floor in self.by_version[:position]:
            reached = version_of(floor)
            if reached is not None and floor.version is not None and reached < floor.version:
                behind.append(floor)
            else:
                del self.by_target[floor.target]
        self.by_version[:position] = behind


class FreshnessStatistics(msgspec.Struct, frozen=True, gc=False):
    """Counts: what stands now, and totals since the start."""

    keys: int
    floors: int
    unknown: int
    parks_total: int
    """Keys that had to wait, each wait counted once."""
    timeouts_total: int
    failed_open_total: int
    """Floors that could not be kept or checked: opaque version, not covered by an informer, or too many."""


class Freshness(Generic[K]):
    """The floors and the unanswered writes of each key."""

    def __init__(self) -> None:
        # No empty inner values: a key without floors or unknowns is in neither.
        self._groups: dict[K, dict[tuple[Resource, str], _Group]] = {}
        self._unknown: dict[K, dict[Write, None]] = {}
        # Keys whose last ``blocked`` was not None.
        self._parked: set[K] = set()
        self._parks_total = 0
        self._timeouts_total = 0
        self._failed_open_total = 0

    # -- what was written ---------------------------------------------------------------------------------------------

    def record(self, key: K, applied: Applied, *, uid: str = "") -> None:
        """The key wrote something.

        Args:
            key: whose reconcile wrote it.
            applied: the write and its answer.
            uid: of a deleted object, where the answer may carry no object.
        """
        write, written = applied.write, applied.object
        vanished = _has_vanished(write, written)
        deleted = vanished or _is_deleted(write, written)
        version = None if vanished else version_number(applied.resource_version)
        uid = written.uid if written is not None else uid
        if version is None and not (deleted and uid):
            self._failed_open_total += 1
            return
        groups = self._groups.setdefault(key, {})
        group = groups.setdefault((write.resource, write.key.namespace), _Group())
        group.add(Floor(write.resource, write.key, uid, version, deleted, written))
        if len(group) > FLOORS_MAX:
            self._failed_open_total += 1
            if group.by_version:
                group.remove(group.by_version[0])
            else:
                del group.gone[next(iter(group.gone))]

    def record_unknown(self, key: K, write: Write) -> None:
        """The key's write got no answer: it may have been executed, or may be yet."""
        self._unknown.setdefault(key, {})[write] = None

    def unknown(self, key: K) -> tuple[Write, ...]:
        """The writes to send again, first written first, before the key may run."""
        return tuple(self._unknown.get(key, ()))

    def settle(self, key: K, write: Write, outcome: Outcome) -> None:
        """What sending an unknown write again came to. Still Unknown: it stays."""
        if isinstance(outcome, Unknown):
            return
        writes = self._unknown.get(key, {})
        writes.pop(write, None)
        if not writes:
            self._unknown.pop(key, None)
        if isinstance(outcome, Applied):
            self.record(key, outcome)

    # -- may the key run? ---------------------------------------------------------------------------------------------

    def blocked(self, key: K, version_of: VersionOf, uid_of: UidOf | None = None) -> Floor | None:
        """The floor that the cache has not reached, or None: the key may run. Drops the floors that are met.

        Without ``uid_of``, deletes that were answered without a version, and writes that took an object out of an
        informer's selector, are not waited for.
        """
        floor = self._first_standing(key, version_of, uid_of)
        if floor is None:
            self._parked.discard(key)
        elif key not in self._parked:
            self._parked.add(key)
            self._parks_total += 1
        return floor

    def sweep(self, version_of: VersionOf, uid_of: UidOf | None = None) -> None:
        """Drop the floors that are met, of every key: one that never runs again would keep its own."""
        for key in tuple(self._groups):
            self._first_standing(key, version_of, uid_of)

    def _first_standing(self, key: K, version_of: VersionOf, uid_of: UidOf | None) -> Floor | None:
        groups = self._groups.get(key)
        if groups is None:
            return None
        for place, group in tuple(groups.items()):
            floor = self._standing(group, version_of, uid_of)
            if floor is not None:
                return floor
            del groups[place]
        del self._groups[key]
        return None

    def _standing(self, group: _Group, version_of: VersionOf, uid_of: UidOf | None) -> Floor | None:
        """The highest floor of a group that is not met; the group is empty if there is none."""
        while group.by_version:
            highest = group.by_version[-1]
            reached = version_of(highest)
            if reached is None:
                if uid_of is not None and highest.uid and uid_of(highest) == highest.uid:
                    return highest  # the write took it out of the selector, and the cache has not seen that yet
                self._failed_open_total += 1
                group.remove(highest)
                continue
            group.cut(reached, version_of)
            if group.by_version and group.by_version[-1] is highest:
                return highest
        for target, floor in tuple(group.gone.items()):
            if uid_of is not None and version_of(floor) is not None and uid_of(floor) == floor.uid:
                return floor
            del group.gone[target]
        return None

    def give_up(self, key: K) -> None:
        """The bound on waiting has passed: drop the key's floors, and count it."""
        self._timeouts_total += 1
        self._groups.pop(key, None)
        self._parked.discard(key)

    # -- reading ------------------------------------------------------------------------------------------------------

    def overlay(self, key: K, resource: Resource, target: ObjectKey, cached: Object | None = None) -> Object | None:
        """The object as the key last wrote it, where ``cached`` does not show that yet; None: the cache is right."""
        groups = self._groups.get(key)
        group = groups.get((resource, target.namespace)) if groups else None
        floor = group.by_target.get(target) if group is not None else None
        if floor is None or floor.object is None or floor.deleted or floor.version is None:
            return None
        seen = version_number(cached.resource_version) if cached is not None else None
        return None if seen is not None and seen >= floor.version else floor.object

    # -- what is going on ---------------------------------------------------------------------------------------------

    def statistics(self) -> FreshnessStatistics:
        """The state in numbers. Costs the number of keys with floors."""
        return FreshnessStatistics(
            keys=len(self._groups.keys() | self._unknown.keys()),
            floors=sum(len(group) for groups in self._groups.values() for group in groups.values()),
            unknown=sum(map(len, self._unknown.values())),
            parks_total=self._parks_total,
            timeouts_total=self._timeouts_total,
            failed_open_total=self._failed_open_total,
        )


def _has_vanished(write: Write, written: Object | None) -> bool:
    """Whether the write took away the last thing that kept an object which was being deleted.

    The server then removes it, and answers with the version from before the removal, which proves nothing.
    """
    if written is None or write.verb not in (Verb.PATCH, Verb.UPDATE):
        return False
    return written.is_deleting and not written.finalizers and not written.metadata.deletion_grace_period_seconds


def _is_deleted(write: Write, written: Object | None) -> bool:
    """Whether the write removed the object at once (one with finalizers or a grace period was only marked)."""
    if write.verb is not Verb.DELETE:
        return False
    return written is None or not written.is_deleting
