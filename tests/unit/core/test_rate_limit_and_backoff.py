from __future__ import annotations

import pytest

from reconcile.core.backoff import Backoff, BackoffPolicy
from reconcile.core.rate_limit import DefaultLimiter, ExponentialLimiter, TokenBucket
from reconcile.errors import UsageError


def test_a_key_that_keeps_failing_waits_twice_as_long_each_time_up_to_the_cap():
    """5 ms doubling to 1000 s, without overflow after 10 000 failures."""
    limiter = ExponentialLimiter()
    delays = [limiter.delay("a", 0.0) for _ in range(10_000)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[17] == 655.36
    assert set(delays[18:]) == {1000.0}
    assert limiter.delay("b", 0.0) == 0.005


def test_forgetting_a_key_frees_what_is_remembered_of_it():
    """Memory is bounded by the keys that fail now."""
    limiter = ExponentialLimiter()
    limiter.delay("a", 0.0)
    limiter.forget("a")
    limiter.forget("never seen")
    assert len(limiter) == 0
    assert limiter.num_requeues("a") == 0


def test_the_bucket_lets_a_burst_through_and_then_its_rate():
    """100 at once, then one each 100 ms; a pause fills it again, never beyond the burst."""
    bucket = TokenBucket()
    assert [bucket.reserve(0.0) for _ in range(100)] == [0.0] * 100
    assert [round(bucket.reserve(0.0), 6) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert [bucket.reserve(1000.0) for _ in range(101)][99:] == [0.0, 0.1]


def test_the_default_is_the_longer_of_both():
    """A single key is ruled by its own failures, many keys by the bucket."""
    limiter = DefaultLimiter()
    assert limiter.delay("a", 0.0) == 0.005
    delays = [limiter.delay(i, 0.0) for i in range(200)]
    assert delays[50] == 0.005
    assert delays[199] == pytest.approx(10.1)


@pytest.mark.parametrize("make", [lambda: ExponentialLimiter(0.0), lambda: TokenBucket(per_second=float("nan"))])
def test_numbers_that_make_no_limit_are_refused(make):
    """Zero and NaN would retry at once, for ever."""
    with pytest.raises(UsageError, match="want a number > 0"):
        make()


def test_backoff_doubles_with_jitter_and_starts_again_after_a_quiet_time():
    """0.8 s to 30 s; jitter at most doubles it; two quiet minutes reset."""
    backoff = Backoff()
    assert [backoff.delay(0.0, 0.0) for _ in range(7)] == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert backoff.delay(0.0, 0.5) == 45.0
    assert backoff.delay(45.0 + 120.0, 0.0) == 30.0
    assert backoff.delay(45.0 + 120.0 + 30.0 + 120.1, 0.0) == 0.8


def test_backoff_stays_finite_after_very_many_failures():
    """No overflow, no slow loop."""
    backoff = Backoff(BackoffPolicy(first_seconds=1.0, seconds_max=2.0, factor=1.0))
    assert {backoff.delay(0.0, 0.0) for _ in range(5000)} == {1.0}


@pytest.mark.parametrize("numbers", [{"first_seconds": 0}, {"first_seconds": 31}, {"factor": 0.5}, {"jitter": -1}])
def test_a_backoff_policy_that_cannot_be_is_refused(numbers):
    """The error says what is wanted."""
    with pytest.raises(UsageError, match="want 0 < first_seconds"):
        BackoffPolicy(**numbers)
