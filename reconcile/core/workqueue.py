"""The work queue's rules: which key runs next, and that none runs twice at once. It never waits.

A key is *pending* in at most one of three places, and apart from that may be *processing* or *parked* or both:

========================  =========================================================================================
ready                     waits for a worker, in its priority's line
remembered                was added while processing or parked; becomes ready when that ends, once for all such adds
delayed                   becomes ready (or remembered) at its time
processing                a worker has it: from ``take`` to ``done``
parked                    held back until ``unpark``: the cache does not show the key's own writes yet
========================  =========================================================================================

Guarantees:
    * A key is never processing twice at once. An add that arrives meanwhile runs it once more afterwards.
    * No add is lost: after it, the key is taken at least once, as soon as it is neither processing nor parked; unless
      the queue is shut down, whose pending keys are the next process's, which lists everything anew.
    * Of several pending adds the earliest time and the highest priority count. So an add for now replaces a delayed
      one: the run that it causes decides anew when the next one should be.
    * Higher priorities first, first in first out within one. A key that has waited ``AGEING_SECONDS`` rises: one take
      in ``AGED_TAKES`` serves the longest waiting such key, whatever its priority, so that nothing starves and what is
      urgent still has most of the workers (controller-runtime#3496: keys of the initial list starved behind requeues).

Every ``take`` is ended by exactly one ``done``, parked or not. Cost: a handful of dictionary operations for each call.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

from reconcile.core.rate_limit import DefaultLimiter, RateLimiter
from reconcile.errors import UsageError

K = TypeVar("K", bound=Hashable)

PRIORITY_DEFAULT = 0
PRIORITY_INITIAL_LIST = -100
"""For keys that an informer's first list brings: what changes now goes first."""
PRIORITY_MIN, PRIORITY_MAX = -1000, 1000
"""Each priority in use costs a look at each ``take``; a few are useful, and object data must not choose them."""
AGEING_SECONDS = 10.0
"""So long a key waits behind higher priorities before it rises: above normal queueing, below a human's patience."""
AGED_TAKES = 4
"""One take in so many goes to a key that has risen: a quarter of the workers."""
_COMPACT_MIN = 64
"""Superseded entries of the timer heap that are tolerated before it is rebuilt."""


