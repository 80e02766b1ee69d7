"""Checkers of what must hold of a Job whatever happens to its controller: pure functions over a recorded history.

Each gives what is broken, as text. The names (J1 … J14, J-L1 … J-L5) are those of the specification.

Assumptions: specs are edited only while the controller is quiet, so each write is judged by the spec of its moment.
Not visible from here: whether a replacement waited for its backoff (the count of a whole Job is lost at a restart), and
the cache of the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from audit import Audited
from job_history import (
    INDEX,
    History,
    Json,
    controller,
    created,
    creations,
    ended,
    index_of,
    is_active,
    is_true,
    last,
    last_job,
    moments,
    own,
    phase,
    status_of,
    statuses,
    uncounted,
)
from job_world import numbers

UNCOUNTED_MAX = 500
LATE_SECONDS_MAX = 2.0


def _is_indexed(job: Json) -> bool:
    return job["spec"].get("completionMode") == "Indexed"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- safety -------------------------------------------------------------------------------------------------------


def j1(history: History) -> Iterator[str]:
    """A create never makes more active Pods than parallelism; with Failed replacement, terminating ones count too."""
    for moment, job, pod in creations(history):
        spec = job["spec"]
        busy = [one for one in own(history, moment) if phase(one) in ("Pending", "Running")]
        if spec.get("podReplacementPolicy") != "Failed":
            busy = [one for one in busy if is_active(one)]
        if len(busy) > spec["parallelism"]:
            yield f"{pod['metadata']['name']} is the {len(busy)}th active Pod, parallelism is {spec['parallelism']}"


def j2(history: History) -> Iterator[str]:
    """A create never starts more work than completions leaves."""
    for moment, job, pod in creations(history):
        wanted = job["spec"].get("completions")
        done = ended(history, "Succeeded", until=moment.seen.version)
        count = len({index_of(one) for one in done.values()}) if _is_indexed(job) else len(done)
        active = sum(map(is_active, own(history, moment)))
        if wanted is not None and active + count > wanted:
            yield f"{pod['metadata']['name']}: {active} active and {count} succeeded of {wanted}"


def j3(history: History) -> Iterator[str]:
    """No uid is counted twice, and none that did not end that way."""
    left: set[str] = set()
    for moment, before, after in statuses(history):
        succeeded, failed = uncounted(after, "succeeded"), uncounted(after, "failed")
        left |= {*uncounted(before, "succeeded"), *uncounted(before, "failed")} - {*succeeded, *failed}
        version = moment.seen.version
        for uid in sorted({*succeeded, *failed} & left):
            yield f"{uid} came back into the lists at {version}"
        if set(succeeded) & set(failed) or len({*succeeded, *failed}) != len(succeeded) + len(failed):
            yield f"a uid stands in the lists twice at {version}"
        really = len(ended(history, "Succeeded", until=version))
        if after.get("succeeded", 0) + len(succeeded) > really:
            yield f"{after.get('succeeded', 0)} + {len(succeeded)} counted as succeeded at {version}, {really} did"
        may_fail = set(ended(history, "Failed", until=version)) | {
            seen.object["metadata"]["uid"]
            for seen in history.seen
            if seen.kind == "Pod" and seen.version <= version and controller(seen.object) == history.uid
            if seen.object["metadata"].get("deletionTimestamp") or is_true(after, "FailureTarget")
        }
        if after.get("failed", 0) + len(failed) > len(may_fail):
            yield f"{after.get('failed', 0)} + {len(failed)} counted as failed at {version}, {len(may_fail)} can be"


def j4(history: History) -> Iterator[str]:
    """Counters never decrease, and completed indexes stay, but for those past an elastic Job's new size."""
    for moment, before, after in statuses(history):
        job = moment.after or {}
        in_range = set(range(job["spec"].get("completions") or 0))
        lost = (numbers(before.get("completedIndexes") or "") - numbers(after.get("completedIndexes") or "")) & in_range
        if lost:
            yield f"completed indexes {sorted(lost)} were lost at {moment.seen.version}"
        for counter in ("failed",) if _is_indexed(job) else ("failed", "succeeded"):
            if after.get(counter, 0) < before.get(counter, 0):
                yield f"{counter} fell from {before[counter]} to {after.get(counter, 0)} at {moment.seen.version}"


def j5(history: History) -> Iterator[str]:
    """A finished Pod's finalizer goes only once the committed status names it; at most 500 uids wait."""
    for moment in moments(history):
        if moment.seen.kind == "Job":
            status = status_of(moment.after)
            if len(uncounted(status, "succeeded")) + len(uncounted(status, "failed")) > UNCOUNTED_MAX:
                yield f"more than {UNCOUNTED_MAX} uids wait at {moment.seen.version}"
            continue
        before, after, job = moment.before, moment.after, moment.job
        if before is None or job is None or controller(before) != history.uid:
            continue
        if history.finalizer not in (before["metadata"].get("finalizers") or ()):
            continue
        if after is not None and history.finalizer in (after["metadata"].get("finalizers") or ()):
            continue
        if phase(before) in ("Succeeded", "Failed") and not _is_named(job, before):
            yield f"{before['metadata']['name']} ({phase(before)}) was let go uncounted at {moment.seen.version}"


