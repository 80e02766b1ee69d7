"""Source: joins an informer to a queue. Changes → predicate → keys → queue, in one plain call.

User code that raises on one object costs that object a needless or a missed wake-up, and is reported; the others go on.
A predicate that raises lets the change pass, because a needless reconcile does no harm and a missing one may. A resync
passes every predicate: it is asked for because nothing changes here, though something may have outside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from reconcile.core.enqueue import Enqueue
from reconcile.core.predicate import Predicate
from reconcile.instrumentation.hooks import ComponentFailed, Hooks
from reconcile.instrumentation.metric import Measure, Measured
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.runtime.informer import Informer

_log = logging.getLogger("reconcile.source")

PRIORITY_LOW = -100
"""Keys of a first list and of a resync: nothing has changed, so they wait behind those of changes (the number that
controller-runtime uses; the queue's ageing keeps them from starving)."""


class Queue(Protocol):
    """What a source needs of a queue."""

    def add(self, key: ObjectKey, /, *, priority: int = 0) -> None: ...


class Source:
    """Feeds one queue from one informer, from ``start`` on."""

    def __init__(
        self,
        informer: Informer,
        enqueue: Enqueue,
        queue: Queue,
        *,
        predicate: Predicate | None = None,
        measure: Measure | None = None,
        report: Callable[[Measured], None] | None = None,
        priority: int = 0,
        hooks: Hooks | None = None,
    ) -> None:
        self.informer = informer
        self._priority = priority
        self._enqueue = enqueue
        self._add = queue.add
        self._predicate = predicate
        self._measure = measure
        self._tell = report
        self._hooks = hooks if hooks is not None else Hooks()

    def start(self) -> None:
        """Subscribe: what is cached already comes at once."""
        self.informer.subscribe(self._on_deltas)

    def _on_deltas(self, deltas: Sequence[Delta]) -> None:
        add, enqueue, predicate = self._add, self._enqueue, self._predicate
        low, usual = self.informer.in_initial_sync, self._priority
        if self._measure is not None and self._tell is not None:
            self._measure_all(self._measure, self._tell, deltas)
        for delta in deltas:
            is_resync = delta.old is not None and delta.old is delta.new
            if predicate is not None and not is_resync and not self._passes(predicate, delta):
                continue
            try:
                priority = PRIORITY_LOW if low or is_resync else usual
                for key in enqueue(delta):
                    add(key, priority=priority)
            except Exception as error:  # noqa: BLE001  user code on one object must not stop the others
                self._report("enqueue", enqueue, delta, error)

    def _measure_all(self, measure: Measure, tell: Callable[[Measured], None], deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            try:
                for measured in measure(delta):
                    tell(measured)
            except Exception as error:  # noqa: BLE001  user code on one object must not stop the others
                self._report("measure", measure, delta, error)

    def _passes(self, predicate: Predicate, delta: Delta) -> bool:
        try:
            return predicate(delta)
        except Exception as error:  # noqa: BLE001  user code on one object must not stop the others
            self._report("predicate", predicate, delta, error)
            return True

    def _report(self, what: str, function: object, delta: Delta, error: Exception) -> None:
        _log.exception("%s: %s %r raised on %s", self.informer, what, function, delta.key)
        self._hooks.emit(ComponentFailed(f"{what} on {self.informer.resource}", repr(error), 0.0))
