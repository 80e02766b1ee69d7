"""The reconciler of ``job-ttl``: asks the plan when, waits, asks the server once more, deletes.

Guarantees:
    * A Job is deleted only as the server shows it at that moment: a TTL that was raised or taken away before the DELETE
      arrives keeps it (precondition on uid and resourceVersion; the built-in controller's is on the uid alone).
    * Its Pods go first (propagation Foreground), so that nothing of it is left when its name is free again.

Assumptions: the clock agrees with that of the controller which finished the Job, within what the TTL allows.
"""

from __future__ import annotations

from typing import assert_never

import attrs

from reconcile import Context, DecodeError, Histogram, NotFoundError, Object, Request, Result, TerminalError
from reconcile.model.delta import Delta
from reconcile_job.ttl.plan import Due, TTLView, Unknown, due

JOB = "batch/v1/Job"

WAIT_SECONDS_MAX = 3600.0
"""A longer wait is cut: it runs on a clock that knows nothing of the wall clock's being set."""

AHEAD_SECONDS_TOLERATED = 1.0
"""Conditions carry whole seconds. Only a finish that is further in the future is worth a line in the log."""

DELETION_SECONDS = Histogram(
    "ttl_after_finished_controller_job_deletion_duration_seconds",
    "How long after its TTL was over a Job was deleted.",
    buckets=tuple(0.1 * 2**power for power in range(14)),
)
"""The built-in controller's, bucket for bucket."""


@attrs.frozen
class TTLReconciler:
    """Deletes finished Jobs when their time has come."""

    async def __call__(self, request: Request, context: Context, /) -> Result | None:
        job = context.get(JOB, request.name)
        seconds = _seconds(job, context)
        if seconds is not None and seconds <= 0:
            try:
                job = await context.read(JOB, request.name)
            except NotFoundError:
                return None
            seconds = _seconds(job, context)
        if job is None or seconds is None:
            return None
        if seconds > 0:
            return Result(min(seconds, WAIT_SECONDS_MAX))
        began = context.now()
        await context.delete(job, propagation="Foreground", resource_version=True)
        late_seconds = (context.now() - began).total_seconds() - seconds
        context.report(DELETION_SECONDS, max(0.0, late_seconds))
        context.log.info("deleted %.1f s after its ttlSecondsAfterFinished was over", late_seconds)
        return None


def concerns_finished(delta: Delta) -> bool:
    """A Job that is to be deleted at some time."""
    if delta.new is None:
        return False
    try:
        return delta.new.decode(TTLView).is_candidate
    except DecodeError:
        return True  # the reconcile says what is wrong


def _seconds(job: Object | None, context: Context) -> float | None:
    """How long the Job stays; None for as long as it is as it is now."""
    if job is None:
        return None
    try:
        found = due(job.decode(TTLView), context.now())
    except DecodeError as error:
        raise TerminalError(str(error)) from error
    match found:
        case None:
            return None
        case Unknown(condition):
            message = (
                f"cannot tell when ttlSecondsAfterFinished is over: condition {condition} has no lastTransitionTime; "
                f"set it, or delete the Job"
            )
            context.event("UnknownFinishTime", message, type="Warning", on=job)
            raise TerminalError(f"{job}: {message}")
        case Due(seconds, ahead_seconds):
            if ahead_seconds > AHEAD_SECONDS_TOLERATED:
                context.log.warning("finished %.0f s in the future: the clocks disagree", ahead_seconds)
            return seconds
        case _:
            assert_never(found)
