from __future__ import annotations

import pytest

from reconcile.core.workqueue import AGED_TAKES, AGEING_SECONDS, PRIORITY_INITIAL_LIST, WorkQueue
from reconcile.errors import UsageError


def test_adds_of_one_key_merge_until_it_is_taken():
    """Three adds run a key once."""
    queue = WorkQueue()
    for _ in range(3):
        queue.add("a", 0.0)
    assert (queue.take(0.0), queue.take(0.0)) == ("a", None)
    assert queue.statistics(0.0).adds_total == 1


def test_an_add_while_processing_runs_the_key_once_more_after_done():
    """Two adds during a run cause one more run, and not before done."""
    queue = WorkQueue()
    queue.add("a", 0.0)
    assert queue.take(0.0) == "a"
    assert queue.add("a", 1.0) is False
    assert queue.add("a", 1.0) is False
    assert queue.take(1.0) is None
    assert queue.done("a", 2.0) is True
    assert queue.take(2.0) == "a"
    assert queue.done("a", 2.0) is False


def test_the_earliest_of_several_delays_counts():
    """A later delay never postpones, an earlier one brings forward, an add for now replaces both."""
    queue = WorkQueue()
    queue.add_after("a", 10.0, 0.0)
    queue.add_after("a", 20.0, 0.0)
    assert queue.next_deadline() == 10.0
    queue.add_after("a", 3.0, 1.0)
    assert queue.next_deadline() == 4.0
    assert queue.take(3.9) is None
    queue.add("a", 3.9)
    assert queue.next_deadline() is None
    assert queue.take(3.9) == "a"
    queue.done("a", 3.9)
    assert queue.take(1000.0) is None


def test_a_higher_priority_goes_first_and_one_priority_is_first_in_first_out():
    """Keys of the initial list wait behind what changes now; an urgent add lifts a waiting key."""
    queue = WorkQueue()
    for key in "abc":
        queue.add(key, 0.0, priority=PRIORITY_INITIAL_LIST)
    queue.add("x", 0.0)
    queue.add("y", 0.0)
    queue.add("c", 0.0, priority=0)
    assert [queue.take(0.0) for _ in range(5)] == ["x", "y", "c", "a", "b"]


def test_a_key_of_low_priority_is_served_although_urgent_keys_never_end():
    """After the ageing time one take in AGED_TAKES serves the aged key; before it, none does."""
    queue = WorkQueue()
    queue.add("low", 0.0, priority=PRIORITY_INITIAL_LIST)

    def takes(now, count):
        taken = []
        for i in range(count):
            queue.add(f"urgent-{now}-{i}", now)
            taken.append(queue.take(now))
        return taken

    assert "low" not in takes(AGEING_SECONDS - 0.1, 50)
    assert takes(AGEING_SECONDS, AGED_TAKES).index("low") == AGED_TAKES - 1


def test_aged_keys_get_a_share_and_not_all_of_the_workers():
    """With a backlog of old low-priority keys, a fresh key waits for at most one of them."""
    queue = WorkQueue()
    for i in range(100):
        queue.add(("old", i), 0.0, priority=PRIORITY_INITIAL_LIST)
    for i in range(100):
        queue.add(("fresh", i), AGEING_SECONDS)
    taken = [queue.take(AGEING_SECONDS)[0] for _ in range(40)]
    assert taken.count("old") == 40 // AGED_TAKES
    assert taken[:AGED_TAKES] == ["fresh"] * (AGED_TAKES - 1) + ["old"]


def test_a_parked_key_is_neither_ready_nor_lost():
    """A key that is parked in place of its run runs after it is unparked, once, whatever was added meanwhile."""
    queue = WorkQueue()
    queue.add("a", 0.0)
    queue.take(0.0)
    queue.park("a", 0.0)
    assert queue.done("a", 0.0) is False
    queue.add("a", 1.0)
    queue.add_after("a", 5.0, 1.0)
    assert queue.take(100.0) is None
    assert queue.parked_since("a") == 0.0
    assert queue.unpark("a", 101.0) is True
    assert queue.take(101.0) == "a"
    assert queue.done("a", 101.0) is False


def test_unparking_a_key_that_is_still_processing_runs_it_after_done():
    """Unpark before done does not let the key run twice at once."""
    queue = WorkQueue()
    queue.add("a", 0.0)
    queue.take(0.0)
    queue.park("a", 0.0)
    assert queue.unpark("a", 1.0) is False
    assert queue.take(1.0) is None
    assert queue.done("a", 2.0) is True


