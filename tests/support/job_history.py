"""A Job's history as somebody else saw it: watch events of Jobs and Pods, and the audit log's writes of the controller.

The events are ordered by resourceVersion: there is one etcd, so versions compare across kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs
from audit import Audited

COUNTERS = ("succeeded", "failed", "completedIndexes", "failedIndexes")
GAUGES = ("active", "terminating", "ready")
INDEX = "batch.kubernetes.io/job-completion-index"

Json = dict[str, Any]


@attrs.frozen
class Seen:
    """One watch event: ADDED, MODIFIED or DELETED."""

    version: int
    kind: str
    event: str
    object: Json


@attrs.frozen
class History:
    """All that was seen of one Job ``uid`` in its namespace, and what the controller wrote there."""

    name: str
    uid: str
    finalizer: str
    managed_by: str
    seen: tuple[Seen, ...]
    writes: tuple[Audited, ...] = ()


@attrs.frozen
class Moment:
    """The world right after one event; ``before`` is the event's object as it was, ``pods`` are by name."""

    seen: Seen
    before: Json | None
    job: Json | None
    pods: dict[str, Json]

    @property
    def after(self) -> Json | None:
        return None if self.seen.event == "DELETED" else self.seen.object


def moments(history: History) -> Iterator[Moment]:
    """The history, one event after the other. Other Jobs than the history's own are left out."""
    job: Json | None = None
    pods: dict[str, Json] = {}
    for seen in sorted(history.seen, key=lambda one: one.version):
        name = seen.object["metadata"]["name"]
        if seen.kind == "Pod":
            before = pods.get(name)
            pods = {key: pod for key, pod in pods.items() if key != name}
            if seen.event != "DELETED":
                pods[name] = seen.object
        elif seen.object["metadata"]["uid"] == history.uid:
            before, job = job, None if seen.event == "DELETED" else seen.object
        else:
            continue
        yield Moment(seen, before, job, pods)


def controller(obj: Json) -> str:
    """The uid in the controller reference, or nothing."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((one["uid"] for one in references if one.get("controller")), "")


def phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase"))


def is_active(pod: Json) -> bool:
    return phase(pod) in ("Pending", "Running") and not pod["metadata"].get("deletionTimestamp")


def index_of(pod: Json) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return None if text is None else int(text)


def is_indexed(job: Json) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def indexes(job: Json) -> set[int]:
    """Those that an Indexed Job has."""
    return set(range(job["spec"].get("completions") or 0))


def numbers(text: str | None) -> set[int]:
    """The indexes in a text like ``1,3-5``."""
    found: set[int] = set()
    for item in filter(None, (text or "").split(",")):
        first, _, last_one = item.partition("-")
        found.update(range(int(first), int(last_one or first) + 1))
    return found


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def status_of(job: Json | None) -> Json:
    return (job or {}).get("status") or {}


def is_true(status: Json, *types: str) -> bool:
    return any(one["type"] in types and one["status"] == "True" for one in status.get("conditions") or ())


def uncounted(status: Json, which: str) -> list[str]:
    return list((status.get("uncountedTerminatedPods") or {}).get(which) or ())


def creations(history: History) -> Iterator[tuple[Moment, Json, Json]]:
    """Each Pod that came with the Job as its controller: the moment, the Job, the Pod."""
    for moment in moments(history):
        pod, job = moment.after, moment.job
        if moment.seen.kind != "Pod" or moment.before is not None or pod is None or job is None:
            continue
        if controller(pod) == history.uid:
            yield moment, job, pod


def statuses(history: History) -> Iterator[tuple[Moment, Json, Json]]:
    """Each version of the Job's status that follows another: the moment, the old and the new one."""
    for moment in moments(history):
        if moment.seen.kind == "Job" and moment.before is not None and moment.after is not None:
            yield moment, status_of(moment.before), status_of(moment.after)


def own(history: History, moment: Moment) -> list[Json]:
    return [pod for pod in moment.pods.values() if controller(pod) == history.uid]


def ended(history: History, wanted: str, *, until: int | None = None) -> dict[str, Json]:
    """The Job's own Pods, by uid, that were ever in that phase (up to that version)."""
    return {
        seen.object["metadata"]["uid"]: seen.object
        for seen in history.seen
        if seen.kind == "Pod"
        and controller(seen.object) == history.uid
        and phase(seen.object) == wanted
        and (until is None or seen.version <= until)
    }


def created(history: History) -> set[str]:
    """The uids of all Pods that ever were the Job's own."""
    return {
        seen.object["metadata"]["uid"]
        for seen in history.seen
        if seen.kind == "Pod" and controller(seen.object) == history.uid
    }


def namesakes(history: History) -> set[str]:
    """The uids of the Job and of those that had its name before it."""
    jobs = [seen.object["metadata"] for seen in history.seen if seen.kind == "Job"]
    return {meta["uid"] for meta in jobs if meta["name"] == history.name}


def last(history: History) -> Moment:
    return list(moments(history))[-1]


def last_job(history: History) -> Json | None:
    return last(history).job


def outcome(history: History) -> Json:
    """How the Job ended, or how it stood when it went: what a fault must not change. Messages name no Pod in it."""
    job = last_job(history)
    if job is None:
        *_, status = (status_of(moment.job) for moment in moments(history) if moment.job is not None)
        return {"gone": True, **{name: status.get(name) for name in COUNTERS}}
    status = status_of(job)
    pods = {
        f"{seen.object['metadata'].get('namespace')}/{seen.object['metadata']['name']}"
        for seen in history.seen
        if seen.kind == "Pod"
    }

    def told(message: str) -> str:
        return " ".join("POD" if word in pods else word for word in message.split())

    conditions = [
        (one["type"], one["status"], one["reason"], told(one.get("message", ""))) for one in status["conditions"]
    ]
    return {**{name: status.get(name) for name in (*COUNTERS, *GAUGES)}, "conditions": conditions}
