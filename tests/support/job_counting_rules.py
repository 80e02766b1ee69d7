"""Rules for counting: each Pod that ends counts once (J3, J4, J5, J-L2, J-L3)."""

from __future__ import annotations

from collections.abc import Iterator

from job_history import (
    History,
    Json,
    controller,
    ended,
    index_of,
    indexes,
    is_indexed,
    is_true,
    last,
    last_job,
    moments,
    namesakes,
    numbers,
    phase,
    status_of,
    statuses,
    uncounted,
)

UNCOUNTED_MAX = 500


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
        for counter in ("failed",) if is_indexed(job) else ("failed", "succeeded"):
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
    if is_true(status, "Complete", "Failed"):  # all that had ended is in its counters, which J3 and J-L3 check
        return True
    if is_indexed(job) and (index is None or index >= job["spec"]["completions"]):
        return True
    if _was_stopped_for_success(status, pod):
        return True
    if phase(pod) == "Succeeded":
        return is_indexed(job) and index in (
            numbers(status.get("completedIndexes") or "") | numbers(status.get("failedIndexes") or "")
        )
    return _is_ignored(job, pod) or is_true(status, "SuccessCriteriaMet")


def _was_stopped_for_success(status: Json, pod: Json) -> bool:
    """Whether the Pod was told to stop after the success policy had decided: however it ends, it may go uncounted."""
    return bool(pod["metadata"].get("deletionTimestamp")) and any(
        one["type"] == "SuccessCriteriaMet" and one["status"] == "True" and one.get("reason") == "SuccessPolicy"
        for one in status.get("conditions") or ()
    )


def _is_ignored(job: Json, pod: Json) -> bool:
    """Whether the first rule of the failure policy that matches says so."""
    codes = [
        (one["name"], one["state"]["terminated"]["exitCode"])
        for kind in ("containerStatuses", "initContainerStatuses")
        for one in pod["status"].get(kind) or ()
        if "terminated" in one["state"]
    ]
    told = {(one["type"], one["status"]) for one in pod["status"].get("conditions") or ()}
    for rule in (job["spec"].get("podFailurePolicy") or {}).get("rules", ()):
        exits = rule.get("onExitCodes")
        if exits:
            matches = any(
                code and (code in exits["values"]) == (exits["operator"] == "In")
                for name, code in codes
                if exits.get("containerName") in (None, name)
            )
        else:
            matches = any((one["type"], one["status"]) in told for one in rule["onPodConditions"])
        if matches:
            return bool(rule["action"] == "Ignore")
    return False


def jl2(history: History) -> Iterator[str]:
    """No Pod that was the Job's, or an earlier namesake's, keeps the finalizer once the Job is finished or gone."""
    moment = last(history)
    job = moment.job
    if job is not None and not is_true(status_of(job), "Complete", "Failed"):
        return
    jobs = namesakes(history)
    theirs = {
        seen.object["metadata"]["uid"]
        for seen in history.seen
        if seen.kind == "Pod" and controller(seen.object) in jobs
    }
    for name, pod in moment.pods.items():
        if pod["metadata"]["uid"] in theirs and history.finalizer in (pod["metadata"].get("finalizers") or ()):
            yield f"{name} keeps the finalizer"


def jl3(history: History) -> Iterator[str]:
    """No success is lost: succeeded is the number of own Pods (Indexed: indexes that have not failed) that succeeded.

    Those that a success policy has stopped may count or not: that depends on whether they ended before they were let go.
    """
    job = last_job(history)
    if job is None or not is_true(status_of(job), "Complete", "Failed"):
        return
    status, done = status_of(job), ended(history, "Succeeded")
    for moment in moments(history):
        # Counted as failed while it was on its way out, and ended well after that: it stays a failure.
        for uid in uncounted(status_of(moment.job), "failed"):
            done.pop(uid, None)
    for seen in history.seen:
        # Stopped by the Job (surplus, suspended), let go for that uncounted, and ended well after that.
        meta = seen.object["metadata"]
        is_tracked = history.finalizer in (meta.get("finalizers") or ())
        if (
            seen.kind == "Pod"
            and phase(seen.object) != "Succeeded"
            and meta.get("deletionTimestamp")
            and not is_tracked
        ):
            done.pop(meta["uid"], None)
    optional = {uid for uid, pod in done.items() if _was_stopped_for_success(status, pod)}
    least = _successes(job, [pod for uid, pod in done.items() if uid not in optional])
    most = _successes(job, list(done.values()))
    if not least <= status.get("succeeded", 0) <= most:
        yield f"succeeded is {status.get('succeeded', 0)}, and {most} did ({most - least} of them need not count)"


def _successes(job: Json, pods: list[Json]) -> int:
    """What these Pods, which succeeded, count for."""
    if not is_indexed(job):
        return len(pods)
    may_count = indexes(job) - numbers(status_of(job).get("failedIndexes") or "")
    return len({index_of(pod) for pod in pods} & may_count)