def test_parking_an_idle_key_only_remembers_its_adds():
    """Nothing to run, nothing runs; and a delayed key that comes due while parked runs afterwards."""
    queue = WorkQueue()
    queue.park("a", 0.0)
    assert queue.unpark("a", 1.0) is False
    queue.add_after("a", 5.0, 1.0)
    queue.park("a", 1.0)
    assert queue.take(10.0) is None
    assert queue.unpark("a", 10.0) is True


def test_done_of_a_key_that_nobody_has_is_refused():
    """It would let the key run twice at once."""
    with pytest.raises(UsageError, match=r"done\(a\)"):
        WorkQueue().done("a", 0.0)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_a_delay_that_is_no_time_is_refused(seconds):
    """The error names the key and the value."""
    with pytest.raises(UsageError, match=f"{seconds!r} seconds for a"):
        WorkQueue().add_after("a", seconds, 0.0)


@pytest.mark.parametrize("priority", [-1001, 1001, 10**9])
def test_a_priority_out_of_range_is_refused_wherever_the_key_is(priority):
    """For a new key, a delayed one, and one that is ready (where a lower one is merged away)."""
    queue = WorkQueue()
    with pytest.raises(UsageError, match="priority"):
        queue.add("a", 0.0, priority=priority)
    with pytest.raises(UsageError, match="priority"):
        queue.add_after("a", 1.0, 0.0, priority=priority)
    queue.check()
    queue.add("a", 0.0)
    if priority > 0:
        with pytest.raises(UsageError, match="priority"):
            queue.add("a", 0.0, priority=priority)
    queue.check()


def test_retries_wait_longer_each_time_until_forgotten():
    """5 ms, 10 ms, 20 ms; after forget 5 ms again. A server's Retry-After is a lower bound."""
    queue = WorkQueue()
    assert [queue.add_rate_limited("a", 0.0) for _ in range(3)] == [0.005, 0.010, 0.020]
    assert queue.next_deadline() == 0.005
    assert queue.num_requeues("a") == 3
    queue.forget("a")
    assert queue.add_rate_limited("a", 0.0) == 0.005
    assert queue.add_rate_limited("b", 0.0, seconds_min=7.0) == 7.0
    assert queue.statistics(0.0).retries_total == 5


def test_superseded_timers_do_not_pile_up():
    """10 000 earlier and earlier delays of one key, or delays replaced by adds, leave a small heap."""
    queue = WorkQueue()
    for i in range(10_000):
        queue.add_after("a", 20_000.0 - i, 0.0)
    queue.check()
    for i in range(10_000):
        queue.add_after(i, 10.0, 0.0)
        queue.add(i, 0.0)
    queue.check()


def test_the_times_of_waiting_and_working_are_observed():
    """Queue time runs from ready to taken, work time from taken to done."""
    waited, worked = [], []
    queue = WorkQueue(observe_queue_seconds=waited.append, observe_work_seconds=worked.append)
    queue.add("a", 1.0)
    queue.add_after("b", 5.0, 1.0)
    queue.take(3.0)
    queue.done("a", 7.0)
    queue.take(7.0)
    statistics = queue.statistics(9.0)
    assert (waited, worked) == ([2.0, 0.0], [4.0])
    assert (statistics.longest_running_seconds, statistics.unfinished_work_seconds) == (2.0, 2.0)


def test_after_shut_down_nothing_is_taken_and_what_is_processing_may_end():
    """Ready, remembered, delayed and parked keys are dropped: a stop waits for what runs, not for a backlog."""
    queue = WorkQueue()
    for key in "abp":
        queue.add(key, 0.0)
    queue.add_after("c", 1.0, 0.0)
    assert [queue.take(0.0), queue.take(0.0)] == ["a", "b"]
    queue.add("a", 0.0)
    queue.park("p", 0.0)
    queue.shut_down()
    queue.add("d", 0.0)
    queue.add_after("e", 1.0, 0.0)
    queue.park("b", 0.0)
    assert not queue.is_idle
    assert [queue.done("a", 0.0), queue.done("b", 0.0)] == [False, False]
    assert [queue.unpark("p", 0.0), queue.unpark("b", 0.0)] == [False, False]
    assert queue.take(100.0) is None
    assert queue.is_idle
    queue.check()
