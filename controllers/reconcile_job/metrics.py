"""What the Job controller measures: the built-in controller's metrics, under its names, labels and label values.

Guarantees:
    * What a write brings about is counted after the write succeeded, by what it changed: never twice.
    * Every label value is one of a fixed few, but for ``controller_name``, which has at most ``FOREIGN_MAX``.

Caveats:
    A write whose answer is lost is not counted, though it may have been done; nor is what another process wrote. As in
    every process, counters begin at zero when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import anyio

from reconcile import Context, Counter, DecodeError, Histogram, Measured, Object
from reconcile.model.delta import Delta
from reconcile_job.plan.indexes import Indexes
from reconcile_job.plan.options import Options
from reconcile_job.plan.sync import Plan
from reconcile_job.plan.tally import Tally
from reconcile_job.plan.view import JobStatus, JobView, PodView

FOREIGN_MAX: Final = 100
"""Names in ``spec.managedBy`` that are told apart: anybody who may create Jobs can think of new ones."""

REASONS: Final = frozenset(
    {
        "BackoffLimitExceeded",
        "CompletionsReached",
        "DeadlineExceeded",
        "FailedIndexes",
        "MaxFailedIndexesExceeded",
        "PodFailurePolicy",
        "SuccessPolicy",
    }
)
"""Why a Job is over. An interim condition may have been written by anybody: another reason is counted as ``other``."""

SYNC_SECONDS: Final = Histogram(
    "job_controller_job_sync_duration_seconds",
    "How long it took to look at a Job once",
    ("completion_mode", "result", "action"),
    tuple(0.004 * 2**doubling for doubling in range(15)),
)
SYNCS: Final = Counter(
    "job_controller_job_syncs_total", "Looks at Jobs that go on", ("completion_mode", "result", "action")
)
JOBS_FINISHED: Final = Counter(
    "job_controller_jobs_finished_total", "Jobs that became Complete or Failed", ("completion_mode", "result", "reason")
)
JOBS_FOREIGN: Final = Counter(
    "job_controller_jobs_by_external_controller_total",
    "Jobs seen for the first time that name another controller",
    ("controller_name",),
    FOREIGN_MAX,
)
PODS_FINISHED: Final = Counter(
    "job_controller_job_pods_finished_total", "Finished Pods that were counted", ("completion_mode", "result")
)
PODS_CREATED: Final = Counter(
    "job_controller_job_pods_creation_total", "Pods created, and refusals to create one", ("reason", "status")
)
INDEXES_FINISHED: Final = Counter(
    "job_controller_job_finished_indexes_total", "Indexes that succeeded or failed", ("status", "backoffLimit")
)
FAILURES_HANDLED: Final = Counter(
    "job_controller_pod_failures_handled_by_failure_policy_total",
    "Failed Pods that a rule of the Job's podFailurePolicy matched",
    ("action",),
)
ENDS_TRACKED: Final = Counter(
    "job_controller_terminated_pods_tracking_finalizer_total",
    "Finished Pods seen with the tracking finalizer (add), and without it again or gone (delete)",
    ("event",),
)
ALL: Final = (
    SYNC_SECONDS,
    SYNCS,
    JOBS_FINISHED,
    JOBS_FOREIGN,
    PODS_FINISHED,
    PODS_CREATED,
    INDEXES_FINISHED,
    FAILURES_HANDLED,
    ENDS_TRACKED,
)

RECONCILING: Final = "reconciling"
"""The action of a look that did not come to manage Pods."""


# -- one look ---------------------------------------------------------------------------------------------------------


def action_of(plan: Plan) -> str:
    """What the look does about the Job's Pods, in the built-in controller's words."""
    if not plan.is_managed:
        return RECONCILING
    if plan.job.spec.suspend or plan.deletions:
        return "pods_deleted"
    return "pods_created" if plan.orders else "tracking"


@contextmanager
def timed(context: Context, job: JobView, action: Callable[[], str]) -> Iterator[None]:
    """Counts the look that is its body, and how long it took. One that is cancelled has no result."""
    began = anyio.current_time()

    def report(result: str) -> None:
        labels = (job.spec.completion_mode, result, action())
        context.report(SYNC_SECONDS, max(0.0, anyio.current_time() - began), *labels)
        context.report(SYNCS, 1, *labels)

    try:
        yield
    except Exception:
        report("error")
        raise
    report("success")


def report_created(context: Context, job: JobView, tally: Tally, *, created: int, refused: int) -> None:
    """After a batch of creates."""
    if job.spec.replaces_only_failed and tally.failed:
        reason = "recreate_failed"
    elif tally.failed or tally.terminating:
        reason = "recreate_terminating_or_failed"
    else:
        reason = "new"
    for amount, status in ((created, "succeeded"), (refused, "failed")):
        if amount:
            context.report(PODS_CREATED, amount, reason, status)


def report_handled(context: Context, actions: Mapping[str, str], gone: Iterable[str]) -> None:
    """After the finalizers of the Pods ``gone`` (by uid) are away: each goes once. ``actions`` are the policy's."""
    for uid in gone:
        if uid in actions:
            context.report(FAILURES_HANDLED, 1, actions[uid])


