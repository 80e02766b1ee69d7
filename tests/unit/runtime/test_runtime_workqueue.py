"""The queue that workers wait on, on a real event loop with a clock that only the test moves."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import anyio
import pytest

from reconcile.runtime.workqueue import QueueShutDown, WorkQueue


class ManualClock:
    """Time passes when ``advance`` is called; ``sleepers`` are those who wait for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleepers: list[tuple[float, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    async def sleep(self, seconds: float) -> None:
        entry = (self.now + seconds, anyio.Event())
        self.sleepers.append(entry)
        try:
            await entry[1].wait()
        finally:
            self.sleepers.remove(entry)

    def random(self) -> float:
        return 0.5

    def token(self, length: int) -> str:
        return "x" * length

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for due, event in self.sleepers:
            if due <= self.now:
                event.set()


async def settle() -> None:
    """Let every task run until it waits (no task of these tests needs more turns than this)."""
    for _ in range(20):
        await asyncio.sleep(0)


def workers(queue: WorkQueue, count: int, taken: list) -> list[asyncio.Task]:
    async def work(number: int) -> None:
        try:
            while True:
                key = await queue.get()
                taken.append((number, key))
                queue.done(key)
        except QueueShutDown:
            pass

    return [asyncio.create_task(work(number)) for number in range(count)]


async def stop(queue: WorkQueue, tasks: list[asyncio.Task]) -> None:
    queue.shut_down()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)


@pytest.mark.asyncio
async def test_an_add_wakes_one_worker_and_leaves_the_others_asleep():
    """Of ten waiting workers one runs."""
    clock, taken = ManualClock(), []
    queue = WorkQueue("q", clock=clock)
    tasks = workers(queue, 10, taken)
    await settle()
    looks, monotonic = 0, queue._monotonic

    def counting() -> float:
        nonlocal looks
        looks += 1
        return monotonic()

    queue._monotonic = counting
    queue.add("a")
    await settle()
    assert [key for _, key in taken] == ["a"]
    assert looks == 4, "the clock is read by add, by the one woken worker, by done and by its next get"
    await stop(queue, tasks)


@pytest.mark.asyncio
async def test_as_many_workers_wake_as_keys_become_ready():
    """Three adds in one go are served by three workers at once."""
    queue, taken, gate = WorkQueue("q", clock=ManualClock()), [], anyio.Event()

    async def work() -> None:
        key = await queue.get()
        taken.append(key)
        await gate.wait()
        queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(5)]
    await settle()
    for key in "abc":
        queue.add(key)
    await settle()
    assert sorted(taken) == ["a", "b", "c"]
    gate.set()
    for key in "de":
        queue.add(key)
    await asyncio.gather(*tasks)
    queue.check()


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [1, 3])
async def test_delayed_keys_run_when_due_with_one_timer_for_all(count):
    """However many keys are delayed, one sleeper waits, for the earliest; an earlier one moves it forward."""
    clock, taken = ManualClock(), []
    queue = WorkQueue("q", clock=clock)
    tasks = workers(queue, count, taken)
    await settle()
    for i in range(100):
        queue.add_after(f"late-{i}", 50.0)
    queue.add_after("soon", 10.0)
    await settle()
    queue.check()
    assert [due for due, _ in clock.sleepers] == [1010.0]
    queue.add_after("sooner", 2.0)
    await settle()
    assert [due for due, _ in clock.sleepers] == [1002.0]
    clock.advance(2.0)
    await settle()
    assert [key for _, key in taken] == ["sooner"]
    assert [due for due, _ in clock.sleepers] == [1010.0]
    clock.advance(60.0)
    await settle()
    assert len(taken) == 102
    assert clock.sleepers == []
    await stop(queue, tasks)