def _is_named(job: Json, pod: Json) -> bool:
    """Whether the status names this finished Pod, or its end means nothing."""
    status, index, uid = status_of(job), index_of(pod), pod["metadata"]["uid"]
    if uid in (*uncounted(status, "succeeded"), *uncounted(status, "failed")):
        return True
    if _is_indexed(job) and (index is None or index >= job["spec"]["completions"]):
        return True
    if phase(pod) == "Succeeded":
        return _is_indexed(job) and index in (
            numbers(status.get("completedIndexes") or "") | numbers(status.get("failedIndexes") or "")
        )
    return bool(job["spec"].get("podFailurePolicy") or is_true(status, "SuccessCriteriaMet"))


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


def j8(history: History) -> Iterator[str]:
    """Indexed: one active Pod an index; annotation, label and hostname agree; succeeded counts indexes."""
    for moment, job, pod in creations(history):
        if not _is_indexed(job):
            continue
        index, name = index_of(pod), pod["metadata"]["name"]
        twins = [one for one in own(history, moment) if is_active(one) and index_of(one) == index]
        if len(twins) > 1:
            yield f"{len(twins)} active Pods of index {index} at {moment.seen.version}"
        said = (pod["metadata"]["labels"].get(INDEX), pod["spec"].get("hostname"))
        if index is None or said != (str(index), f"{history.name}-{index}"):
            yield f"{name}: annotation {index}, label and hostname {said}"
    for moment, _before, after in statuses(history):
        indexes = len(numbers(after.get("completedIndexes") or ""))
        if moment.after is not None and _is_indexed(moment.after) and after.get("succeeded", 0) != indexes:
            yield f"succeeded is not the number of completed indexes at {moment.seen.version}"


def j9(history: History) -> Iterator[str]:
    """Failed exactly if there are more failures than backoffLimit; no more Pods than work and failures ask for."""
    job = last_job(history)
    if job is None or any(job["spec"].get(name) for name in ("podFailurePolicy", "activeDeadlineSeconds")):
        return
    if not is_true(status_of(job), "Complete", "Failed"):
        return
    spec, status = job["spec"], status_of(job)
    failed = status.get("failed", 0)
    is_failed = is_true(status, "Failed")
    if spec.get("backoffLimitPerIndex") is None and is_failed != (failed > spec["backoffLimit"]):
        yield f"{failed} failures with backoffLimit {spec['backoffLimit']}, Failed: {is_failed}"
    deleted = sum(_is_done(one, "delete", "pods") for one in history.writes)
    let_go = sum(
        moment.before is not None
        and controller(moment.before) == history.uid
        and moment.after is not None
        and controller(moment.after) != history.uid
        for moment in moments(history)
        if moment.seen.kind == "Pod"
    )
    most = (spec.get("completions") or 0) + failed + deleted + let_go
    if spec.get("completions") is not None and len(created(history)) > most:
        yield f"{len(created(history))} Pods for {spec['completions']} completions, {failed} failures, {deleted} deleted"


def _is_done(write: Audited, verb: str, resource: str) -> bool:
    return write.verb == verb and write.resource == resource and not write.subresource and write.code < 300


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
            if not after.get("startTime") or _time(after["startTime"]) < _time(resumed["lastTransitionTime"]):
                yield f"resumed without a new start time at {moment.seen.version}"


def j11(history: History) -> Iterator[str]:
    """Pods of others are never written; only a Pod without controller that matches is adopted, by a live Job."""
    mine = {
        seen.object["metadata"]["name"]
        for seen in history.seen
        if seen.kind == "Pod" and controller(seen.object) == history.uid
    }
    for write in history.writes:
        if write.resource == "pods" and write.verb in ("patch", "update", "delete") and write.name not in mine:
            yield f"{write.verb} of {write.name}, which was never the Job's own"
    for moment in moments(history):
        before, after = moment.before, moment.after
        if moment.seen.kind != "Pod" or before is None or after is None:
            continue
        if controller(after) != history.uid or controller(before) == history.uid:
            continue
        name, labels, job = after["metadata"]["name"], before["metadata"].get("labels") or {}, moment.job
        if controller(before):
            yield f"{name} was taken from another controller"
        if job is None or job["metadata"].get("deletionTimestamp"):
            yield f"{name} was adopted by a Job that is gone"
        elif any(labels.get(key) != value for key, value in job["spec"]["selector"]["matchLabels"].items()):
            yield f"{name} was adopted and does not match"


def j12(history: History) -> Iterator[str]:
    """The deadline fails the Job not before it is due (times have whole seconds), and at most 2 s later."""
    for moment, before, after in statuses(history):
        job = moment.after or {}
        told = next((one for one in after.get("conditions") or () if one["type"] == "FailureTarget"), None)
        if told is None or told["reason"] != "DeadlineExceeded" or is_true(before, "FailureTarget"):
            continue
        due = _time(after["startTime"]) + timedelta(seconds=job["spec"]["activeDeadlineSeconds"])
        late = (_time(told["lastTransitionTime"]) - due).total_seconds()
        if not -1 <= late <= LATE_SECONDS_MAX + 1:
            yield f"the deadline was told {late:+g} s after it was due"


