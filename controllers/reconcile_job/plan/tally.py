"""Tally: what the Job's Pods say, on top of what its status has counted already."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from reconcile_job.plan.backoff import absolute_failure_count, finished_at
from reconcile_job.plan.failure_policy import Verdict, judge
from reconcile_job.plan.indexes import Indexes
from reconcile_job.plan.view import JobView, PodView, Uncounted


@attrs.frozen
class Tally:
    """The claimed Pods, sorted out.

    Attributes:
        pods: all of them.
        active: neither finished nor terminating; ``terminating``: being deleted, not finished.
        tracked: the uids of those with the finalizer, which are in no counter yet.
        new_succeeded, new_failed: finished, with the finalizer, and not in the uncounted lists (Indexed: valid index).
        succeeded, failed: the counters as they will be once everything finished is counted.
        completed, completed_before: the completed indexes with and without the new ones (Indexed).
        failed_indexes: with ``backoffLimitPerIndex``, else None.
        delayed: by index, the failed Pod whose replacement does not exist yet: it keeps its finalizer, because its
            annotations say how often the index has failed.
    """

    pods: tuple[PodView, ...]
    active: tuple[PodView, ...]
    terminating: tuple[PodView, ...]
    tracked: frozenset[str]
    new_succeeded: tuple[PodView, ...]
    new_failed: tuple[PodView, ...]
    succeeded: int
    failed: int
    completed: Indexes
    completed_before: Indexes
    failed_indexes: Indexes | None
    delayed: dict[int, PodView]

    @property
    def ready(self) -> int:
        return sum(pod.is_ready for pod in self.active)

    def counted(self) -> tuple[list[PodView], list[PodView]]:
        """The Pods that have succeeded and failed, are counted already, and are still there.

        One that is deleted, and has no finalizer, may have been stopped by the Job itself (suspended,
        surplus), which is no failure; nothing on it tells the two apart.
        """
        new = {pod.uid for pod in (*self.new_succeeded, *self.new_failed)}
        ended = [pod for pod in self.pods if pod.has_finished and pod.uid not in new]
        failed = [pod for pod in ended if not pod.has_succeeded and (pod.uid in self.tracked or not pod.is_deleting)]
        return [pod for pod in ended if pod.has_succeeded], failed


def counts_as_failed(job: JobView, pod: PodView) -> bool:
    """Phase Failed; or on its way out, where a replacement need not wait for the end (KEP-3939)."""
    if pod.status.phase == "Failed":
        return True
    return pod.is_deleting and not pod.has_succeeded and not job.spec.replaces_only_failed


def has_valid_index(job: JobView, pod: PodView) -> bool:
    """Whether an Indexed Job's Pod belongs to one of its indexes; always true for a NonIndexed Job."""
    return not job.spec.is_indexed or ((index := pod.index) is not None and index < job.completions)


def tally(job: JobView, pods: Sequence[PodView], finalizer: str) -> Tally:
    """Sort out the claimed Pods."""
    uncounted = job.status.uncounted_terminated_pods or Uncounted()
    known_succeeded, known_failed = frozenset(uncounted.succeeded), frozenset(uncounted.failed)
    counting = [pod for pod in pods if pod.has_finalizer(finalizer) and has_valid_index(job, pod)]
    active = tuple(pod for pod in pods if pod.is_active)
    # One that was on its way out, and is counted as a failure for it, may still end well: it stays a failure.
    succeeded = tuple(
        pod for pod in counting if pod.has_succeeded and pod.uid not in known_succeeded and pod.uid not in known_failed
    )
    failing = [pod for pod in counting if counts_as_failed(job, pod)]
    failed = tuple(pod for pod in failing if pod.uid not in known_failed)
    counted_failures = sum(_judgement(job, pod).counts for pod in failed)
    completed_before = completed = Indexes()
    failed_indexes: Indexes | None = None
    if job.spec.is_indexed:
        completed_before = Indexes.parse(job.status.completed_indexes, job.completions)
        failed_before = Indexes.parse(job.status.failed_indexes or "", job.completions)
        completed = completed_before.union(
            index
            for pod in counting
            if pod.has_succeeded and pod.uid not in known_failed and (index := _index(pod)) not in failed_before
        )
        if job.spec.backoff_limit_per_index is not None:
            # Once the Job has failed its Pods are stopped, which fails no further index.
            is_over = job.status.condition("FailureTarget") is not None
            failed_indexes = failed_before.union(
                index
                for pod in (() if is_over else failing)
                if (index := _index(pod)) not in completed and _fails_index(job, pod, job.spec.backoff_limit_per_index)
            )
    return Tally(
        pods=tuple(pods),
        active=active,
        terminating=tuple(pod for pod in pods if pod.is_terminating),
        tracked=frozenset(pod.uid for pod in pods if pod.has_finalizer(finalizer)),
        new_succeeded=succeeded,
        new_failed=failed,
        succeeded=len(completed)
        if job.spec.is_indexed
        else job.status.succeeded + len(succeeded) + len(uncounted.succeeded),
        failed=job.status.failed + counted_failures + len(uncounted.failed),
        completed=completed,
        completed_before=completed_before,
        failed_indexes=failed_indexes,
        delayed={} if failed_indexes is None else _delayed(failing, active, completed, failed_indexes),
    )


def _index(pod: PodView) -> int:
    """The index of a Pod that has a valid one."""
    index = pod.index
    return -1 if index is None else index


def _judgement(job: JobView, pod: PodView) -> Verdict:
    return judge(job.spec.pod_failure_policy, pod, job.metadata.namespace)


def _fails_index(job: JobView, pod: PodView, limit: int) -> bool:
    verdict = _judgement(job, pod)
    return verdict.fails_index or (verdict.counts and pod.failure_count >= limit)


def _delayed(
    failing: Sequence[PodView], active: Sequence[PodView], completed: Indexes, failed: Indexes
) -> dict[int, PodView]:
    running = {pod.index for pod in active}
    delayed: dict[int, PodView] = {}
    for pod in failing:
        index = _index(pod)
        if index in running or index in completed or index in failed:
            continue
        chosen = delayed.get(index)
        if chosen is None or (
            absolute_failure_count(pod) >= absolute_failure_count(chosen) and finished_at(pod) >= finished_at(chosen)
        ):
            delayed[index] = pod
    return delayed
