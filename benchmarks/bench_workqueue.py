"""The work queue's core: add → take → done of distinct keys, and adds that find their key queued already."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

import report

from reconcile.core.workqueue import WorkQueue
from reconcile.model.key import ObjectKey

GOAL_PER_SECOND = 300_000


def add_to_done(keys: list[ObjectKey]) -> None:
    """Each key through the whole queue, with all the others waiting behind it."""
    queue = WorkQueue()
    for key in keys:
        queue.add(key, 0.0)
    while (taken := queue.take(0.0)) is not None:
        queue.done(taken, 0.0)


def one_at_a_time(keys: list[ObjectKey]) -> None:
    """Each key through the whole queue before the next is added."""
    queue = WorkQueue()
    for key in keys:
        queue.add(key, 0.0)
        taken = queue.take(0.0)
        assert taken is not None
        queue.done(taken, 0.0)


def merged(keys: list[ObjectKey]) -> None:
    """Ten adds of each key before it is taken: what a bulk of events of few owners does."""
    queue = WorkQueue()
    for _ in range(10):
        for key in keys[: len(keys) // 10]:
            queue.add(key, 0.0)
    while (taken := queue.take(0.0)) is not None:
        queue.done(taken, 0.0)


def rate(work: Callable[[list[ObjectKey]], None], keys: list[ObjectKey], repeats: int) -> int:
    """Keys per second of CPU time, the best of ``repeats``: whatever disturbs only slows."""
    best = float("inf")
    for _ in range(repeats):
        gc.collect()
        started = time.process_time()
        work(keys)
        best = min(best, time.process_time() - started)
    return round(len(keys) / best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    keys = [ObjectKey(f"team-{number % 50}", f"shop-{number}") for number in range(options.keys)]
    figures = {
        f"{work.__name__}_per_second": rate(work, keys, options.repeats)
        for work in (add_to_done, one_at_a_time, merged)
    }
    for name, value in figures.items():
        print(f"{name:28} {value:>12,}")
    verdict = "reached" if figures["add_to_done_per_second"] >= GOAL_PER_SECOND else "missed"
    print(f"goal {GOAL_PER_SECOND:,} add → done per second: {verdict}")
    report.write("workqueue", {"keys": options.keys, "goal_per_second": GOAL_PER_SECOND, **figures})


main()
