"""The rule for failures: how many end a Job, and how long a replacement waits (J9)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from audit import Audited
from job_history import (
    INDEX,
    History,
    Json,
    Moment,
    controller,
    created,
    index_of,
    is_true,
    last_job,
    moments,
    numbers,
    own,
    phase,
    status_of,
    statuses,
    time_of,
    uncounted,
)

DELAY_SECONDS_FIRST, DELAY_SECONDS_MAX = 10, 600
FAILURES = ("batch.kubernetes.io/job-index-failure-count", "batch.kubernetes.io/job-index-ignored-failure-count")


def j9(history: History) -> Iterator[str]:
    """Failed exactly if there are more failures than backoffLimit; no Pod too many, and none before its backoff."""
    yield from _too_early(history)
    job = last_job(history)
    if job is None or not is_true(status_of(job), "Complete", "Failed"):
        return
    spec, status = job["spec"], status_of(job)
    failed, is_failed = status.get("failed", 0), is_true(status, "Failed")
    has_own_rule = any(spec.get(one) for one in ("podFailurePolicy", "activeDeadlineSeconds"))
    if not has_own_rule and spec.get("backoffLimitPerIndex") is None and is_failed != (failed > spec["backoffLimit"]):
        yield f"{failed} failures with backoffLimit {spec['backoffLimit']}, Failed: {is_failed}"
    may_ignore = any(one["action"] == "Ignore" for one in (spec.get("podFailurePolicy") or {}).get("rules", ()))
    if spec.get("completions") is None or may_ignore:
        return
    excused = _deleted(history) + _let_go(history) + _forgotten(history)
    if len(created(history)) > spec["completions"] + failed + excused:
        yield (
            f"{len(created(history))} Pods for {spec['completions']} completions, {failed} failures and {excused} that "
            f"were deleted, let go or forgotten"
        )


def _deleted(history: History) -> int:
    """How many Pods the controller deleted."""
    return sum(map(_is_deletion, history.writes))


def _is_deletion(write: Audited) -> bool:
    return write.verb == "delete" and write.resource == "pods" and not write.subresource and write.code < 300


def _let_go(history: History) -> int:
    """How many Pods lost their controller reference."""
    return sum(
        moment.before is not None
        and controller(moment.before) == history.uid
        and moment.after is not None
        and controller(moment.after) != history.uid
        for moment in moments(history)
        if moment.seen.kind == "Pod"
    )


def _forgotten(history: History) -> int:
    """How many successes an elastic Job forgot by shrinking."""
    return sum(
        len(numbers(before.get("completedIndexes")) - numbers(after.get("completedIndexes")))
        for _moment, before, after in statuses(history)
    )


def _too_early(history: History) -> Iterator[str]:
    named: set[str] = set()
    for moment in moments(history):
        status = status_of(moment.job)
        named |= {*uncounted(status, "succeeded"), *uncounted(status, "failed")}
        pod, job = moment.after, moment.job
        if moment.seen.kind != "Pod" or moment.before is not None or pod is None or job is None:
            continue
        if controller(pod) != history.uid:
            continue
        due = _due(job, pod, moment, history, named)
        if due is not None and time_of(pod["metadata"]["creationTimestamp"]) < due - timedelta(seconds=1):
            yield f"{pod['metadata']['name']} came before {due}, when the backoff is over"


def _due(job: Json, pod: Json, moment: Moment, history: History, named: set[str]) -> datetime | None:
    """When this Pod may be made: by those that have ended by then, as the status or its own annotations say."""
    ended = [(one, time) for one in own(history, moment) if (time := _ended_at(one)) is not None]
    if job["spec"].get("backoffLimitPerIndex") is not None:
        times = _failures_before(pod)
        before = [
            time
            for one, time in ended
            if phase(one) == "Failed" and index_of(one) == index_of(pod) and _failures_before(one) + 1 == times
        ]
        return _after(times, before)
    completed = numbers(status_of(job).get("completedIndexes"))
    successes = [
        time
        for one, time in ended
        if phase(one) == "Succeeded" and (one["metadata"]["uid"] in named or index_of(one) in completed)
    ]
    failures = [
        time
        for one, time in ended
        if phase(one) == "Failed" and one["metadata"]["uid"] in named and all(time > success for success in successes)
    ]
    return _after(len(failures), failures)


def _after(failures: int, times: list[datetime]) -> datetime | None:
    """When the delay after so many failures in a row, of which the latest is among these, is over."""
    if not failures or not times:
        return None
    return max(times) + timedelta(seconds=min(DELAY_SECONDS_FIRST * 2 ** (failures - 1), DELAY_SECONDS_MAX))


def _failures_before(pod: Json) -> int:
    """How often the Pod's index had failed before it, as its annotations say."""
    annotations = pod["metadata"].get("annotations") or {}
    return sum(int(annotations.get(name, 0)) for name in FAILURES) if INDEX in annotations else 0


def _ended_at(pod: Json) -> datetime | None:
    """When the containers of a Pod that has ended did; None where nobody said."""
    if phase(pod) not in ("Succeeded", "Failed"):
        return None
    ends = [
        one["state"]["terminated"].get("finishedAt")
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
        if "terminated" in (one.get("state") or {})
    ]
    return max(map(time_of, ends)) if ends and all(ends) else None
