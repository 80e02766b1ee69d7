"""Rules for a Job's Pods: how many, whose, when, and what is in them (J1, J2, J8, J9, J11, J13, J14)."""

from __future__ import annotations

from collections.abc import Iterator

from job_history import (
    INDEX,
    History,
    Json,
    Moment,
    controller,
    creations,
    index_of,
    indexes,
    is_active,
    is_indexed,
    moments,
    namesakes,
    numbers,
    own,
    phase,
    status_of,
    statuses,
    uncounted,
)


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
        active, done = sum(map(is_active, own(history, moment))), _successes(history, moment, job)
        if wanted is not None and active + done > wanted:
            yield f"{pod['metadata']['name']}: {active} active and {done} succeeded of {wanted}"


def _successes(history: History, moment: Moment, job: Json) -> int:
    """How many (Indexed: of which indexes) are accounted for: in the status, or waiting with their finalizer."""
    status = status_of(job)
    waiting = [
        one
        for one in own(history, moment)
        if phase(one) == "Succeeded"
        and history.finalizer in (one["metadata"].get("finalizers") or ())
        and one["metadata"]["uid"] not in uncounted(status, "failed")
    ]
    if is_indexed(job):
        found = numbers(status.get("completedIndexes")) | {index_of(one) for one in waiting}
        return len(found & indexes(job))
    uids = {*uncounted(status, "succeeded"), *(one["metadata"]["uid"] for one in waiting)}
    return int(status.get("succeeded", 0)) + len(uids)


def j8(history: History) -> Iterator[str]:
    """Indexed: one active Pod an index; annotation, label and hostname agree; succeeded counts indexes."""
    for moment, job, pod in creations(history):
        if not is_indexed(job):
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
        if moment.after is not None and is_indexed(moment.after) and after.get("succeeded", 0) != indexes:
            yield f"succeeded is not the number of completed indexes at {moment.seen.version}"


def j11(history: History) -> Iterator[str]:
    """Pods of others are never written; only a Pod without controller that matches is adopted, by a live Job."""
    jobs = namesakes(history)
    mine = {
        seen.object["metadata"]["name"]
        for seen in history.seen
        if seen.kind == "Pod" and controller(seen.object) in jobs
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
