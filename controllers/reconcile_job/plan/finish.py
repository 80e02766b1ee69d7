"""When a Job is over: the rules in their order; the first that holds decides."""

from __future__ import annotations

from datetime import datetime

from reconcile_job.plan.failure_policy import judge
from reconcile_job.plan.status import condition
from reconcile_job.plan.success_policy import matching_rule
from reconcile_job.plan.tally import Tally, counts_as_failed
from reconcile_job.plan.view import Condition, JobView

SUCCESS = "SuccessCriteriaMet"
FAILURE = "FailureTarget"


def verdict(job: JobView, tally: Tally, start_time: datetime | None, now: datetime) -> Condition | None:
    """The interim condition of a Job that is over, before its Pods are stopped; None for one that goes on.

    A failure is looked for before a success: a Job that has met both is Failed. What was decided earlier stays.
    """
    return (
        job.status.condition(SUCCESS)
        or job.status.condition(FAILURE)
        or _failure(job, tally, start_time, now)
        or _failed_indexes(job, tally, now)
        or _success(job, tally, now)
    )


def completion(job: JobView, tally: Tally, active: int, now: datetime) -> Condition | None:
    """The interim condition of a Job that has all the successes it wants, once nothing is active; else None."""
    wanted = job.spec.completions
    is_enough = tally.succeeded > 0 if wanted is None else tally.succeeded >= wanted
    if not is_enough or active:
        return None
    return condition(SUCCESS, "CompletionsReached", "Reached expected number of succeeded pods", now)


def deadline_in_seconds(job: JobView, start_time: datetime | None, now: datetime) -> float | None:
    """How long the Job may run yet; None without a deadline, or while suspended."""
    limit = job.spec.active_deadline_seconds
    if limit is None or start_time is None or job.spec.suspend:
        return None
    return limit - (now - start_time).total_seconds()


def _failure(job: JobView, tally: Tally, start_time: datetime | None, now: datetime) -> Condition | None:
    if job.spec.pod_failure_policy is not None:
        for pod in tally.pods:
            if counts_as_failed(job, pod):
                message = judge(job.spec.pod_failure_policy, pod, job.metadata.namespace).job_failure
                if message is not None:
                    return condition(FAILURE, "PodFailurePolicy", message, now)
    if tally.failed > job.spec.effective_backoff_limit or _restarted_too_often(job, tally):
        return condition(FAILURE, "BackoffLimitExceeded", "Job has reached the specified backoff limit", now)
    remaining = deadline_in_seconds(job, start_time, now)
    if remaining is not None and remaining <= 0:
        return condition(FAILURE, "DeadlineExceeded", "Job was active longer than specified deadline", now)
    return None


def _restarted_too_often(job: JobView, tally: Tally) -> bool:
    """With ``restartPolicy: OnFailure`` a container's restarts are its failures."""
    if not job.spec.restarts_in_place:
        return False
    restarts = sum(
        status.restart_count
        for pod in tally.pods
        if pod.status.phase in ("Pending", "Running")
        for status in (*(pod.status.container_statuses or ()), *(pod.status.init_container_statuses or ()))
    )
    limit = job.spec.effective_backoff_limit
    return restarts >= limit if limit else restarts > 0


def _failed_indexes(job: JobView, tally: Tally, now: datetime) -> Condition | None:
    failed = tally.failed_indexes
    if not failed:
        return None
    limit = job.spec.max_failed_indexes
    if limit is not None and len(failed) > limit:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return condition(FAILURE, "MaxFailedIndexesExceeded", message, now)
    if len(failed) + len(tally.completed) >= job.completions:
        return condition(FAILURE, "FailedIndexes", "Job has failed indexes", now)
    return None


def _success(job: JobView, tally: Tally, now: datetime) -> Condition | None:
    if not job.spec.is_indexed:
        return None
    rule = matching_rule(job.spec.success_policy, tally.completed, job.completions)
    return None if rule is None else condition(SUCCESS, "SuccessPolicy", f"Matched rules at index {rule}", now)
