"""Storage: every object once, as the bytes that are sent, and what happened to each, in one order.

One counter gives every write its version, so versions are comparable between resources (KEP-5504). An object is kept
as its encoded JSON: a watch event or an item of a list is a slice of it, made once for all who listen.

Guarantees:
    * A table's changes are in the order of their versions, and none is left out: a watch that resumes at a version
      sees each later change once.
    * A list at an older version is exact, as long as the changes since are kept; else ``Compacted``.

Assumptions:
    One thread. Whoever writes has read within the same call, so there is nothing to lock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from reconcile.model import json

CHANGES_MAX = 16_384
"""Changes kept for each resource. kube-apiserver's watch cache holds up to 102 400, and etcd five minutes; a watch
that resumes needs the seconds that it was away."""

TRIM_AT = CHANGES_MAX + CHANGES_MAX // 4
"""Cut back in slices: one deletion from the front of a list for each write would cost a move of the whole list."""


class Compacted(Exception):  # noqa: N818  an answer, no error
    """What is asked for is older than what is kept."""


class Stored(msgspec.Struct, gc=False, eq=False):
    """One version of one object.

    Attributes:
        key: ``namespace/name``, or ``name`` where there are no namespaces. Lists are in its order.
        body: the whole object as JSON, its head ``{"kind":…,"apiVersion":…,`` first.
        fields: what field selectors may ask for, beyond name and namespace.
    """

    key: str
    namespace: str
    name: str
    uid: str
    version: int
    body: bytes
    labels: dict[str, str]
    fields: Mapping[str, str] | None = None

    def decode(self) -> dict[str, Any]:
        """A fresh copy as plain values."""
        value: dict[str, Any] = json.decode(self.body)
        return value


class Change(msgspec.Struct, gc=False, eq=False):
    """One write: created (no ``old``), changed, or deleted (no ``new``; ``gone`` is its last state).

    ``lines`` keeps the encoded events, by the representation in which they were asked for.
    """

    version: int
    old: Stored | None
    new: Stored | None
    gone: Stored | None
    lines: dict[str, bytes]


class Table:
    """The objects of one resource, and its latest changes."""

    def __init__(self, name: str, fields_of: Callable[[dict[str, Any]], Mapping[str, str]] | None = None) -> None:
        self.name = name
        self.fields_of = fields_of
        self.objects: dict[str, Stored] = {}
        self.keys: list[str] = []
        self.changes: list[Change] = []
        self.first_position = 0
        """The position of ``changes[0]`` among all changes that there have ever been."""
        self.compacted = 0
        """The newest version that can no longer be told from: watches start after it, lists are exact from it on."""
        self.sleeping: dict[object, Callable[[], None]] = {}
        """Watches that have told everything, and how to wake them."""

    def get(self, key: str) -> Stored | None:
        return self.objects.get(key)

    def keys_in(self, namespace: str, after: str = "") -> list[str]:
        """The keys of one namespace (all: ``""``), in order, those after ``after`` only."""
        if not namespace:
            return self.keys[bisect_right(self.keys, after) :] if after else self.keys
        low = bisect_left(self.keys, namespace + "/")
        high = bisect_left(self.keys, namespace + "0")  # "0" is the character that follows "/"
        if after:
            low = max(low, bisect_right(self.keys, after))
        return self.keys[low:high]

    def position_after(self, version: int) -> int:
        """The position of the first change later than ``version``. Raises Compacted."""
        if version < self.compacted:
            raise Compacted
        return self.first_position + bisect_right(self.changes, version, key=_version_of)

    def changes_since(self, position: int, count_max: int) -> list[Change]:
        """The changes from a position on, at most so many. Raises Compacted."""
        if position < self.first_position:
            raise Compacted
        start = position - self.first_position
        return self.changes[start : start + count_max]

    def at(self, version: int) -> Mapping[str, Stored]:
        """The objects as they were at ``version``. Raises Compacted."""
        if version < self.compacted:
            raise Compacted
        undone = self.changes[bisect_right(self.changes, version, key=_version_of) :]
        if not undone:
            return self.objects
        state = dict(self.objects)
        for change in reversed(undone):
            if change.old is not None:
                state[change.old.key] = change.old
            elif change.new is not None:
                state.pop(change.new.key, None)
        return state

    def compact(self, version: int) -> None:
        """Forget all changes up to ``version``."""
        count = bisect_right(self.changes, version, key=_version_of)
        del self.changes[:count]
        self.first_position += count
        self.compacted = max(self.compacted, version)

    def commit(self, change: Change) -> None:
        """Note a change, and wake who waits for it."""
        key = (change.new or change.gone or change.old).key  # type: ignore[union-attr]  # one of them is there
        if change.new is not None:
            if change.old is None:
                if not self.keys or self.keys[-1] < key:
                    self.keys.append(key)
                else:
                    insort(self.keys, key)
            self.objects[key] = change.new
        else:
            del self.objects[key]
            del self.keys[bisect_left(self.keys, key)]
        self.changes.append(change)
        if len(self.changes) > TRIM_AT:
            self.compact(self.changes[-CHANGES_MAX - 1].version)
        if self.sleeping:
            awakened, self.sleeping = self.sleeping, {}
            for wake in awakened.values():
                wake()


class Storage:
    """All tables, and the one counter of versions."""

    def __init__(self) -> None:
        self.version = 1
        self.tables: dict[str, Table] = {}

    def table(self, name: str, fields_of: Callable[[dict[str, Any]], Mapping[str, str]] | None = None) -> Table:
        """The table of that name, made where it is new."""
        found = self.tables.get(name)
        if found is None:
            found = self.tables[name] = Table(name, fields_of)
        return found

    def put(self, table: Table, key: str, obj: dict[str, Any]) -> Stored:
        """Create or change an object; its ``resourceVersion`` is set."""
        self.version += 1
        new = stored(table, key, obj, self.version)
        table.commit(Change(self.version, table.objects.get(key), new, None, {}))
        return new

    def remove(self, table: Table, key: str, obj: dict[str, Any]) -> Stored:
        """Delete an object; ``obj`` is its last state, whose ``resourceVersion`` becomes that of the deletion."""
        self.version += 1
        gone = stored(table, key, obj, self.version)
        table.commit(Change(self.version, table.objects[key], None, gone, {}))
        return gone

    def dump(self) -> Iterator[bytes]:
        """The whole state, a line each: the version first, then ``[table, key, object]``."""
        yield json.encode(self.version)
        for name, table in self.tables.items():
            for key in table.keys:
                yield json.encode([name, key, msgspec.Raw(table.objects[key].body)])

    def load(self, lines: Iterator[bytes], table_of: Callable[[str], Table]) -> None:
        """Put back what ``dump`` gave, into an empty storage. Raises DecodeError.

        Watches and lists of before are answered with 410, as after a compaction.
        """
        self.version = json.decode_as(next(lines), int)
        for line in lines:
            name, key, body = json.decode_as(line, tuple[str, str, msgspec.Raw])
            table = table_of(name)
            obj = json.decode(bytes(body))
            one = stored(table, key, obj, int(obj["metadata"]["resourceVersion"]))
            table.objects[key] = one
            table.keys.append(key)
        for table in self.tables.values():
            table.keys.sort()
            table.compacted = self.version


def stored(table: Table, key: str, obj: dict[str, Any], version: int) -> Stored:
    """One version of an object, encoded. Sets its ``resourceVersion``; 0 is for what is never stored."""
    metadata = obj["metadata"]
    if version:
        metadata["resourceVersion"] = str(version)
    namespace, _, name = key.rpartition("/")
    fields = table.fields_of(obj) if table.fields_of is not None else None
    return Stored(
        key, namespace, name, metadata.get("uid", ""), version, json.encode(obj), metadata.get("labels") or {}, fields
    )


def _version_of(change: Change) -> int:
    return change.version