def j13(history: History) -> Iterator[str]:
    """Jobs of others and their Pods are never written."""
    others = {
        seen.object["metadata"]["name"]: seen.object["metadata"]["uid"]
        for seen in history.seen
        if seen.kind == "Job" and seen.object["spec"].get("managedBy") != history.managed_by
    }
    theirs = {
        seen.object["metadata"]["name"]
        for seen in history.seen
        if seen.kind == "Pod" and controller(seen.object) in others.values()
    }
    for write in history.writes:
        if (write.resource == "jobs" and write.name in others) or (write.resource == "pods" and write.name in theirs):
            yield f"{write.verb} of {write.resource} {write.name}, which is somebody else's"


def j14(history: History) -> Iterator[str]:
    """Each Pod that is made has the finalizer, the owner, a name of its place, and what the template says."""
    for _moment, job, pod in creations(history):
        meta, template = pod["metadata"], job["spec"]["template"]
        name, index = meta["name"], index_of(pod)
        if history.finalizer not in (meta.get("finalizers") or ()):
            yield f"{name} was made without the finalizer"
        prefix = history.name if index is None else f"{history.name}-{index}"
        if not name.startswith(f"{prefix}-") or meta.get("generateName"):
            yield f"{name} is not named after its place"
        wanted = (template.get("metadata") or {}).get("labels") or {}
        if any((meta.get("labels") or {}).get(key) != value for key, value in wanted.items()):
            yield f"{name} lacks labels of the template"
        images = [one["image"] for one in template["spec"]["containers"]]
        if [one["image"] for one in pod["spec"]["containers"]] != images:
            yield f"{name} has other containers than the template"
    templates = [
        moment.after["spec"]["template"] for moment in moments(history) if moment.seen.kind == "Job" and moment.after
    ]
    if any(one != templates[0] for one in templates):
        yield "the template of the Job was changed"


# -- liveness, at the end of a run ---------------------------------------------------------------------------------


def jl1(history: History) -> Iterator[str]:
    """A Job that lives reaches Complete or Failed."""
    job = last_job(history)
    if job is not None and not is_true(status_of(job), "Complete", "Failed"):
        yield f"not finished: {status_of(job)}"


def jl2(history: History) -> Iterator[str]:
    """No Pod that is or was the Job's own keeps the finalizer once the Job is finished or gone."""
    moment, uids = last(history), created(history)
    if moment.job is not None and not is_true(status_of(moment.job), "Complete", "Failed"):
        return
    for name, pod in moment.pods.items():
        if pod["metadata"]["uid"] in uids and history.finalizer in (pod["metadata"].get("finalizers") or ()):
            yield f"{name} keeps the finalizer"


def jl3(history: History) -> Iterator[str]:
    """No success is lost: succeeded is the number of own Pods (Indexed: indexes) that succeeded."""
    job = last_job(history)
    if job is None or not is_true(status_of(job), "Complete", "Failed"):
        return
    done = ended(history, "Succeeded")
    really = len({index_of(pod) for pod in done.values()}) if _is_indexed(job) else len(done)
    if status_of(job).get("succeeded", 0) != really:
        yield f"succeeded is {status_of(job).get('succeeded', 0)}, and {really} did"


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
        if not over or _time(deleted) < _time(over[0]["lastTransitionTime"]) + timedelta(seconds=ttl):
            yield "the Job was deleted before its time to live had passed"


def accepted(history: History) -> Iterator[str]:
    """The server found nothing invalid: each refusal was that the object had changed, come or gone meanwhile."""
    for write in history.writes:
        if write.code >= 400 and write.code not in (404, 409):
            yield f"{write.verb} of {write.resource} {write.name}: {write.code}"


Check = Callable[[History], Iterator[str]]

CHECKS: dict[str, Check] = {
    **{f"J{number}": check for number, check in enumerate((j1, j2, j3, j4, j5, j6, j7, j8, j9), start=1)},
    **{f"J{number}": check for number, check in enumerate((j10, j11, j12, j13, j14), start=10)},
    **{f"J-L{number}": check for number, check in enumerate((jl1, jl2, jl3, jl4), start=1)},
    "accepted": accepted,
}
"""J-L5 (a restart adds no Pod) compares two histories: ``extra_pods``."""


def broken(history: History) -> list[str]:
    """Everything that does not hold."""
    return [f"{name}: {text}" for name, check in CHECKS.items() for text in check(history)]


def extra_pods(history: History, reference: History) -> list[str]:
    """J-L5: no more Pods than in the run without a fault."""
    count, wanted = len(created(history)), len(created(reference))
    return [f"J-L5: {count} Pods, {wanted} without the fault"] if count != wanted else []