class WorkQueueStatistics(msgspec.Struct, frozen=True, gc=False):
    """What a queue is doing. Counts of keys, totals since the start, and seconds."""

    depth: int
    """Ready keys."""
    delayed: int
    processing: int
    parked: int
    remembered: int
    adds_total: int
    """Adds that changed something; those merged into a pending one are not counted."""
    retries_total: int
    oldest_ready_seconds: float
    unfinished_work_seconds: float
    """Sum over the keys that are processing now."""
    longest_running_seconds: float
    depth_by_priority: dict[int, int]


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    Args:
        limiter: decides the delays of ``add_rate_limited``; client-go's default if None.
        observe_queue_seconds: called at each take with the time from ready to taken.
        observe_work_seconds: called at each done with the time from taken to done. Both must not raise.
    """

    def __init__(
        self,
        limiter: RateLimiter | None = None,
        *,
        observe_queue_seconds: Callable[[float], None] | None = None,
        observe_work_seconds: Callable[[float], None] | None = None,
    ) -> None:
        self._limiter: RateLimiter = DefaultLimiter() if limiter is None else limiter
        self._observe_queue_seconds = observe_queue_seconds
        self._observe_work_seconds = observe_work_seconds
        # Ready: the priority of each key. Disjoint from _remembered, _delayed, _processing and _parked.
        self._ready: dict[K, int] = {}
        # Ready: for each priority ever used its line, key → since when it is ready. Same keys as _ready.
        self._levels: dict[int, OrderedDict[K, float]] = {}
        # The keys of _levels, highest first.
        self._order: list[int] = []
        # Priority. Each key of it is processing or parked, and not delayed.
        self._remembered: dict[K, int] = {}
        # (due, priority); disjoint from _ready and _remembered. The heap has (due, sequence, key) for each of them,
        # and superseded entries, told by their due time and sequence.
        self._delayed: dict[K, tuple[float, int, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        # Since when.
        self._processing: dict[K, float] = {}
        self._parked: dict[K, float] = {}
        self._sequence = 0
        self._is_shut_down = False
        self._takes_past_aged = 0
        self._adds_total = 0
        self._retries_total = 0

    # -- what comes in ------------------------------------------------------------------------------------------------

    def add(self, key: K, now: float, *, priority: int = PRIORITY_DEFAULT) -> bool:
        """The key should run. Returns whether it became ready by that (False: merged, remembered)."""
        pending = self._ready.get(key)
        if pending is not None:
            if priority > pending:
                self._raise_ready(key, pending, priority)
            return False
        if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
            raise UsageError(f"priority {priority!r} of {key}: want {PRIORITY_MIN} … {PRIORITY_MAX}")
        if self._is_shut_down:
            return False
        if self._delayed:
            delayed = self._delayed.pop(key, None)
            if delayed is not None:
                priority = max(priority, delayed[2])
                self._compact()
        return self._now_due(key, now, priority)

    def add_after(self, key: K, seconds: float, now: float, *, priority: int = PRIORITY_DEFAULT) -> bool:
        """The key should run in ``seconds``, or earlier where it is pending for earlier. Returns as ``add``."""
        if not 0 <= seconds < float("inf"):
            raise UsageError(f"delay of {seconds!r} seconds for {key}: want a finite number ≥ 0")
        if seconds == 0 or key in self._ready or key in self._remembered:
            return self.add(key, now, priority=priority)
        if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
            raise UsageError(f"priority {priority!r} of {key}: want {PRIORITY_MIN} … {PRIORITY_MAX}")
        if self._is_shut_down:
            return False
        due = now + seconds
        pending = self._delayed.get(key)
        if pending is not None and pending[0] <= due:
            if priority > pending[2]:
                self._delayed[key] = (pending[0], pending[1], priority)
            return False
        if pending is None:
            self._adds_total += 1
        else:
            priority = max(priority, pending[2])
        self._sequence += 1
        self._delayed[key] = (due, self._sequence, priority)
        heapq.heappush(self._heap, (due, self._sequence, key))
        self._compact()
        return False

    def add_rate_limited(
        self, key: K, now: float, *, priority: int = PRIORITY_DEFAULT, seconds_min: float = 0.0
    ) -> float:
        """The key failed: run it again after the limiter's delay, at least ``seconds_min``. Returns the delay."""
        seconds = max(seconds_min, self._limiter.delay(key, now))
        self._retries_total += 1
        self.add_after(key, seconds, now, priority=priority)
        return seconds

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure is its first. Pending adds stay."""
        self._limiter.forget(key)

    def num_requeues(self, key: K) -> int:
        """Failures of the key in a row."""
        return self._limiter.num_requeues(key)

    def shut_down(self) -> None:
        """Nothing is taken any more: what is pending is dropped, and adds do nothing. What is processing may end."""
        self._is_shut_down = True
        self._ready.clear()
        for line in self._levels.values():
            line.clear()
        self._remembered.clear()
        self._delayed.clear()
        self._heap.clear()

    @property
    def is_shut_down(self) -> bool:
        return self._is_shut_down

    # -- what goes out ------------------------------------------------------------------------------------------------

    def take(self, now: float) -> K | None:
        """The key to run now, which is processing from here on; None if there is none."""
        heap = self._heap
        if heap and heap[0][0] <= now:
            self._release_due(now)
        ready = self._ready
        if not ready:
            return None
        key, since = self._next_line(now).popitem(last=False)
        del ready[key]
        self._processing[key] = now
        if self._observe_queue_seconds is not None:
            self._observe_queue_seconds(now - since)
        return key

    def done(self, key: K, now: float) -> bool:
        """The worker has finished. Returns whether the key is ready again (added meanwhile, and not parked)."""
        since = self._processing.pop(key, None)
        if since is None:
            raise UsageError(f"done({key}): the key is not being processed; each take is ended by one done")
        if self._observe_work_seconds is not None:
            self._observe_work_seconds(now - since)
        remembered = self._remembered
        if remembered and key in remembered and key not in self._parked:
            self._make_ready(key, now, remembered.pop(key))
            return True
        return False

    def next_deadline(self) -> float | None:
        """When the next delayed key is due; None if none is delayed. What is ready needs no deadline."""
        heap, delayed = self._heap, self._delayed
        while heap:
            due, sequence, key = heap[0]
            current = delayed.get(key)
            if current is not None and current[1] == sequence:
                return due
            heapq.heappop(heap)
        return None

    # -- holding back -------------------------------------------------------------------------------------------------

    def park(self, key: K, now: float) -> None:
        """Hold the key back until ``unpark``: neither ready nor lost.

        A key that is processing or ready will run after it is unparked, because parking it means that the run it was
        taken for could not be made. A key that is neither only has its adds remembered. ``done`` is still due.
        """
        if key in self._parked or self._is_shut_down:
            return
        self._parked[key] = now
        priority = self._ready.pop(key, None)
        if priority is not None:
            del self._levels[priority][key]
            self._remembered[key] = priority
        elif key in self._processing and key not in self._remembered:
            delayed = self._delayed.pop(key, None)
            self._remembered[key] = PRIORITY_DEFAULT if delayed is None else delayed[2]
            self._compact()

    def unpark(self, key: K, now: float) -> bool:
        """Let the key go. Returns whether it became ready by that. Of a key that is not parked: nothing happens."""
        if self._parked.pop(key, None) is None or key in self._processing:
            return False
        priority = self._remembered.pop(key, None)
        if priority is None:
            return False
        self._make_ready(key, now, priority)
        return True

    def parked_since(self, key: K) -> float | None:
        """When the key was parked; None if it is not."""
        return self._parked.get(key)

    # -- what is going on ---------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """Ready keys."""
        return len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Nothing is ready or processing (keys may be delayed or parked)."""
        return not self._ready and not self._processing

    def statistics(self, now: float) -> WorkQueueStatistics:
        """The state in numbers. Costs the number of keys that are processing."""
        return WorkQueueStatistics(
            depth=len(self._ready),
            delayed=len(self._delayed),
            processing=len(self._processing),
            parked=len(self._parked),
            remembered=len(self._remembered),
            adds_total=self._adds_total,
            retries_total=self._retries_total,
            oldest_ready_seconds=max(
                (now - next(iter(line.values())) for line in self._levels.values() if line), default=0.0
            ),
            unfinished_work_seconds=sum(now - since for since in self._processing.values()),
            longest_running_seconds=max((now - since for since in self._processing.values()), default=0.0),
            depth_by_priority={priority: len(line) for priority, line in self._levels.items() if line},
        )

    def __repr__(self) -> str:
        return (
            f"<WorkQueue ready={len(self._ready)} delayed={len(self._delayed)} processing={len(self._processing)} "
            f"parked={len(self._parked)}>"
        )

    def check(self) -> None:
        """Verify the invariants. Raises AssertionError; for tests and simulations."""
        ready, remembered, delayed = self._ready.keys(), self._remembered.keys(), self._delayed.keys()
        held = self._processing.keys() | self._parked.keys()
        in_lines = {key: priority for priority, line in self._levels.items() for key in line}
        problems = {
            "ready keys and lines differ": in_lines != self._ready
            or sum(map(len, self._levels.values())) != len(ready),
            "priorities out of order": self._order != sorted(self._levels, reverse=True),
            "ready while held": not ready.isdisjoint(held),
            "remembered but not held": not remembered <= held,
            "pending twice": bool(ready & delayed or remembered & delayed or ready & remembered),
            "delayed but not in the heap": not {
                (due, sequence, key) for key, (due, sequence, _) in self._delayed.items()
            }
            <= set(self._heap),
            "timer heap too large": len(self._heap) > 2 * len(delayed) + _COMPACT_MIN,
        }
        broken = [text for text, is_broken in problems.items() if is_broken]
        if broken:
            raise AssertionError(f"{self!r}: {', '.join(broken)}")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _now_due(self, key: K, now: float, priority: int) -> bool:
        """A key that is pending nowhere, or just remembered, is due."""
        if key in self._processing or (self._parked and key in self._parked):
            pending = self._remembered.get(key)
            if pending is None:
                self._adds_total += 1
                self._remembered[key] = priority
            elif priority > pending:
                self._remembered[key] = priority
            return False
        self._adds_total += 1
        self._make_ready(key, now, priority)
        return True

    def _make_ready(self, key: K, now: float, priority: int) -> None:
        self._ready[key] = priority
        line = self._levels.get(priority)
        if line is None:
            line = self._line(priority)
        line[key] = now

    def _line(self, priority: int) -> OrderedDict[K, float]:
        """A new priority's line."""
        line = self._levels[priority] = OrderedDict()
        self._order = sorted(self._levels, reverse=True)
        return line

    def _raise_ready(self, key: K, priority: int, higher: int) -> None:
        """Move a ready key up, to the end of the other line, with the time that it has waited."""
        if higher > PRIORITY_MAX:
            raise UsageError(f"priority {higher!r} of {key}: want {PRIORITY_MIN} … {PRIORITY_MAX}")
        line = self._levels.get(higher)
        if line is None:
            line = self._line(higher)
        line[key] = self._levels[priority].pop(key)
        self._ready[key] = higher

    def _next_line(self, now: float) -> OrderedDict[K, float]:
        """The line whose first key is next. Assumes that a key is ready."""
        lines = [line for priority in self._order if (line := self._levels[priority])]
        best = lines[0]
        if len(lines) == 1:
            return best
        aged = [line for line in lines[1:] if now - next(iter(line.values())) >= AGEING_SECONDS]
        if not aged:
            self._takes_past_aged = 0
            return best
        self._takes_past_aged += 1
        if self._takes_past_aged < AGED_TAKES:
            return best
        self._takes_past_aged = 0
        return min(aged, key=lambda line: next(iter(line.values())))

    def _release_due(self, now: float) -> None:
        """Delayed keys whose time has come become ready, or remembered."""
        heap, delayed = self._heap, self._delayed
        while heap and heap[0][0] <= now:
            _, sequence, key = heapq.heappop(heap)
            current = delayed.get(key)
            if current is None or current[1] != sequence:
                continue
            del delayed[key]
            if key in self._processing or key in self._parked:
                self._remembered[key] = current[2]
            else:
                self._make_ready(key, now, current[2])
        self._compact()

    def _compact(self) -> None:
        """Keep superseded entries of the heap below what is alive (plus a constant)."""
        if len(self._heap) > 2 * len(self._delayed) + _COMPACT_MIN:
            self._heap = [(due, sequence, key) for key, (due, sequence, _) in self._delayed.items()]
            heapq.heapify(self._heap)
