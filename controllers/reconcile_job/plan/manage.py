"""How many Pods there should be, and so which to delete and which to create.

Never both in one sync: surplus goes first, so that no Pod is made beside one that is on its way out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import islice

import attrs

from reconcile_job.plan.backoff import BackoffRecord, remaining_seconds_of_index
from reconcile_job.plan.options import PODS_PER_SYNC_MAX
from reconcile_job.plan.pods import Naming, PodMaker, PodOrder
from reconcile_job.plan.selection import to_remove
from reconcile_job.plan.tally import Tally
from reconcile_job.plan.view import JobView, PodView, Uncounted


@attrs.frozen
class Deletion:
    """A Pod to delete.

    Attributes:
        uncounted: take the finalizer away *before* the Pod is deleted, so that its end counts as nothing (surplus,
            suspension). Else it stays, and the end is counted.
    """

    pod: PodView
    uncounted: bool


@attrs.frozen
class Change:
    """Pods to delete, or Pods to create, or neither; and when to look again for what must wait."""

    deletions: tuple[Deletion, ...] = ()
    orders: tuple[PodOrder, ...] = ()
    look_again_seconds: float | None = None


def manage(
    job: JobView,
    tally: Tally,
    *,
    backoff: BackoffRecord,
    finalizer: str,
    is_taken: Callable[[str], bool],
    now: datetime,
) -> Change:
    """What to change about the Pods of a Job that goes on."""
    if job.spec.suspend:
        return Change(deletions=tuple(Deletion(pod, uncounted=True) for pod in tally.active))
    wanted = wanted_active(job, tally)
    surplus = to_remove(
        tally.active,
        at_least=max(0, len(tally.active) - wanted),
        completions=job.completions if job.spec.is_indexed else None,
    )
    if surplus:
        return Change(deletions=tuple(Deletion(pod, uncounted=True) for pod in surplus[:PODS_PER_SYNC_MAX]))
    occupied = len(tally.terminating) if job.spec.replaces_only_failed else 0
    missing = min(wanted - len(tally.active) - occupied, PODS_PER_SYNC_MAX)
    if missing <= 0:
        return Change()
    if job.spec.backoff_limit_per_index is None:
        remaining = backoff.remaining_seconds(now)
        if remaining > 0:
            return Change(look_again_seconds=remaining)
    naming = Naming(job, is_taken)
    if not job.spec.is_indexed:
        names = islice(naming.of_ordinals(_first_ordinal(job, tally)), missing)
        return Change(orders=tuple(map(PodMaker.of(job, finalizer).order, names)))
    return _indexes(job, tally, missing, finalizer=finalizer, naming=naming, now=now)


def wanted_active(job: JobView, tally: Tally) -> int:
    """How many Pods should be active."""
    if job.spec.completions is None:
        return len(tally.active) if tally.succeeded else job.spec.parallelism
    return max(0, min(job.spec.parallelism, job.spec.completions - tally.succeeded))


def _first_ordinal(job: JobView, tally: Tally) -> int:
    """How many Pods the Job has had: no matter which have finished or are counted, so a lost create keeps its name."""
    uncounted = job.status.uncounted_terminated_pods or Uncounted()
    return job.status.succeeded + job.status.failed + len(tally.tracked.union(uncounted.succeeded, uncounted.failed))


def _indexes(job: JobView, tally: Tally, missing: int, *, finalizer: str, naming: Naming, now: datetime) -> Change:
    occupied = {pod.index for pod in tally.active}
    if job.spec.replaces_only_failed:
        occupied |= {pod.index for pod in tally.terminating}
    failed = tally.failed_indexes
    pending = (
        index
        for index in range(job.completions)
        if index not in occupied and index not in tally.completed and (failed is None or index not in failed)
    )
    chosen = list(islice(pending, missing))
    look_again: float | None = None
    if failed is not None:
        waits = {index: remaining_seconds_of_index(tally.delayed.get(index), now) for index in chosen}
        chosen = [index for index in chosen if waits[index] <= 0]
        look_again = min((wait for wait in waits.values() if wait > 0), default=None)
    maker = PodMaker.of(job, finalizer)
    orders = tuple(maker.order(naming.of_index(index), index, tally.delayed.get(index)) for index in chosen)
    return Change(orders=orders, look_again_seconds=look_again)
