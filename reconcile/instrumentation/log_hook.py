"""The hook that writes facts to the log: a line each, at a level that fits, the same warning once a minute.

Failures of reconciles and components, and changes of the leader, are debug lines here: they are logged where they
happen, with their trace. What controllers measure is no line at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, assert_never

from reconcile.instrumentation.hooks import (
    ComponentFailed,
    EventDropped,
    Fact,
    LeaderChanged,
    LoopStalled,
    Parked,
    Quarantined,
    Reconciled,
    Relisted,
    RequestSent,
    WatchEnded,
)
from reconcile.instrumentation.metric import Measured

REPEAT_SECONDS = 60.0
REPEATS_MAX = 4096
"""The same warning is written once a minute, with the number held back; that many different ones are remembered."""


class LogHook:
    """Writes facts to the log. ``monotonic`` is a clock in seconds, for telling repeats."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._log = logging.getLogger("reconcile")
        self._repeats: dict[tuple[Any, ...], tuple[float, int]] = {}

    def __call__(self, fact: Fact) -> None:
        """Log a fact; give it to ``Hooks.add``."""
        match fact:
            case Reconciled():
                self._reconciled(fact)
            case Measured():
                pass  # for the metrics alone
            case RequestSent(method=method, resource=resource, code=code, seconds=seconds):
                self._log.debug("%s %s: %s in %.3f s", method, resource, code or "no answer", seconds)
            case WatchEnded(resource=resource, reason="closed" | "expired" as reason, detail=detail):
                self._log.debug("watch of %s ended: %s %s", resource, reason, detail)
            case WatchEnded(resource=resource, reason=reason, detail=detail):
                self._warn((resource, reason, detail), "watch of %s ended: %s: %s", resource, reason, detail)
            case Relisted(resource=resource, objects=objects, seconds=seconds, mode=mode):
                self._log.info("%s: %d objects in %.3f s by %s", resource, objects, seconds, mode)
            case Quarantined(resource=resource, key=key, reason=reason):
                self._warn((resource, key), "%s %s cannot be decoded and is left out: %s", resource, key, reason)
            case Parked():
                self._parked(fact)
            case LeaderChanged() | ComponentFailed():
                self._log.debug("%s", fact)
            case LoopStalled(seconds=seconds, stack=stack):
                by = "by this code" if stack else "because the process did not run (suspended, or short of CPU)"
                text = "the event loop stood still for %.3f s %s"
                self._warn((LoopStalled, stack), text, seconds, by, extra={"trace": stack})
            case EventDropped(reason=reason):
                self._warn((EventDropped, reason), "an Event was not written: %s", reason)
            case _:
                assert_never(fact)

    def _reconciled(self, fact: Reconciled) -> None:
        extra = _extra(fact.controller, fact.key) | {"reconcile_id": fact.reconcile_id}
        again = "" if fact.retry_after_seconds is None else f", again in {fact.retry_after_seconds:.3f} s"
        self._log.debug("%s in %.3f s, %d writes%s", fact.outcome, fact.seconds, fact.writes, again, extra=extra)

    def _parked(self, fact: Parked) -> None:
        extra = _extra(fact.controller, fact.key)
        if fact.timed_out:
            text = "%s: the cache did not show its own writes within %.1f s; it runs on what there is"
            self._warn((Parked, fact.controller, fact.resource), text, fact.resource, fact.seconds, extra=extra)
        else:
            self._log.debug("%s: waited %.3f s for its own writes", fact.resource, fact.seconds, extra=extra)

    def _warn(self, identity: tuple[Any, ...], text: str, *values: object, extra: dict[str, str] | None = None) -> None:
        """A warning, unless the same one was written within the last ``REPEAT_SECONDS``."""
        now = self._monotonic()
        written, held_back = self._repeats.get(identity, (now - REPEAT_SECONDS, 0))
        if now - written < REPEAT_SECONDS:
            self._repeats[identity] = (written, held_back + 1)
            return
        self._repeats.pop(identity, None)
        if len(self._repeats) >= REPEATS_MAX:
            self._repeats.pop(next(iter(self._repeats)))
        self._repeats[identity] = (now, 0)
        if held_back:
            text, values = f"{text} (and %d more times since it was last written)", (*values, held_back)
        self._log.warning(text, *values, extra=extra)


def _extra(controller: str, key: object) -> dict[str, str]:
    return {"controller": controller, "key": str(key)}
