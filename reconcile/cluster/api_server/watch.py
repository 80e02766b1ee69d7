"""One watch: a place in a table's changes, and who it is told to. Pure: whoever serves it waits.

Guarantees (the watch contract of the API, "Efficient detection of changes" in API concepts):
    * Ordered, each change once, none left out; a watch that has fallen behind what is kept ends with 410.
    * An object that comes to match the selector is ADDED, one that ceases to is DELETED with its last matching state.
    * A bookmark's version is that up to which everything has been told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconcile.cluster.api_server.failure import expired
from reconcile.cluster.api_server.representation import MetadataOnly, Representation
from reconcile.cluster.api_server.selection import Test
from reconcile.cluster.api_server.storage import Change, Compacted, Storage, Stored, Table

_NOTHING = MetadataOnly()

EVENTS_MAX = 512
"""Events that are taken at once: enough to fill a socket's buffer, few enough that others get their turn."""


class Watch:
    """Tells the changes of ``table`` after a position, in one representation.

    Args:
        initial: objects that are told as ADDED first.
        since: the version from which on changes are told; with ``initial`` the version of that state.
        ends_initial: tell where the initial state ends (``sendInitialEvents``).
    """

    def __init__(
        self,
        storage: Storage,
        table: Table,
        representation: Representation,
        *,
        namespace: str,
        test: Test | None,
        initial: Iterable[Stored],
        since: int,
        bookmarks: bool,
        ends_initial: bool = False,
    ) -> None:
        self._storage = storage
        self._table = table
        self._representation = representation
        self._namespace = namespace
        self._test = test
        self._initial = iter(initial)
        self._since = since
        self._position = table.position_after(min(since, storage.version))
        self.bookmarks = bookmarks
        self._ends_initial = ends_initial
        self._in_initial = True
        self.ended = False
        """Nothing more will come."""
        self._last_words: list[bytes] = []

    @classmethod
    def refused(cls, storage: Storage, table: Table, line: bytes) -> Watch:
        """A watch that says one thing, and ends."""
        watch = cls(
            storage, table, _NOTHING, namespace="", test=None, initial=(), since=storage.version, bookmarks=False
        )
        watch._last_words = [line]
        return watch

    def take(self) -> list[bytes]:
        """The next lines; empty where there is nothing new."""
        if self._last_words:
            self.ended = True
            return self._last_words
        if self._in_initial:
            lines = self._take_initial()
            if lines:
                return lines
        try:
            changes = self._table.changes_since(self._position, EVENTS_MAX)
        except Compacted:
            self.ended = True
            return [error_line(too_old())]
        self._position += len(changes)
        lines = []
        add = lines.append
        for change in changes:
            line = self._line(change)
            if line is not None:
                add(line)
        return lines if lines or not changes else self.take()

    def _take_initial(self) -> list[bytes]:
        lines = []
        for one in self._initial:
            lines.append(self._representation.line(b'{"type":"ADDED","object":', one))
            if len(lines) >= EVENTS_MAX:
                return lines
        self._in_initial = False
        if self._ends_initial:
            lines.append(self._bookmark(self._since, initial_end=True))
        return lines

    def bookmark(self) -> bytes:
        """Everything up to now has been told: so this is only true after an empty ``take``."""
        return self._bookmark(max(self._since, self._storage.version))

    def sleep(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` with the next change of the table, once."""
        self._table.sleeping[self] = wake

    def close(self) -> None:
        """Nobody listens any more."""
        self.ended = True
        self._table.sleeping.pop(self, None)

    def _line(self, change: Change) -> bytes | None:
        if change.version <= self._since:
            return None
        new, old = change.new, change.old
        if self._namespace:
            one = new or change.gone
            if one is not None and one.namespace != self._namespace:
                return None
        test = self._test
        if test is not None:
            now = new is not None and test(new)
            before = old is not None and test(old)
            if not now and not before:
                return None
            if now != before and new is not None and old is not None:
                return self._representation.event(change, "ADDED" if now else "LEFT")
        if new is None:
            return self._representation.event(change, "DELETED")
        return self._representation.event(change, "ADDED" if old is None else "MODIFIED")

    def _bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        return self._representation.bookmark(version, initial_end=initial_end)


def too_old() -> bytes:
    """The Status of a watch that starts too early."""
    return expired("The resourceVersion for the provided watch is too old.").body()


def error_line(status: bytes) -> bytes:
    """An ERROR event."""
    return b'{"type":"ERROR","object":' + status + b"}\n"
