"""Tracking with finalizers (KEP-2307): each finished Pod is counted exactly once, whatever crashes when.

    1. A finished Pod keeps its finalizer, so it cannot vanish uncounted.
    2. Its uid is written to ``uncountedTerminatedPods`` (Indexed and succeeded: its index to ``completedIndexes``).
    3. Then the finalizer goes.
    4. Then the uid moves to the counter: the lists lose it in the same write.

A crash between 2 and 3: the uid stands in the list, so it is not added again. Between 3 and 4: a listed uid without a
Pod that has the finalizer is moved to the counter. At no point is a Pod in both, or in neither without its finalizer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

import attrs
import msgspec

from reconcile_job.plan.failure_policy import judge
from reconcile_job.plan.options import UNCOUNTED_MAX
from reconcile_job.plan.tally import Tally, counts_as_failed, has_valid_index
from reconcile_job.plan.view import JobStatus, JobView, PodView, Uncounted


@attrs.frozen
class Count:
    """The status that must stand before any finalizer goes, and the Pods whose finalizer may go then.

    Attributes:
        actions: what the Job's podFailurePolicy says of those that failed, by uid, where a rule of it matches.
        is_full: so many Pods are being counted that the rest must wait for the next sync.
    """

    status: JobStatus
    release: tuple[PodView, ...]
    actions: Mapping[str, str]
    is_full: bool


def count(
    job: JobView,
    tally: Tally,
    status: JobStatus,
    finalizer: str,
    *,
    over: bool,
    failed: bool,
    kept: Collection[str] = (),
) -> Count:
    """Count what can be counted.

    Args:
        job: the Job.
        tally: its Pods.
        status: the status that is being built.
        finalizer: the tracking finalizer.
        over: whether the Job is decided. Then every Pod's finalizer goes.
        failed: whether it is decided as a failure. Then Pods that still run count as failed.
        kept: uids of Pods that should have been deleted and are not: they keep the finalizer.
    """
    status = settled(status, tally.tracked)
    uncounted = status.uncounted_terminated_pods or Uncounted()
    succeeded, failures = dict.fromkeys(uncounted.succeeded), dict.fromkeys(uncounted.failed)
    # Pods that were stopped because the Job has succeeded have not failed, even if a crash came before their release.
    has_succeeded = job.status.condition("SuccessCriteriaMet") is not None
    new_indexes: set[int] = set()
    release: list[PodView] = []
    actions: dict[str, str] = {}
    is_full = False
    for pod in _in_order(job, tally):
        as_failed = counts_as_failed(job, pod)
        if (
            pod.uid in kept
            or not pod.has_finalizer(finalizer)
            or not _may_go(job, tally, pod, over=over, as_failed=as_failed)
        ):
            continue
        release.append(pod)
        if pod.has_succeeded and pod.uid not in failures:
            index = pod.index
            if not job.spec.is_indexed:
                succeeded[pod.uid] = None
            elif index is not None and index in tally.completed and index not in tally.completed_before:
                new_indexes.add(index)
        elif (failed or (as_failed and not (has_succeeded and pod.is_deleting))) and has_valid_index(job, pod):
            verdict = judge(job.spec.pod_failure_policy, pod, job.metadata.namespace)
            if verdict.action is not None:
                actions[pod.uid] = verdict.action
            if verdict.counts:
                failures[pod.uid] = None
        if len(new_indexes) + len(succeeded) + len(failures) >= UNCOUNTED_MAX:
            is_full = True
            break
    status = msgspec.structs.replace(status, uncounted_terminated_pods=Uncounted(tuple(succeeded), tuple(failures)))
    if job.spec.is_indexed:
        completed = tally.completed_before.union(new_indexes)
        status = msgspec.structs.replace(
            status,
            succeeded=len(completed),
            completed_indexes=str(completed),
            failed_indexes=None if tally.failed_indexes is None else str(tally.failed_indexes),
        )
    return Count(status, tuple(release), actions, is_full)


def settled(status: JobStatus, tracked: Collection[str]) -> JobStatus:
    """The status with every uncounted uid whose Pod no longer has the finalizer moved to the counters."""
    uncounted = status.uncounted_terminated_pods
    if uncounted is None:
        return status
    succeeded = tuple(uid for uid in uncounted.succeeded if uid in tracked)
    failed = tuple(uid for uid in uncounted.failed if uid in tracked)
    return msgspec.structs.replace(
        status,
        succeeded=status.succeeded + len(uncounted.succeeded) - len(succeeded),
        failed=status.failed + len(uncounted.failed) - len(failed),
        uncounted_terminated_pods=Uncounted(succeeded, failed),
    )


def released(status: JobStatus, tally: Tally, gone: AbstractSet[str]) -> JobStatus:
    """The status once the finalizers of the Pods ``gone`` are away."""
    return settled(status, tally.tracked - gone)


def _in_order(job: JobView, tally: Tally) -> list[PodView]:
    """Indexed Jobs in the order of their indexes, so that the status grows from its beginning."""
    if not job.spec.is_indexed:
        return list(tally.pods)
    return sorted(tally.pods, key=lambda pod: -1 if pod.index is None else pod.index)


def _may_go(job: JobView, tally: Tally, pod: PodView, *, over: bool, as_failed: bool) -> bool:
    if over or job.is_deleting or pod.has_succeeded:
        return True
    if not as_failed:
        return False
    delayed = tally.delayed.get(pod.index) if pod.index is not None else None
    return delayed is None or delayed.uid != pod.uid