@pytest.mark.asyncio
async def test_a_busy_queue_keeps_watching_the_deadline():
    """The timekeeper that takes a key hands the deadline to another waiting worker."""
    clock, taken, gate = ManualClock(), [], anyio.Event()
    queue = WorkQueue("q", clock=clock)

    async def slow(key) -> None:
        taken.append(key)
        await gate.wait()
        queue.done(key)

    async def work() -> None:
        while True:
            await slow(await queue.get())

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    await settle()
    queue.add_after("delayed", 5.0)
    await settle()
    queue.add("a")
    queue.add("b")
    await settle()
    queue.check()
    clock.advance(5.0)
    await settle()
    assert taken == ["a", "b", "delayed"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_worker_that_was_woken_in_vain_leaves_an_earlier_deadline_watched():
    """A key that another worker snatched wakes its worker for nothing; a deadline set meanwhile is still kept.

    While that worker was on its way, the deadline needed nobody else; when it goes back to sleep, beside a timekeeper
    that sleeps for longer, somebody has to be told.
    """
    clock, taken = ManualClock(), []
    queue = WorkQueue("q", clock=clock)
    queue.add_after("late", 3600)
    tasks = workers(queue, 2, taken)
    await settle()
    queue.add("a")  # wakes the worker that is not the timekeeper …
    assert await queue.get() == "a"  # … and is snatched before it looks
    queue.add_after("soon", 1)
    queue.done("a")
    await settle()
    queue.check()
    clock.advance(1)
    await settle()
    assert [key for _, key in taken] == ["soon"]
    await stop(queue, tasks)


@pytest.mark.asyncio
async def test_the_same_key_never_runs_twice_at_once():
    """Many workers, few keys, adds at every moment: no overlap, and each add is followed by a run that starts later."""
    rng = random.Random(7)
    queue = WorkQueue("q", clock=ManualClock())
    running: set[str] = set()
    version: dict[str, int] = dict.fromkeys("abc", 0)
    seen: dict[str, int] = dict.fromkeys("abc", 0)

    async def work() -> None:
        try:
            while True:
                key = await queue.get()
                assert key not in running
                running.add(key)
                seen[key] = version[key]
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                running.remove(key)
                queue.done(key)
                queue.check()
        except QueueShutDown:
            pass

    tasks = [asyncio.create_task(work()) for _ in range(4)]
    for _ in range(3000):
        key = rng.choice("abc")
        version[key] += 1
        queue.add(key)
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    await queue.drained()
    assert seen == version
    await stop(queue, tasks)


@pytest.mark.asyncio
async def test_shut_down_ends_the_workers_and_drops_what_is_pending():
    """Waiting workers and later calls get QueueShutDown, ready keys or not; who has a key may finish it."""
    queue = WorkQueue("q", clock=ManualClock())
    waiting = workers(queue, 2, taken := [])
    await settle()
    queue.add("a")
    await settle()
    queue.add("b")
    queue.add_after("c", 1.0)
    queue.shut_down()
    await asyncio.gather(*waiting)
    queue.add("d")
    assert [key for _, key in taken] == ["a"]
    await queue.drained()
    with pytest.raises(QueueShutDown, match="queue q"):
        await queue.get()


@pytest.mark.asyncio
async def test_drained_waits_for_what_is_ready_and_running_and_not_for_what_is_delayed():
    """It returns when the last run is done."""
    queue = WorkQueue("q", clock=ManualClock())
    queue.add("a")
    queue.add_after("later", 100.0)
    drained = [asyncio.create_task(queue.drained()) for _ in range(2)]
    await settle()
    key = await queue.get()
    await settle()
    assert not any(task.done() for task in drained)
    queue.done(key)
    await asyncio.gather(*drained)
    await queue.drained()


@pytest.mark.asyncio
async def test_a_parked_key_wakes_a_worker_when_it_is_unparked():
    """Parking frees the worker; unparking brings the key back."""
    queue = WorkQueue("q", clock=ManualClock())
    queue.add("a")
    key = await queue.get()
    queue.park(key)
    queue.done(key)
    waiting = asyncio.create_task(queue.get())
    await settle()
    assert not waiting.done()
    assert queue.parked_since("a") == 1000.0
    queue.unpark("a")
    assert await waiting == "a"


@pytest.mark.asyncio
async def test_workers_that_never_wait_let_others_run():
    """With keys always at hand, get still yields every few milliseconds."""
    clock = ManualClock()
    queue = WorkQueue("q", clock=clock)
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for i in range(100):
        queue.add(i)
    for _ in range(100):
        queue.done(await queue.get())
        clock.now += 0.001
    assert 10 <= others <= 30
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("with_deadline", [False, True])
@pytest.mark.parametrize("wake", ["add", "due", "shut_down", "nothing"])
async def test_cancelling_a_worker_anywhere_loses_no_key(turns, with_deadline, wake):
    """Cancel a waiting worker so many turns after it was (perhaps) woken: another worker serves what there is."""
    clock = ManualClock()
    queue = WorkQueue("q", clock=clock)
    taken = []

    async def work() -> None:
        key = await queue.get()
        taken.append(key)
        queue.done(key)

    victim = asyncio.create_task(work())
    await settle()
    if with_deadline or wake == "due":
        queue.add_after("delayed", 5.0)
    others = [asyncio.create_task(work()) for _ in range(2)]
    await settle()
    if wake == "add":
        queue.add("a")
    elif wake == "due":
        clock.advance(5.0)
    elif wake == "shut_down":
        queue.add("a")
        queue.shut_down()
    for _ in range(turns):
        await asyncio.sleep(0)
    victim.cancel()
    await settle()
    queue.check()
    clock.advance(10.0)
    await settle()
    queue.check()
    expected = {"add": ["a"], "due": ["delayed"], "shut_down": [], "nothing": []}[wake]
    if with_deadline and wake in {"add", "nothing"}:
        expected = [*expected, "delayed"]
    assert taken == expected
    assert queue.statistics().processing == 0
    assert queue._signalled == 0
    for task in others:
        task.cancel()
    await asyncio.gather(victim, *others, return_exceptions=True)
    assert not clock.sleepers
    queue.check()


@pytest.mark.asyncio
async def test_random_cancellations_leave_the_queue_whole():
    """Workers come and are cancelled at random moments for 3 000 steps; every key is served in the end."""
    rng = random.Random(11)
    clock = ManualClock()
    queue = WorkQueue("q", clock=clock)
    owed: set[int] = set()

    async def work() -> None:
        while True:
            key = await queue.get()
            owed.discard(key)
            queue.done(key)

    tasks: list[asyncio.Task] = []
    for step in range(3000):
        action = rng.randrange(6)
        if action == 0:
            queue.add(step)
            owed.add(step)
        elif action == 1:
            queue.add_after(step, rng.choice([0.5, 1.0, 2.0]))
            owed.add(step)
        elif action == 2 and len(tasks) < 5:
            tasks.append(asyncio.create_task(work()))
        elif action == 3 and tasks:
            tasks.pop(rng.randrange(len(tasks))).cancel()
        elif action == 4:
            clock.advance(0.3)
        else:
            await asyncio.sleep(0)
        queue.check()
    tasks.append(asyncio.create_task(work()))
    await settle()
    clock.advance(5.0)
    await settle()
    await queue.drained()
    assert owed == set()
    for task in tasks:
        task.cancel()
    await settle()
    assert not clock.sleepers
