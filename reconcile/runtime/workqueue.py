"""The work queue that workers wait on: the rules of ``reconcile.core.workqueue``, and the waiting.

Guarantees:
    * One key that becomes ready wakes one waiting worker, and a woken worker that is cancelled wakes the next.
    * Cancelling ``get`` at any of its awaits loses no key.
    * No delayed key has a task or timer of its own: one of the waiting workers, the timekeeper, also waits for the next
      deadline.

Assumptions: one event loop. ``add`` and the other plain calls come from that loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic

import anyio
import anyio.lowlevel

from reconcile.core import workqueue
from reconcile.core.rate_limit import RateLimiter
from reconcile.core.workqueue import PRIORITY_DEFAULT, K, WorkQueueStatistics
from reconcile.errors import ReconcileError
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock

CHECKPOINT_SECONDS = 0.005
"""A worker whose keys never make it wait still lets others run that often."""


class QueueShutDown(ReconcileError):  # noqa: N818  the end of the work, not a fault
    """The queue is shut down: there is nothing more to take."""


class _Waiter:
    """One worker in ``get``. ``signalled`` is set together with the event, and cleared when the worker has looked."""

    __slots__ = ("event", "signalled")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.signalled = False


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    Args:
        name: the controller's, for metrics and errors.
        limiter: decides the delays of ``add_rate_limited``; client-go's default if None.
        observe_queue_seconds: called at each ``get`` with the time from ready to taken.
        observe_work_seconds: called at each ``done`` with the time from taken to done. Both must not raise.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        limiter: RateLimiter | None = None,
        observe_queue_seconds: Callable[[float], None] | None = None,
        observe_work_seconds: Callable[[float], None] | None = None,
    ) -> None:
        self.name = name
        self._core: workqueue.WorkQueue[K] = workqueue.WorkQueue(
            limiter, observe_queue_seconds=observe_queue_seconds, observe_work_seconds=observe_work_seconds
        )
        self._clock = clock
        self._monotonic = clock.monotonic
        # Workers that wait and were not signalled, longest first.
        self._waiters: deque[_Waiter] = deque()
        # Workers that were signalled and have not looked yet.
        self._signalled = 0
        # The one of the waiting workers that also waits for the deadline, and that deadline (None: it sleeps without).
        self._timekeeper: _Waiter | None = None
        self._timekeeper_deadline: float | None = None
        self._idle: anyio.Event | None = None
        self._checkpoint_at = self._monotonic()

    # -- plain calls --------------------------------------------------------------------------------------------------

    def add(self, key: K, *, priority: int = PRIORITY_DEFAULT) -> None:
        """The key should run. After ``shut_down`` nothing happens, here and in the other adds."""
        if self._core.add(key, self._monotonic(), priority=priority):
            self._signal()

    def add_after(self, key: K, seconds: float, *, priority: int = PRIORITY_DEFAULT) -> None:
        """The key should run in ``seconds``, or earlier where it is pending for earlier."""
        self._core.add_after(key, seconds, self._monotonic(), priority=priority)
        self._signal()

    def add_rate_limited(self, key: K, *, priority: int = PRIORITY_DEFAULT, seconds_min: float = 0.0) -> float:
        """The key failed: run it again after the limiter's delay, at least ``seconds_min``. Returns the delay."""
        seconds = self._core.add_rate_limited(key, self._monotonic(), priority=priority, seconds_min=seconds_min)
        self._signal()
        return seconds

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure is its first."""
        self._core.forget(key)

    def num_requeues(self, key: K) -> int:
        """Failures of the key in a row."""
        return self._core.num_requeues(key)

    def done(self, key: K) -> None:
        """The worker that got the key has finished. Due once for each ``get``, whatever happened, parked or not."""
        self._core.done(key, self._monotonic())
        self._signal()

    def park(self, key: K) -> None:
        """Hold the key back until ``unpark``. One that is processing or ready runs after that."""
        self._core.park(key, self._monotonic())
        self._signal()

    def unpark(self, key: K) -> None:
        """Let the key go."""
        self._core.unpark(key, self._monotonic())
        self._signal()

    def parked_since(self, key: K) -> float | None:
        """When (monotonic) the key was parked; None if it is not."""
        return self._core.parked_since(key)

    def shut_down(self) -> None:
        """No more adds, and what is pending is dropped. Workers get QueueShutDown; what they have they may finish."""
        self._core.shut_down()
        while self._waiters:
            self._wake(self._waiters.popleft())
        self._signal()

    @property
    def is_shut_down(self) -> bool:
        return self._core.is_shut_down

    def statistics(self) -> WorkQueueStatistics:
        """The state in numbers."""
        return self._core.statistics(self._monotonic())

    def __repr__(self) -> str:
        return f"<WorkQueue {self.name!r} {self._core!r} waiting={len(self._waiters)}>"

    def check(self) -> None:
        """Verify the invariants. Raises AssertionError; for tests and simulations."""
        self._core.check()
        if self._waiters and self._core.depth > self._signalled:
            raise AssertionError(f"{self!r}: a worker sleeps although a key is ready")
        deadline = self._core.next_deadline()
        if self._waiters and deadline is not None and not self._deadline_is_watched(deadline):
            raise AssertionError(f"{self!r}: nobody watches the deadline")

    # -- waiting ------------------------------------------------------------------------------------------------------

    async def get(self) -> K:
        """The next key, which is this worker's until it calls ``done``.

        Raises:
            QueueShutDown: after ``shut_down``.
        """
        now = self._monotonic()
        if now - self._checkpoint_at > CHECKPOINT_SECONDS:
            await anyio.lowlevel.checkpoint()
            now = self._checkpoint_at = self._monotonic()
        while True:
            key = self._core.take(now)
            if key is not None:
                self._signal()  # taking may have released several delayed keys
                return key
            if self._core.is_shut_down:
                self._signal()
                raise QueueShutDown(f"queue {self.name}: shut down")
            await self._wait()
            now = self._checkpoint_at = self._monotonic()

    async def drained(self) -> None:
        """Wait until nothing is ready or processing. Delayed and parked keys do not count."""
        while not self._core.is_idle:
            idle = self._idle = self._idle or anyio.Event()
            await idle.wait()

    async def _wait(self) -> None:
        """Sleep until signalled, or as the timekeeper until the next deadline."""
        waiter = _Waiter()
        self._waiters.append(waiter)
        try:
            if self._timekeeper is None and (deadline := self._core.next_deadline()) is not None:
                self._timekeeper, self._timekeeper_deadline = waiter, deadline
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._sleep_until, deadline, waiter)
                    await waiter.event.wait()
                    tasks.cancel_scope.cancel()
            else:
                # Woken in vain, with a deadline set on the way that nobody else was told of as long as we were coming.
                self._signal()
                await waiter.event.wait()
        except BaseException:
            self._leave(waiter)
            self._signal()  # what it was woken for is another's now
            raise
        self._leave(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        """A worker stops waiting: it looks now, or is cancelled."""
        if self._timekeeper is waiter:
            self._timekeeper = self._timekeeper_deadline = None
        if waiter.signalled:
            self._signalled -= 1
        else:
            self._waiters.remove(waiter)

    async def _sleep_until(self, deadline: float, waiter: _Waiter) -> None:
        await self._clock.sleep(deadline - self._monotonic())
        if not waiter.signalled:
            self._waiters.remove(waiter)
            self._wake(waiter)

    def _wake(self, waiter: _Waiter) -> None:
        """Signal a worker that was just taken out of the line."""
        waiter.signalled = True
        self._signalled += 1
        waiter.event.set()

    def _deadline_is_watched(self, deadline: float) -> bool:
        """Whether a worker looks at the queue by ``deadline``: one that is on its way, or the timekeeper."""
        return self._signalled > 0 or (self._timekeeper_deadline is not None and self._timekeeper_deadline <= deadline)

    def _signal(self) -> None:
        """Wake a worker for each ready key that none is on the way to, and one for a deadline that none watches."""
        waiters = self._waiters
        while waiters and self._signalled < self._core.depth:
            # The timekeeper last: its place would have to be filled.
            waiter = waiters.popleft()
            if waiter is self._timekeeper and waiters:
                waiters.append(waiter)
                waiter = waiters.popleft()
            self._wake(waiter)
        if waiters:
            deadline = self._core.next_deadline()
            if deadline is not None and not self._deadline_is_watched(deadline):
                # Nobody is on the way, so a timekeeper that exists is among the waiters; it sleeps too long.
                waiter = waiters[0] if self._timekeeper is None else self._timekeeper
                waiters.remove(waiter)
                self._wake(waiter)
        if self._idle is not None and self._core.is_idle:
            self._idle.set()
            self._idle = None
