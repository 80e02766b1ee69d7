"""Facts, and the hooks that hear them.

A fact is a frozen value; a hook is a plain function that must not raise, block or await. One that raises is reported
once and dropped, because nothing that watches may harm what it watches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs
import msgspec

from reconcile.instrumentation.metric import Measured
from reconcile.model.key import ObjectKey

_log = logging.getLogger("reconcile.instrumentation")


class Reconciled(msgspec.Struct, frozen=True, gc=False):
    """One run of a reconcile function.

    ``conflict``: something changed since it was read, so it is done again; ``error`` says what. No failure.
    """

    controller: str
    key: ObjectKey
    reconcile_id: str
    outcome: Literal["success", "requeue_after", "conflict", "error", "terminal", "timeout", "panic", "cancelled"]
    seconds: float
    writes: int
    error: str = ""
    retry_after_seconds: float | None = None


class RequestSent(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request. ``code`` is 0 where no answer came."""

    method: str
    host: str
    resource: str
    code: int
    seconds: float


class WatchEnded(msgspec.Struct, frozen=True, gc=False):
    """A watch or list ended, and why."""

    resource: str
    reason: Literal["closed", "expired", "error", "idle", "refused"]
    detail: str = ""


class Relisted(msgspec.Struct, frozen=True, gc=False):
    """An informer has the full state (again)."""

    resource: str
    objects: int
    seconds: float
    mode: Literal["watchlist", "list"]


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """An object that could not be decoded. The rest of its resource goes on."""

    resource: str
    key: ObjectKey
    reason: str


class Parked(msgspec.Struct, frozen=True, gc=False):
    """A key waited for the cache of ``resource`` to show its own writes. ``timed_out``: the bound passed first."""

    controller: str
    key: ObjectKey
    resource: str
    seconds: float
    timed_out: bool


class LeaderChanged(msgspec.Struct, frozen=True, gc=False):
    """This process began or ceased to lead."""

    lease: str
    leading: bool
    detail: str = ""


class ComponentFailed(msgspec.Struct, frozen=True, gc=False):
    """A controller, informer or other task of the framework ended with an exception; it is restarted after a delay."""

    component: str
    error: str
    restart_seconds: float


class LoopStalled(msgspec.Struct, frozen=True, gc=False):
    """The event loop did not run for that long: some code blocks it."""

    seconds: float
    stack: str = ""


class EventDropped(msgspec.Struct, frozen=True, gc=False):
    """An Event was not written: rate limit, full queue or refusal."""

    reason: str


Fact: TypeAlias = (
    Reconciled
    | RequestSent
    | WatchEnded
    | Relisted
    | Quarantined
    | Parked
    | LeaderChanged
    | ComponentFailed
    | LoopStalled
    | EventDropped
    | Measured
)
Hook: TypeAlias = Callable[[Fact], None]


@attrs.define
class Hooks:
    """The listeners of one application."""

    _hooks: list[Hook] = attrs.field(factory=list)

    def add(self, hook: Hook) -> None:
        """Hear every fact from now on."""
        self._hooks.append(hook)

    def emit(self, fact: Fact) -> None:
        """Tell everyone. Never raises."""
        for hook in tuple(self._hooks):
            try:
                hook(fact)
            except Exception:  # noqa: BLE001  whatever a listener raises must not harm what it hears
                self._hooks.remove(hook)
                _log.exception("hook %r raised on %r and is removed", hook, type(fact).__name__)
