"""Controller: workers that take keys, let the cache catch up, run the reconcile function, and decide what comes next.

The order for one key, and why:
    1. Writes whose answer was lost are sent again, byte for byte, until each is answered: what they did decides
       what the cache must show.
    2. The read-your-writes gate: while an informer is behind the key's own writes, the *key* is parked, not the worker.
    3. The reconcile function runs under a deadline.
    4. ``core.outcome`` decides: done, again later, again with backoff, or not again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

import anyio
import anyio.lowlevel

from reconcile.client.api import Client
from reconcile.core.enqueue import controller_owner
from reconcile.core.freshness import Freshness
from reconcile.core.outcome import Decision, Done, Drop, RequeueAfter, Retry, Settle, Terminal, TimedOut, decide
from reconcile.core.rate_limit import DefaultLimiter
from reconcile.errors import LeaseLostError, ReconcileError
from reconcile.instrumentation.hooks import Hooks, Reconciled
from reconcile.instrumentation.reading import Reading
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Kind, Resource
from reconcile.model.write import Unknown
from reconcile.reconciler import Request, Returned
from reconcile.runtime.clock import Clock
from reconcile.runtime.context import ReconcileContext, Recorder, Reporter, Surroundings, WriteGate
from reconcile.runtime.declaration import Declaration
from reconcile.runtime.informer import Informer
from reconcile.runtime.own_writes import OwnWrites
from reconcile.runtime.source import Source
from reconcile.runtime.workqueue import QueueShutDown, WorkQueue

_log = logging.getLogger("reconcile.controller")

WAITING_CHECK_SECONDS = 0.25
"""How often the deadline of parked keys is looked at. Progress of the cache frees them at once."""

STUCK_SECONDS = 5.0
"""A reconcile that goes on for so long after its deadline has cancelled it is told of: no cancellation takes longer."""

SWEEP_SECONDS = 30.0
"""How often floors that are met are dropped for keys that do not run again."""


class Controller:
    """Runs one declared controller on the informers of its watches."""

    def __init__(
        self,
        declaration: Declaration,
        *,
        client: Client,
        resource: Resource,
        informers: Sequence[Informer],
        workers: int,
        recorder: Recorder,
        gate: WriteGate,
        clock: Clock,
        hooks: Hooks,
        observe_queue_seconds: Callable[[float], None] | None = None,
        observe_work_seconds: Callable[[float], None] | None = None,
    ) -> None:
        options = declaration.options
        self.name = declaration.name
        self.workers = workers
        self.queue: WorkQueue[ObjectKey] = WorkQueue(
            declaration.name,
            clock=clock,
            limiter=DefaultLimiter(seconds_min=options.retry_seconds_min, seconds_max=options.retry_seconds_max),
            observe_queue_seconds=observe_queue_seconds,
            observe_work_seconds=observe_work_seconds,
        )
        self.freshness: Freshness[ObjectKey] = Freshness()
        self._declaration = declaration
        self._client = client
        self._gate = gate
        self._clock = clock
        self._hooks = hooks
        report = Reporter(declaration.name, frozenset(declaration.metrics), hooks)
        by_kind: dict[Kind, list[Informer]] = {}
        for watch, informer in zip(declaration.watches, informers, strict=True):
            known = by_kind.setdefault(watch.kind, [])
            if informer not in known:
                known.append(informer)
        self._own_writes = OwnWrites(
            declaration.name,
            self.freshness,
            self.queue,
            {found[0].resource: found for found in by_kind.values()},
            settle_seconds_max=options.settle_seconds_max,
            clock=clock,
            hooks=hooks,
        )
        self._surroundings = Surroundings(
            controller=declaration.name,
            kind=declaration.kind,
            client=client,
            informers=by_kind,
            freshness=self.freshness,
            clock=clock,
            recorder=recorder,
            report=report,
            gate=gate,
            field_manager=options.field_manager or declaration.name,
            field_validation=options.field_validation,
        )
        self._sources = [
            Source(
                informer,
                watch.enqueue or controller_owner(declaration.kind, namespaced=resource.namespaced),
                self.queue,
                predicate=watch.predicate,
                measure=watch.measure,
                report=report,
                priority=watch.priority,
                hooks=hooks,
            )
            for watch, informer in zip(declaration.watches, informers, strict=True)
        ]
        # What runs, and since when; infinity once it has been told of as stuck.
        self._running: dict[ObjectKey, float] = {}
        self._active = 0
        self._connected = False
        self._runs = 0

    def __repr__(self) -> str:
        return f"<Controller {self.name} {self.queue!r}>"

    @property
    def is_idle(self) -> bool:
        """Whether no worker has a key."""
        return self._active == 0

    def shut_down(self) -> None:
        """Take no more keys and drop those that wait; those being reconciled may finish."""
        self.queue.shut_down()

    async def drained(self) -> None:
        """After ``shut_down``: until no worker has a key."""
        await self.queue.drained()

    async def run(self) -> None:
        """Work until ``shut_down`` and the last worker has finished, or until cancelled."""
        if not self._connected:
            self._connected = True
            for source in self._sources:
                source.start()
            self._own_writes.start()
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_the_waiting)
            async with anyio.create_task_group() as workers:
                for _ in range(self.workers):
                    workers.start_soon(self._work)
            group.cancel_scope.cancel()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueShutDown:
                return
            self._active += 1
            try:
                if await self._settled(key) and not self._must_wait(key):
                    await self._reconcile(key)
            except BaseException:
                self.queue.add_rate_limited(key)  # this worker ends, perhaps by another's fault; the key has not run
                raise
            finally:
                self._active -= 1
                self.queue.done(key)

    async def _settled(self, key: ObjectKey) -> bool:
        """Ask again for every lost answer of this key. False while one is still unknown: the key comes back."""
        for write in self.freshness.unknown(key):
            try:
                outcome = await self._client.resolve(write, gate=self._gate.check)
            except LeaseLostError:
                return False
            except ReconcileError as error:  # not sent: no connection, or a credential that cannot be had at present
                outcome = Unknown(write, str(error))
            self.freshness.settle(key, write, outcome)
            if isinstance(outcome, Unknown):
                delay = self.queue.add_rate_limited(key)
                _log.warning(
                    "%s: still no answer (%s); the key waits %.1f s",
                    write,
                    outcome.reason,
                    delay,
                    extra={"controller": self.name, "key": str(key)},
                )
                return False
        return True

    def _must_wait(self, key: ObjectKey) -> bool:
        return self._declaration.options.read_own_writes and self._own_writes.must_wait(key)

    async def _watch_the_waiting(self) -> None:
        """Let keys go whose bound has passed, tell of stuck runs, and now and then drop floors that are met."""
        swept = self._clock.monotonic()
        while True:
            await self._clock.sleep(WAITING_CHECK_SECONDS)
            if self._clock.monotonic() - swept >= SWEEP_SECONDS:
                swept = self._clock.monotonic()
                self._own_writes.sweep()
            self._tell_the_stuck(self._clock.monotonic())
            self._own_writes.let_overdue_go()

    def _tell_the_stuck(self, now: float) -> None:
        """Name, once each, the runs that their deadline could not end."""
        deadline = self._declaration.options.timeout_seconds
        for key, began in self._running.items():
            if now - began >= deadline + STUCK_SECONDS:
                self._running[key] = float("inf")
                _log.error(
                    "reconcile was cancelled at its deadline of %g s and goes on: it catches CancelledError, shields"
                    " itself, or waits for a thread; until it returns it holds one of %d workers",
                    deadline,
                    self.workers,
                    extra={"controller": self.name, "key": str(key)},
                )

    async def _reconcile(self, key: ObjectKey) -> None:
        self._runs += 1
        reconcile_id = f"{self._runs:x}-{self._clock.token(4)}"
        context = ReconcileContext(self._surroundings, Request(key), reconcile_id)
        options = self._declaration.options
        began = self._clock.monotonic()
        ended: Returned | TimedOut | BaseException = TimedOut(options.timeout_seconds)
        self._running[key] = began
        try:
            with anyio.move_on_after(options.timeout_seconds):
                ended = await self._declaration.reconciler(context.request, context)
        except KeyboardInterrupt:
            raise
        except anyio.get_cancelled_exc_class() as error:
            await anyio.lowlevel.checkpoint_if_cancelled()  # raises where it is this worker that is cancelled
            ended = error  # something that the function waited for was: its failure, and no reason to lose a worker
        except BaseException as error:  # noqa: BLE001  whatever it raises is this key's failure and nobody else's
            ended = error
        finally:
            del self._running[key]
        decision = decide(ended)
        if isinstance(decision, Done | RequeueAfter | Terminal) and self.freshness.unknown(key):
            decision = Settle("the function went on although a write's answer was lost or its wait was cancelled")
        delay = self._follow(key, decision)
        if not isinstance(decision, Done | RequeueAfter | Drop):
            self._say(context, decision, ended, delay, is_first=self.queue.num_requeues(key) <= 1)
        self._hooks.emit(
            Reconciled(
                controller=self.name,
                key=key,
                reconcile_id=reconcile_id,
                outcome=decision.outcome,
                seconds=self._clock.monotonic() - began,
                writes=context.writes,
                error="" if isinstance(decision, Done | RequeueAfter) else decision.reason,
                retry_after_seconds=delay,
            )
        )

    def _follow(self, key: ObjectKey, decision: Decision) -> float | None:
        """Put the key where the decision says. Returns the delay, if there is one."""
        queue = self.queue
        match decision:
            case Done() | Terminal() | Drop():
                queue.forget(key)
                return None
            case RequeueAfter(seconds=seconds):
                queue.forget(key)
                queue.add_after(key, seconds)
                return seconds
            case Settle():
                return queue.add_rate_limited(key)
            case Retry(seconds_min=seconds_min):
                return queue.add_rate_limited(key, seconds_min=seconds_min)
            case _:
                assert_never(decision)

    @staticmethod
    def _say(
        context: ReconcileContext,
        decision: Retry | Settle | Terminal,
        ended: object,
        delay: float | None,
        *,
        is_first: bool,
    ) -> None:
        """One log line for a run that failed; the traceback where it is news, and once for failures in a row."""
        if decision.outcome == "conflict":
            context.log.debug("changed meanwhile, again in %.3f s: %s", delay, decision.reason)
            return
        trace = ended if isinstance(ended, BaseException) and is_first else None
        if isinstance(trace, ReconcileError):
            trace = None
        then = "not retried until the object changes" if delay is None else f"again in {delay:.3f} s"
        context.log.error("reconcile failed (%s), %s: %s", decision.outcome, then, decision.reason, exc_info=trace)

    def readings(self) -> Iterable[Reading]:
        """What the metrics ask for."""
        queue, freshness = self.queue.statistics(), self.freshness.statistics()
        labels = (self.name, self.name)
        yield Reading("workqueue_depth", labels, queue.depth)
        yield Reading("workqueue_adds_total", labels, queue.adds_total)
        yield Reading("workqueue_retries_total", labels, queue.retries_total)
        yield Reading("workqueue_unfinished_work_seconds", labels, queue.unfinished_work_seconds)
        yield Reading("workqueue_longest_running_processor_seconds", labels, queue.longest_running_seconds)
        yield Reading("reconcile_workqueue_parked", labels, queue.parked)
        yield Reading("reconcile_workqueue_delayed", labels, queue.delayed)
        yield Reading("controller_runtime_max_concurrent_reconciles", (self.name,), self.workers)
        yield Reading("controller_runtime_active_workers", (self.name,), self._active)
        yield Reading("reconcile_freshness_failed_open_total", (self.name,), freshness.failed_open_total)
