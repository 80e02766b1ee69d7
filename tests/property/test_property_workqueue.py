"""The work queue's rules against a model that is too simple to be wrong: one list, scanned."""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconcile.core.workqueue import AGED_TAKES, AGEING_SECONDS, WorkQueue

KEYS = st.sampled_from("abcdef")
PRIORITIES = st.sampled_from([-100, 0, 7])


@attrs.define
class Pending:
    """One wish that a key runs: at ``due`` (None: now). ``order`` and ``since`` are set once it stands in a line."""

    priority: int
    due: float | None = None
    sequence: int = 0
    order: int | None = None
    since: float = 0.0


class Model:
    def __init__(self) -> None:
        self.pending: dict[str, Pending] = {}
        self.processing: set[str] = set()
        self.parked: set[str] = set()
        self.counter = 0
        self.passed_over = 0

    def count(self) -> int:
        self.counter += 1
        return self.counter

    def line_up(self, key: str, now: float) -> bool:
        wish = self.pending.get(key)
        if wish is None or wish.due is not None or wish.order is not None or key in self.processing | self.parked:
            return False
        wish.order, wish.since = self.count(), now
        return True

    def add(self, key: str, priority: int, now: float) -> bool:
        wish = self.pending.setdefault(key, Pending(priority))
        wish.due = None
        if priority > wish.priority:
            wish.priority = priority
            if wish.order is not None:
                wish.order = self.count()
        return self.line_up(key, now)

    def add_after(self, key: str, seconds: float, priority: int, now: float) -> bool:
        wish = self.pending.get(key)
        if seconds == 0 or (wish is not None and wish.due is None):
            return self.add(key, priority, now)
        if wish is None:
            self.pending[key] = Pending(priority, now + seconds, self.count())
        else:
            wish.priority = max(wish.priority, priority)
            if now + seconds < wish.due:
                wish.due, wish.sequence = now + seconds, self.count()
        return False

    def take(self, now: float) -> str | None:
        due = [
            (wish.due, wish.sequence, key)
            for key, wish in self.pending.items()
            if wish.due is not None and wish.due <= now
        ]
        for _, _, key in sorted(due):
            self.pending[key].due = None
            self.line_up(key, now)
        ready = {key: wish for key, wish in self.pending.items() if wish.order is not None}
        if not ready:
            return None
        heads = [
            min((wish.order, key) for key, wish in ready.items() if wish.priority == priority)[1]
            for priority in sorted({wish.priority for wish in ready.values()}, reverse=True)
        ]
        chosen = heads[0]
        if len(heads) > 1:
            aged = [key for key in heads[1:] if now - ready[key].since >= AGEING_SECONDS]
            self.passed_over = self.passed_over + 1 if aged else 0
            if self.passed_over == AGED_TAKES:
                self.passed_over = 0
                chosen = min(aged, key=lambda key: ready[key].since)
        del self.pending[chosen]
        self.processing.add(chosen)
        return chosen

    def done(self, key: str, now: float) -> bool:
        self.processing.remove(key)
        return self.line_up(key, now)

    def park(self, key: str) -> None:
        if key in self.parked:
            return
        self.parked.add(key)
        wish = self.pending.get(key)
        if wish is not None and wish.order is not None:
            wish.order = None
        elif key in self.processing:
            if wish is None:
                self.pending[key] = Pending(0)
            else:
                wish.due = None

    def unpark(self, key: str, now: float) -> bool:
        if key not in self.parked:
            return False
        self.parked.remove(key)
        return self.line_up(key, now)


class WorkQueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.waits: list[float] = []
        self.queue: WorkQueue[str] = WorkQueue(observe_queue_seconds=self.waits.append)
        self.model = Model()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: str, priority: int) -> None:
        assert self.queue.add(key, self.now, priority=priority) == self.model.add(key, priority, self.now)

    @rule(key=KEYS, seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 20.0]), priority=PRIORITIES)
    def add_after(self, key: str, seconds: float, priority: int) -> None:
        expected = self.model.add_after(key, seconds, priority, self.now)
        assert self.queue.add_after(key, seconds, self.now, priority=priority) == expected

    @rule(repeat=st.integers(1, 3))
    def take(self, repeat: int) -> None:
        for _ in range(repeat):
            expected = self.model.take(self.now)
            assert self.queue.take(self.now) == expected
            if expected is not None:
                assert self.waits.pop() >= 0

    @precondition(lambda self: self.model.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.processing)))
        assert self.queue.done(key, self.now) == self.model.done(key, self.now)

    @rule(key=KEYS)
    def park(self, key: str) -> None:
        self.queue.park(key, self.now)
        self.model.park(key)

    @rule(key=KEYS)
    def unpark(self, key: str) -> None:
        assert self.queue.unpark(key, self.now) == self.model.unpark(key, self.now)

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.queue.check()
        statistics = self.queue.statistics(self.now)
        wishes = self.model.pending.values()
        assert statistics.depth == sum(wish.order is not None for wish in wishes)
        assert statistics.delayed == sum(wish.due is not None for wish in wishes)
        assert statistics.remembered == sum(wish.order is None and wish.due is None for wish in wishes)
        assert statistics.processing == len(self.model.processing)
        assert statistics.parked == len(self.model.parked)
        assert self.queue.next_deadline() == min((wish.due for wish in wishes if wish.due is not None), default=None)

    def teardown(self) -> None:
        """Whatever happened, every wish is served once nothing is held and time passes."""
        for key in sorted(self.model.parked):
            self.queue.unpark(key, self.now)
        for key in sorted(self.model.processing):
            self.queue.done(key, self.now)
        served = set()
        while (key := self.queue.take(self.now + 100)) is not None:
            served.add(key)
        assert served == set(self.model.pending)


WorkQueueMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestWorkQueue = WorkQueueMachine.TestCase
