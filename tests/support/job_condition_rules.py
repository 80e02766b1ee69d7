"""Rules for conditions and times: how a Job ends, and when (J6, J7, J10, J12, J-L1, J-L4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from job_history import (
    History,
    creations,
    is_true,
    last_job,
    moments,
    own,
    phase,
    status_of,
    statuses,
    time_of,
    uncounted,
)

LATE_SECONDS_MAX = 2.0


def j6(history: History) -> Iterator[str]:
    """The terminal condition comes once, stays, is one of two, and only when nothing runs."""
    for moment, before, after in statuses(history):
        version, types = moment.seen.version, [one for one in ("Complete", "Failed") if is_true(after, one)]
        if len(types) > 1:
            yield f"both Complete and Failed at {version}"
        for type_ in ("Complete", "Failed"):
            if is_true(before, type_) and not is_true(after, type_):
                yield f"{type_} was taken back at {version}"
        if bool(after.get("completionTime")) != is_true(after, "Complete"):
            yield f"completionTime without Complete, or the reverse, at {version}"
        if not types or is_true(before, *types):
            continue
        if (
            after.get("active")
            or after.get("terminating")
            or any(uncounted(after, it) for it in ("succeeded", "failed"))
        ):
            yield f"{types[0]} at {version} while the status still has Pods"
        running = [one["metadata"]["name"] for one in own(history, moment) if phase(one) in ("Pending", "Running")]
        if running:
            yield f"{types[0]} at {version} while {', '.join(running)} ran"


def j7(history: History) -> Iterator[str]:
    """After the terminal condition no Pod is made and the status does not change."""
    for moment, job, pod in creations(history):
        if is_true(status_of(job), "Complete", "Failed"):
            yield f"{pod['metadata']['name']} was made after the end at {moment.seen.version}"
    for moment, before, after in statuses(history):
        if is_true(before, "Complete", "Failed") and before != after:
            yield f"the status changed after the end at {moment.seen.version}"


def j10(history: History) -> Iterator[str]:
    """Suspended: no creates, no start time, deleted Pods count as nothing; a resumed Job starts anew."""
    for moment, job, pod in creations(history):
        if job["spec"].get("suspend"):
            yield f"{pod['metadata']['name']} was made while suspended at {moment.seen.version}"
    paused: set[str] = set()
    for moment in moments(history):
        job, before = moment.job, moment.before
        if job is None:
            continue
        is_gone = moment.seen.kind == "Pod" and moment.seen.event == "DELETED"
        if is_gone and job["spec"].get("suspend") and before is not None and phase(before) in ("Pending", "Running"):
            paused.add(before["metadata"]["uid"])
        counted = paused & set(uncounted(status_of(job), "failed"))
        if counted:
            yield f"{sorted(counted)} were deleted by the suspension and count as failed at {moment.seen.version}"
    for moment, before, after in statuses(history):
        if is_true(after, "Suspended") and after.get("startTime"):
            yield f"suspended with a start time at {moment.seen.version}"
        if is_true(before, "Suspended") and not is_true(after, "Suspended"):
            resumed = next(one for one in after["conditions"] if one["type"] == "Suspended")
            if not after.get("startTime") or time_of(after["startTime"]) < time_of(resumed["lastTransitionTime"]):
                yield f"resumed without a new start time at {moment.seen.version}"


def j12(history: History) -> Iterator[str]:
    """The deadline fails the Job not before it is due (times have whole seconds), and at most 2 s later."""
    for moment, before, after in statuses(history):
        job = moment.after or {}
        told = next((one for one in after.get("conditions") or () if one["type"] == "FailureTarget"), None)
        if told is None or told["reason"] != "DeadlineExceeded" or is_true(before, "FailureTarget"):
            continue
        due = time_of(after["startTime"]) + timedelta(seconds=job["spec"]["activeDeadlineSeconds"])
        late = (time_of(told["lastTransitionTime"]) - due).total_seconds()
        if not -1 <= late <= LATE_SECONDS_MAX + 1:
            yield f"the deadline was told {late:+g} s after it was due"


def jl1(history: History) -> Iterator[str]:
    """A Job that lives reaches Complete or Failed."""
    job = last_job(history)
    if job is not None and not is_true(status_of(job), "Complete", "Failed"):
        yield f"not finished: {status_of(job)}"


def jl4(history: History) -> Iterator[str]:
    """The Job controller deletes no Job; one with a time to live goes only when it is over."""
    if any(write.verb.startswith("delete") and write.resource == "jobs" for write in history.writes):
        yield "the Job controller deleted a Job"
    for moment in moments(history):
        job = moment.before
        if moment.seen.kind != "Job" or moment.seen.event != "DELETED" or job is None:
            continue
        ttl, deleted = job["spec"].get("ttlSecondsAfterFinished"), job["metadata"].get("deletionTimestamp")
        if ttl is None or deleted is None:
            continue
        over = [one for one in status_of(job).get("conditions") or () if one["type"] in ("Complete", "Failed")]
        if not over or time_of(deleted) < time_of(over[0]["lastTransitionTime"]) + timedelta(seconds=ttl):
            yield "the Job was deleted before its time to live had passed"
