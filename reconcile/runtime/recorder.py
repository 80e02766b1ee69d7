"""The Event recorder: takes reports at once, writes them one after the other, never harms who reports.

Guarantees:
    * ``event`` neither waits nor raises. What it cannot keep is dropped, counted, and told as an ``EventDropped`` fact.
    * An Event whose answer was lost is sent again under the same name, so that it is not written twice.
    * Memory is bounded (see ``reconcile.core.recorder``), whatever is reported and however long the server is away.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import assert_never

import anyio

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.core.backoff import Backoff, BackoffPolicy
from reconcile.core.recorder import EVENTS, Correlator, Series
from reconcile.errors import AlreadyExistsError, LeaseLostError, NotFoundError, TransportError
from reconcile.instrumentation.hooks import EventDropped, Hooks
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.write import Applied, Outcome, Refused, Unknown, Write
from reconcile.reconciler import EventType
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock

_log = logging.getLogger("reconcile.recorder")

ATTEMPTS_MAX = 4
"""Tries to write one Event while the server does not answer; with the delays between them about ten seconds."""
RETRY = BackoffPolicy(first_seconds=1.0, seconds_max=4.0, jitter=0.5)
FLUSH_SECONDS_MAX = 5.0
"""How long a stop waits for what is unwritten."""
TOKEN_CHARACTERS = 12


class EventRecorder:
    """Writes Events about objects.

    Args:
        component: who reports, as ``source.component`` and ``reportingComponent``.
        gate: raises LeaseLostError where this process may not write any more; its Events are dropped then.
    """

    def __init__(
        self,
        client: Client,
        component: str,
        *,
        gate: Callable[[], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        hooks: Hooks | None = None,
    ) -> None:
        self._client = client
        self._component = component
        self._gate = gate
        self._clock = clock
        self._hooks = hooks or Hooks()
        self._correlator = Correlator()
        self._reported = anyio.Event()
        self._drained = anyio.Event()
        self._is_running = False
        self.written_total = 0
        self.dropped_total = 0

    def __repr__(self) -> str:
        return f"<EventRecorder {self._component} pending={len(self._correlator)} dropped={self.dropped_total}>"

    def event(self, obj: Object, reason: str, message: str, *, type: EventType = "Normal") -> None:
        """Report something about ``obj``. ``reason`` is one CamelCase word, ``message`` is for people."""
        try:
            why_not = self._correlator.report(
                obj,
                type,
                str(reason),
                str(message),
                now=self._clock.monotonic(),
                wall=self._clock.wall(),
                token=self._clock.token(TOKEN_CHARACTERS),
            )
        except Exception as error:  # noqa: BLE001  a report must not harm the reconcile that makes it
            self._drop(f"malformed: {error.__class__.__name__}")
            return
        if why_not:
            self._drop(why_not)
        else:
            self._reported.set()

    async def run(self) -> None:
        """Write what is reported, until cancelled."""
        self._is_running = True
        try:
            while True:
                series = self._correlator.pending()
                if series is not None:
                    await self._write(series)
                    continue
                self._drained.set()
                self._reported = anyio.Event()
                await self._reported.wait()
        finally:
            self._is_running = False
            self._drained.set()

    async def flush(self, seconds_max: float = FLUSH_SECONDS_MAX) -> None:
        """Wait until all is written that was reported so far, but not longer than ``seconds_max``."""
        with anyio.move_on_after(seconds_max):
            while self._is_running and self._correlator.pending() is not None:
                self._drained = anyio.Event()
                await self._drained.wait()
        if (left := len(self._correlator)) > 0:
            _log.warning("%d events of %s are not written", left, self._component)

    async def _write(self, series: Series) -> None:
        """Create the Event or raise its count; give up after some tries or on a refusal."""
        backoff = Backoff(RETRY)
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await self._clock.sleep(backoff.delay(self._clock.monotonic(), self._clock.random()))
            count = series.count
            try:
                request = self._request(series)
                outcome: Outcome = await self._client.send(request, gate=self._gate)
            except LeaseLostError:
                self._give_up(series, "lease lost")
                return
            except TransportError as error:  # it was not sent
                _log.debug("event %s not sent: %s", series.name, error)
                continue
            except Exception as error:  # noqa: BLE001  an Event must not end what reports it
                _log.warning("event %s cannot be written: %r", series.name, error)
                self._give_up(series, f"malformed: {error.__class__.__name__}")
                return
            match outcome:
                case Applied():
                    self._correlator.written(series, count)
                    self.written_total += 1
                    return
                case Refused(_, AlreadyExistsError()):  # an earlier try arrived, perhaps with a lower count
                    self._correlator.written(series, 1)
                    self.written_total += 1
                    return
                case Refused(_, NotFoundError()) if series.written:
                    self._correlator.recreate(series, self._clock.token(TOKEN_CHARACTERS))
                case Refused(_, refusal) if refusal.code < 500 and refusal.code != 429:
                    _log.debug("event %s refused: %s", series.name, refusal)
                    self._give_up(series, f"refused with {refusal.code}")
                    return
                case Refused() | Unknown():
                    pass
                case _:
                    assert_never(outcome)
        self._give_up(series, "the server does not answer")

    def _request(self, series: Series) -> Write:
        if series.written:
            key = ObjectKey(series.namespace, series.name)
            return writes.patch(EVENTS, key, series.to_patch(), field_manager=self._component)
        return writes.create(EVENTS, series.to_object(self._component), field_manager=self._component)

    def _give_up(self, series: Series, reason: str) -> None:
        self._correlator.dropped(series)
        self._drop(reason)

    def _drop(self, reason: str) -> None:
        self.dropped_total += 1
        self._hooks.emit(EventDropped(reason))


class Recorders:
    """One recorder for each component of a process: programs that run together keep their names."""

    def __init__(self, client: Client, *, gate: Callable[[], None], clock: Clock, hooks: Hooks) -> None:
        self._new = functools.partial(EventRecorder, client, gate=gate, clock=clock, hooks=hooks)
        self._recorders: dict[str, EventRecorder] = {}

    def of(self, component: str) -> EventRecorder:
        """The component's recorder."""
        if component not in self._recorders:
            self._recorders[component] = self._new(component)
        return self._recorders[component]

    async def run(self) -> None:
        """Write what is reported to those that there are by now, until cancelled."""
        async with anyio.create_task_group() as group:
            for recorder in self._recorders.values():
                group.start_soon(recorder.run)

    async def flush(self) -> None:
        """Wait until all is written that was reported so far, at once and so no longer than one alone would."""
        async with anyio.create_task_group() as group:
            for recorder in self._recorders.values():
                group.start_soon(recorder.flush)
