"""What a watch stream says: a closed union."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from reconcile.errors import Status
from reconcile.model.object import Object


class Upserted(msgspec.Struct, frozen=True, gc=False):
    """ADDED or MODIFIED (a reader that resumes cannot rely on which of the two it gets)."""

    object: Object


class Deleted(msgspec.Struct, frozen=True, gc=False):
    """DELETED: the object is gone, or has left the selector."""

    object: Object


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """BOOKMARK: everything up to ``resource_version`` has been sent.

    ``initial_events_end`` marks the end of the initial state (annotation ``k8s.io/initial-events-end``, KEP-3157).
    """

    resource_version: str
    initial_events_end: bool = False


class ServerError(msgspec.Struct, frozen=True, gc=False):
    """ERROR: the stream is over; ``status.code`` 410 asks for a new list."""

    status: Status


class Undecodable(msgspec.Struct, frozen=True, gc=False):
    """A line that is no valid event; ``namespace`` and ``name`` are what a scan of its bytes could find.

    ``deleted``: it says DELETED. Of which object is for the server to confirm, since a scan can be led astray.
    """

    reason: str
    namespace: str = ""
    name: str = ""
    resource_version: str = ""
    deleted: bool = False


WatchEvent: TypeAlias = Upserted | Deleted | Bookmark | ServerError | Undecodable
