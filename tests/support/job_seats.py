"""One case of the differential test on one server: a namespace, what is seen in it, and what is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
from job_normal_form import Words, sort_key
from job_traces import (
    JOB_NAME,
    LONG_AGO,
    Action,
    CreateAgain,
    Delete,
    DeleteJob,
    DeleteNamespace,
    Disown,
    Edit,
    EditStatus,
    End,
    Relabel,
    Run,
    Step,
    Stray,
    Trace,
    Vanish,
    Wait,
    is_eligible,
)
from pods import JOB, POD

from reconcile import Client, Kind, MergePatch, ObjectKey
from reconcile.client import writes
from reconcile.model import json
from reconcile.model.object import from_plain
from reconcile.model.resource import Resource
from reconcile.model.write import Applied, Outcome, Refused, Unknown, Verb, Write
from reconcile.testing.waiting import eventually

Json = dict[str, Any]

JOBS, PODS = Resource(JOB, "jobs"), Resource(POD, "pods")
NAMESPACES = Resource(Kind.parse("v1/Namespace"), "namespaces", namespaced=False)
SEEN_SECONDS_MAX = 30.0
"""A watch shows a write after milliseconds; this long only if it has ended."""


@attrs.define(eq=False)
class Seat:
    """One case on one of the servers: a namespace, and what was seen in it.

    Attributes:
        objects: what there is, by kind and name.
        told: the conditions as they were added or changed: type, status, reason.
        last_change: when anything was last seen to change.
    """

    client: Client
    namespace: str
    words: Words = attrs.field(factory=Words)
    objects: dict[tuple[str, str], Json] = attrs.field(factory=dict)
    told: list[tuple[str, str, str]] = attrs.field(factory=list)
    last_change: float = 0.0
    _conditions: dict[str, tuple[str, str, str]] = attrs.field(factory=dict)

    def see(self, kind: str, event: str, obj: Json) -> None:
        """A watch event."""
        self.last_change = asyncio.get_running_loop().time()
        key, meta = (kind, obj["metadata"]["name"]), obj["metadata"]
        self.words.learn(kind, meta)
        if event == "DELETED":
            self.objects.pop(key, None)
            return
        self.objects[key] = obj
        self.words.normal(obj)  # so that times are known from the step in which they came
        if kind == "Job":
            for one in obj["status"].get("conditions") or ():
                said = (one["type"], one["status"], one["reason"])
                if self._conditions.get(one["type"]) != said:
                    self._conditions[one["type"]] = said
                    self.told.append(said)

    @property
    def job(self) -> Json | None:
        return self.objects.get(("Job", JOB_NAME))

    def pods(self) -> list[tuple[Json, Json]]:
        """Each Pod's normal form, and the Pod, in the order that both servers agree on."""
        pods = [(self.words.normal(obj), obj) for (kind, _), obj in self.objects.items() if kind == "Pod"]
        return sorted(pods, key=lambda pair: sort_key(pair[0]))

    def normal(self) -> Json:
        """What is compared."""
        job = None if self.job is None else self.words.normal(self.job)
        return {"job": job, "pods": [pod for pod, _ in self.pods()], "told": list(map(list, self.told))}

    # -- what is done ---------------------------------------------------------------------------------------------

    async def act(self, trace: Trace, step: Step) -> list[str]:
        """Carry the step out; what the server said to each write: ``ok``, or why not.

        The Pods of all actions are chosen before any of them is done, and each for one of them. Returns once the watch
        has shown what was done: the server's controller can have seen it then as well.
        """
        planned: list[Write] = []
        taken: set[str] = set()
        for action in step:
            pods = [pod for pod in self._choose(action) if pod["metadata"]["uid"] not in taken]
            taken |= {pod["metadata"]["uid"] for pod in pods}
            planned += self._writes(trace, action, pods)
        outcomes = [await self.client.send(write) for write in planned]
        for outcome in outcomes:
            if isinstance(outcome, Applied):
                await self._seen(outcome)
        return [self._said(outcome) for outcome in outcomes]

    def _choose(self, action: Action) -> list[Json]:
        if isinstance(action, Stray | Edit | EditStatus | DeleteJob | DeleteNamespace | CreateAgain | Wait):
            return []
        eligible = [pod for _, pod in self.pods() if is_eligible(action, pod)]
        places = dict.fromkeys(at % len(eligible) for at in action.pods) if eligible else ()
        return [eligible[at] for at in places]

    def _writes(self, trace: Trace, action: Action, pods: list[Json]) -> list[Write]:
        match action:
            case Run():
                return [write for pod in pods for write in self._run(action, pod)]
            case End():
                return [self._status(pod, _ended(action, pod)) for pod in pods]
            case Delete():
                return [writes.delete(PODS, self._key(pod), uid=pod["metadata"]["uid"]) for pod in pods]
            case Vanish():
                return [writes.delete(PODS, self._key(pod), grace_period_seconds=0) for pod in pods]
            case Disown():
                return [self._patch(pod, {"metadata": {"ownerReferences": None}}) for pod in pods]
            case Relabel():
                return [self._patch(pod, {"metadata": {"labels": {self._selected_by()[0]: "other"}}}) for pod in pods]
            case Stray():
                return self._stray(action) if self.job is not None else []
            case Edit():
                return [writes.patch(JOBS, self._job_key, MergePatch({"spec": action.spec}))]
            case EditStatus():
                body = MergePatch({"status": action.status})
                return [writes.patch(JOBS, self._job_key, body, subresource="status")]
            case DeleteJob():
                return [writes.delete(JOBS, self._job_key, propagation=action.propagation)]
            case DeleteNamespace():
                return [writes.delete(NAMESPACES, ObjectKey("", self.namespace))]
            case CreateAgain():
                return [self._create(trace.manifest)]
            case Wait():
                return []

    def _run(self, action: Run, pod: Json) -> list[Write]:
        ready = {"type": "Ready", "status": str(action.ready), "lastTransitionTime": LONG_AGO}
        status = {"phase": "Running", "conditions": [ready], **_containers(pod, lambda _: {"running": {}})}
        if status["containerStatuses"]:
            status["containerStatuses"][0]["restartCount"] = action.restarts
        bound = [] if "nodeName" in pod["spec"] else [self._bind(pod)]
        return [*bound, self._status(pod, status)]

    def _bind(self, pod: Json) -> Write:
        key = self._key(pod)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node"},
        }
        path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}/binding"
        return Write(Verb.CREATE, PODS, key, path, "binding", body=json.encode(body))

    def _stray(self, action: Stray) -> list[Write]:
        label, value = self._selected_by()
        name = f"stray-{sum(name.startswith('stray-') for _, name in self.objects)}"
        spec = {"containers": [{"name": "main", "image": "local/none"}], "restartPolicy": "Never"}
        index = {} if action.index is None else {"batch.kubernetes.io/job-completion-index": str(action.index)}
        meta = {"name": name, "labels": {label: value}, "annotations": index}
        create = self._create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        if action.phase == "Pending":
            return [create]
        pod = {"metadata": {"name": name}, "spec": spec}
        return [create, self._status(pod, _ended(End((), action.phase), pod))]

    def _selected_by(self) -> tuple[str, str]:
        if self.job is None:
            return "batch.kubernetes.io/controller-uid", ""
        [(label, value), *_] = self.job["spec"]["selector"]["matchLabels"].items()
        return label, value

    @property
    def _job_key(self) -> ObjectKey:
        return ObjectKey(self.namespace, JOB_NAME)

    def _key(self, obj: Json) -> ObjectKey:
        return ObjectKey(self.namespace, obj["metadata"]["name"])

    def _create(self, body: Json) -> Write:
        resource = JOBS if body["kind"] == "Job" else PODS
        return writes.create(
            resource, from_plain({**body, "metadata": {**body["metadata"], "namespace": self.namespace}})
        )

    def _patch(self, pod: Json, body: Json) -> Write:
        return writes.patch(PODS, self._key(pod), MergePatch(body))

    def _status(self, pod: Json, status: Json) -> Write:
        return writes.patch(PODS, self._key(pod), MergePatch({"status": status}), subresource="status")

    def _said(self, outcome: Outcome) -> str:
        match outcome:
            case Applied():
                return "ok"
            case Refused():
                return self.words.text(f"{outcome.error.status.code}: {outcome.error.status.message}")
            case Unknown():
                return f"no answer to {outcome.write}: {outcome.reason}"  # the case differs, and is run again

    async def _seen(self, applied: Applied) -> None:
        write, obj = applied.write, applied.object
        if obj is None or obj.kind not in (JOB, POD):
            return

        def there() -> bool:
            found = self.objects.get((write.resource.kind.kind, obj.name))
            if found is None or found["metadata"]["uid"] != obj.uid:
                return write.verb is not Verb.CREATE
            return int(found["metadata"]["resourceVersion"]) >= int(obj.resource_version)

        await eventually(there, seconds=SEEN_SECONDS_MAX, why=f"the watch shows {write}")


def _containers(pod: Json, state: Callable[[str], Json]) -> Json:
    """The statuses of the Pod's containers, each in the state of its name."""

    def statuses(containers: list[Json]) -> list[Json]:
        like = {"image": "x", "imageID": "", "ready": False, "restartCount": 0}
        return [{"name": one["name"], **like, "state": state(one["name"])} for one in containers]

    spec = pod["spec"]
    initial = {"initContainerStatuses": statuses(spec["initContainers"])} if spec.get("initContainers") else {}
    return {"containerStatuses": statuses(spec["containers"]), **initial}


def _ended(action: End, pod: Json) -> Json:
    """The status of a Pod that has ended."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if action.is_fresh else LONG_AGO

    def state(name: str) -> Json:
        is_culprit = action.phase == "Failed" and name == action.container
        return {"terminated": {"exitCode": action.code if is_culprit else 0, "finishedAt": now}}

    conditions = [{"type": action.condition, "status": "True"}] if action.condition else []
    return {"phase": action.phase, "conditions": conditions, **_containers(pod, state)}
