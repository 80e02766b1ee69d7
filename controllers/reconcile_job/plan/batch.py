"""Batching: how often the status of a busy Job is written.

Each finished Pod costs two status writes and a patch if it is counted alone. So what only moves counters waits up to
``BATCH_SECONDS_MAX`` for company while more of the Job is under way; it does not wait when nothing is (nobody would
come), when enough have come, or when nothing was written for that long anyway. An idle Job is thus served at once.

A status that counts nothing waits as long, though only while all lanes are busy with other writes: often there is
something to count by then, and a Job of one short Pod costs one status write instead of two.

And how often a big Job is looked at: a look costs a few microseconds a Pod, and each Pod's events ask for one.
"""

from __future__ import annotations

from datetime import datetime

from reconcile_job.plan.options import BATCH_LARGE, BATCH_SECONDS_MAX, BIG_JOB_PODS, PAUSE_SECONDS_PER_POD


def hold_seconds(written: datetime | None, now: datetime, *, under_way: int, waiting: int) -> float:
    """How long to hold a status write that is not urgent; 0 for not at all.

    Args:
        written: when the Job's status was last written by this process, or None.
        now: the wall clock.
        under_way: Pods that are active or terminating.
        waiting: finished Pods that are not counted yet.
    """
    if written is None or not under_way or waiting >= BATCH_LARGE:
        return 0.0
    elapsed = (now - written).total_seconds()
    # A wall clock that was set back must not hold a status for longer than the bound.
    return BATCH_SECONDS_MAX - elapsed if 0 <= elapsed < BATCH_SECONDS_MAX else 0.0


def report_hold_seconds(wanted: datetime | None, now: datetime) -> float:
    """How long to hold a status that counts nothing (a start, Pods that are active or ready) while all lanes are busy.

    Args:
        wanted: since when such a status is wanted, or None for now.
        now: the wall clock.
    """
    elapsed = 0.0 if wanted is None else (now - wanted).total_seconds()
    return BATCH_SECONDS_MAX - elapsed if 0 <= elapsed < BATCH_SECONDS_MAX else 0.0


def pause_seconds(looked: datetime | None, now: datetime, *, pods: int) -> float:
    """How long to wait before the next look at a Job of so many Pods; 0 for not at all."""
    if looked is None or pods < BIG_JOB_PODS:
        return 0.0
    pause = pods * PAUSE_SECONDS_PER_POD
    elapsed = (now - looked).total_seconds()
    return pause - elapsed if 0 <= elapsed < pause else 0.0