def report_written(context: Context, job: JobView, before: JobStatus, after: JobStatus) -> None:
    """After a status was written: what it counts that the one before did not."""
    mode = job.spec.completion_mode
    succeeded = after.succeeded - before.succeeded
    if job.spec.is_indexed:
        limit = "global" if job.spec.backoff_limit_per_index is None else "perIndex"
        # By the indexes that the Job has now: one that shrinks forgets some, which undoes no success.
        succeeded = _added(before.completed_indexes, after.completed_indexes, job.completions)
        failed_indexes = _added(before.failed_indexes, after.failed_indexes, job.completions)
        for amount, status in ((succeeded, "succeeded"), (failed_indexes, "failed")):
            if amount > 0:
                context.report(INDEXES_FINISHED, amount, status, limit)
    for amount, result in ((succeeded, "succeeded"), (after.failed - before.failed, "failed")):
        if amount > 0:
            context.report(PODS_FINISHED, amount, mode, result)
    if not before.is_finished:
        for type_, result in (("Complete", "succeeded"), ("Failed", "failed")):
            ended = after.condition(type_)
            if ended is not None:
                reason = ended.reason if ended.reason in REASONS else "other"
                context.report(JOBS_FINISHED, 1, mode, result, reason)


def _added(before: str | None, after: str | None, completions: int) -> int:
    if before == after:
        return 0
    return len(Indexes.parse(after or "", completions)) - len(Indexes.parse(before or "", completions))


# -- what the watches see ---------------------------------------------------------------------------------------------


def foreign_jobs(options: Options) -> Callable[[Delta], Iterable[Measured]]:
    """Counts each new Job that names a controller which is not this one."""

    def measure(delta: Delta) -> Iterable[Measured]:
        if delta.old is not None or delta.new is None:
            return ()
        try:
            managed_by = delta.new.decode(JobView).spec.managed_by
        except DecodeError:
            return ()  # its reconcile says so
        if not managed_by or options.serves(managed_by):
            return ()
        return (Measured(JOBS_FOREIGN, 1, (managed_by,)),)

    return measure


def tracked_ends(finalizer: str) -> Callable[[Delta], Iterable[Measured]]:
    """Counts each Pod that ends with the finalizer, and each such Pod that loses it or goes. Whosever it is."""

    def waits(pod: Object | None) -> bool:
        return pod is not None and finalizer in pod.finalizers and _has_finished(pod)

    def measure(delta: Delta) -> Iterable[Measured]:
        if delta.old is delta.new:
            return ()
        before, after = waits(delta.old), waits(delta.new)
        if before == after:
            return ()
        return (Measured(ENDS_TRACKED, 1, ("add" if after else "delete",)),)

    return measure


def _has_finished(pod: Object) -> bool:
    try:
        return pod.decode(PodView).has_finished
    except DecodeError:
        return False  # the reconcile of its Job says so
