"""A small world of one namespace: Jobs, Pods and a kubelet, and a Context over it that may crash at any write.

It is deliberately dumb: what the API server does with exactly the requests that the Job controller sends. It checks at
each write what must hold then (the invariants' names are those of the specification), and collects what is broken.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from job_history import numbers
from job_status_rules import violations

from reconcile import Counter, Histogram, Measured
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError, Status, UnknownOutcomeError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.owner import controller_of
from reconcile.reconciler import Request
from reconcile_job.plan.claims import job_reference, unowned_under
from reconcile_job.plan.failure_policy import judge
from reconcile_job.plan.options import MANAGED_BY, Options
from reconcile_job.plan.view import JobView, PodView
from reconcile_job.reconciler import JobReconciler

NAMESPACE = "default"
START = datetime(2026, 1, 1, tzinfo=UTC)


def time_text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def error(kind: type, code: int, reason: str, message: str = "") -> Exception:
    return kind("test", Status(code=code, reason=reason, message=message or reason))


class CrashError(BaseException):
    """The process dies here."""


class JobWorld:
    """One Job named ``j`` and its Pods."""

    def __init__(self, spec: dict[str, Any], *, options: Options | None = None, uid: str = "job-uid") -> None:
        self.options = options or Options()
        self.finalizer = self.options.finalizer
        self.now = START
        self.version = 1
        self.uids = 0
        self.writes: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.measurements: list[Measured] = []
        self.broken: list[str] = []
        self.crash: tuple[int, str] | None = None
        self.crashed = False
        self.before_write: Callable[[], None] = lambda: None
        self.refuse: Callable[[str], bool] = lambda _what: False
        self.pods: dict[str, dict[str, Any]] = {}
        self.ghosts: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.counted_succeeded: set[str] = set()
        self.counted_failed: set[str] = set()
        self.deleted: set[str] = set()
        self.ended: dict[str, str] = {}
        template = {
            "metadata": {"labels": {"app": "x", "batch.kubernetes.io/controller-uid": uid}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]},
        }
        self.job: dict[str, Any] | None = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": "j",
                "namespace": NAMESPACE,
                "uid": uid,
                "resourceVersion": "1",
                "creationTimestamp": time_text(START),
                "labels": {"mine": "yes"},
                "annotations": {"note": "kept"},
            },
            "spec": {
                "parallelism": 1,
                "backoffLimit": 6,
                "managedBy": MANAGED_BY,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
                "template": template,
                **spec,
            },
            "status": {},
        }
        self.keeps_counts = True
        """Whether no Pod was stopped before its time: its annotations, and so its index's failures, go with it."""
        self.template = copy.deepcopy(self.job["spec"]["template"])
        self.reconciler = JobReconciler(self.options)
        self.requeue: float | None = None

    # -- running the controller -----------------------------------------------------------------------------------

    def look(self) -> float | None:
        """One reconcile; gives its requeue. A crash loses the controller's memory."""
        # The cache is one deletion behind: see the reconciler's docstring.
        shown, self.ghosts = self.ghosts, {}
        try:
            result = anyio.run(self.reconciler, Request(ObjectKey(NAMESPACE, "j")), WorldContext(self, shown))
        except BaseException as raised:
            if _is_crash(raised):
                self.restart()
                self.requeue = 0.0
                return 0.0
            if isinstance(raised, ApiError | UnknownOutcomeError):
                self.requeue = 1.0
                return 1.0
            raise
        self.requeue = None if result is None else result.requeue_after_seconds
        return self.requeue

    def restart(self) -> None:
        """Another process takes over: the memory is lost."""
        self.reconciler, self.ghosts = JobReconciler(self.options), {}

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def settle(self, kubelet: Callable[[dict[str, Any]], str], *, rounds: int = 300) -> None:
        """Let Pods run to the end that ``kubelet`` says, and the controller look, until the Job is finished and quiet."""
        for _ in range(rounds):
            before, was_behind = len(self.writes), bool(self.ghosts)
            requeue = self.look()
            moved = False
            for pod in list(self.pods.values()):
                moved |= self.step(pod["metadata"]["name"], kubelet)
            if moved or was_behind or len(self.writes) != before:
                continue
            if requeue is not None:
                self.advance(requeue)
                continue
            return
        raise AssertionError(f"not quiet after {rounds} rounds: {self.status}")

    def step(self, name: str, kubelet: Callable[[dict[str, Any]], str]) -> bool:
        """Move one Pod on: to running, or to its end."""
        pod = self.pods[name]
        phase = pod["status"]["phase"]
        if phase == "Pending" and not pod["metadata"].get("deletionTimestamp"):
            self.run_pod(name)
            return True
        wanted = kubelet(pod) if phase in ("Pending", "Running") else ""
        if wanted:
            self.end_pod(name, wanted)
        return bool(wanted)

    # -- the kubelet ----------------------------------------------------------------------------------------------

    def run_pod(self, name: str) -> None:
        pod = self.pods[name]
        pod["spec"]["nodeName"] = "n"
        pod["status"] = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time_text(self.now)}],
            "containerStatuses": [{"name": "main", "restartCount": 0, "state": {"running": {}}}],
        }
        self._touch(pod)

    def end_pod(self, name: str, phase: str, code: int | None = None, conditions: list[Any] | None = None) -> None:
        pod = self.pods[name]
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            return
        code = (0 if phase == "Succeeded" else 1) if code is None else code
        ended = {"terminated": {"exitCode": code, "finishedAt": time_text(self.now)}}
        pod["status"] = {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": [{"name": "main", "restartCount": 0, "state": ended}],
        }
        self.ended[pod["metadata"]["uid"]] = phase
        self._touch(pod)
        self._collect(name)

    # -- the API server -------------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        return (self.job or {}).get("status") or {}

    def conditions(self) -> list[tuple[str, str]]:
        return [
            (item["type"], item["reason"]) for item in self.status.get("conditions") or () if item["status"] == "True"
        ]

    def active(self) -> list[dict[str, Any]]:
        return [
            pod
            for pod in self.pods.values()
            if pod["status"]["phase"] in ("Pending", "Running")
            and not pod["metadata"].get("deletionTimestamp")
            and self._owner(pod) == self.job_uid
        ]

    @property
    def job_uid(self) -> str:
        return self.job["metadata"]["uid"] if self.job else ""

    def edit_job(self, **spec: Any) -> None:
        assert self.job is not None
        self.keeps_counts = False
        self.job["spec"].update(spec)
        self._touch(self.job)

    def add_pod(self, name: str, *, labels: dict[str, str], owner: dict[str, Any] | None = None) -> None:
        self.uids += 1
        self.pods[name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"pod-{self.uids}",
                "labels": labels,
                "creationTimestamp": time_text(self.now),
                **({"ownerReferences": [owner]} if owner else {}),
            },
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Pending"},
        }
        self._touch(self.pods[name])

    def delete_pod(self, name: str) -> None:
        """Somebody deletes it; the kubelet has not ended it yet."""
        pod = self.pods[name]
        pod["metadata"].setdefault("deletionTimestamp", time_text(self.now))
        pod["metadata"].setdefault("deletionGracePeriodSeconds", 0)
        self._touch(pod)
        self._collect(name)

    def _touch(self, obj: dict[str, Any]) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)

    def _collect(self, name: str) -> None:
        pod = self.pods[name]
        has_stopped = pod["status"]["phase"] in ("Succeeded", "Failed") or not pod["spec"].get("nodeName")
        if pod["metadata"].get("deletionTimestamp") and has_stopped and not pod["metadata"].get("finalizers"):
            del self.pods[name]

    def _owner(self, pod: dict[str, Any]) -> str:
        references = pod["metadata"].get("ownerReferences") or ()
        return next((item["uid"] for item in references if item.get("controller")), "")

    def write(self, what: str, change: Callable[[], Any]) -> Any:
        """Do one write, and die or lose the answer where that was asked for."""
        self.before_write()
        number = len(self.writes)
        mode = self.crash[1] if self.crash is not None and self.crash[0] == number else ""
        self.writes.append(what)
        self.crashed |= bool(mode)
        if mode == "before":
            raise CrashError
        if mode == "refused" or self.refuse(what):
            raise error(ApiError, 500, "InternalError", "no")
        result = change()
        if mode == "after":
            raise CrashError
        if mode == "lost":
            raise UnknownOutcomeError(f"{what}: no answer")
        return result

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        name, meta = pod["metadata"]["name"], pod["metadata"]
        if name in self.pods:
            raise error(AlreadyExistsError, 409, "AlreadyExists")
        self.uids += 1
        pod = copy.deepcopy(pod)
        pod["metadata"] |= {"uid": f"pod-{self.uids}", "creationTimestamp": time_text(self.now)}
        pod["status"] = {"phase": "Pending"}
        self._check_create(pod, meta)
        self.pods[name] = pod
        self.created.append(pod)
        self._touch(pod)
        return pod

    def put_status(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self.job is not None
        if body["metadata"]["resourceVersion"] != self.job["metadata"]["resourceVersion"]:
            raise error(ConflictError, 409, "Conflict")
        if {key: body["metadata"].get(key) for key in ("labels", "annotations", "finalizers")} != {
            key: self.job["metadata"].get(key) for key in ("labels", "annotations", "finalizers")
        }:
            self.broken.append("a status write changed metadata")
        self.broken.extend(f"status: {text}" for text in violations(self.job, body["status"]))
        if any(item["type"] in ("Complete", "Failed") for item in self.status.get("conditions") or ()):
            self.broken.append("J7: status written after the terminal condition")
        uncounted = body["status"].get("uncountedTerminatedPods") or {}
        if len(uncounted.get("succeeded", ())) + len(uncounted.get("failed", ())) > 500:
            self.broken.append("J5: more than 500 uncounted")
        if any(item["type"] in ("Complete", "Failed") for item in body["status"].get("conditions") or ()):
            self._count_the_last()
        self.job["status"] = copy.deepcopy(body["status"])
        self._touch(self.job)
        return self.job

    def patch_pod(self, name: str, uid: str, version: str, patch: dict[str, Any]) -> dict[str, Any]:
        pod = self.pods.get(name)
        if pod is None:
            raise error(NotFoundError, 404, "NotFound")
        if pod["metadata"]["uid"] != uid or version not in ("", pod["metadata"]["resourceVersion"]):
            raise error(ConflictError, 409, "Conflict")
        meta, before = pod["metadata"], copy.deepcopy(pod)
        for finalizer in patch["metadata"].get("$deleteFromPrimitiveList/finalizers", ()):
            if finalizer in meta.get("finalizers") or ():
                self._check_untrack(pod)
                meta["finalizers"].remove(finalizer)
        meta["finalizers"] = list(
            dict.fromkeys([*(meta.get("finalizers") or ()), *patch["metadata"].get("finalizers", ())])
        )
        for reference in patch["metadata"].get("ownerReferences", ()):
            others = [item for item in meta.get("ownerReferences") or () if item["uid"] != reference["uid"]]
            meta["ownerReferences"] = others + ([] if reference.get("$patch") == "delete" else [reference])
        self._touch(pod)
        result = copy.deepcopy(pod)
        self._collect(name)
        if name not in self.pods:
            self.ghosts[name] = before
        return result

    def delete(self, name: str, uid: str, version: str) -> None:
        pod = self.pods.get(name)
        if pod is None:
            return
        if pod["metadata"]["uid"] != uid or version not in ("", pod["metadata"]["resourceVersion"]):
            raise error(ConflictError, 409, "Conflict")
        self.deleted.add(uid)
        if self._owner(pod) != self.job_uid:
            self.broken.append("J11: deleted a foreign Pod")
        self.delete_pod(name)

    # -- invariants -----------------------------------------------------------------------------------------------

    def _check_create(self, pod: dict[str, Any], meta: dict[str, Any]) -> None:
        assert self.job is not None
        spec = self.job["spec"]
        active = len(self.active()) + 1
        if spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy"):
            active += sum(
                bool(item["metadata"].get("deletionTimestamp")) and item["status"]["phase"] in ("Pending", "Running")
                for item in self.pods.values()
            )
        if active > spec["parallelism"]:
            self.broken.append(f"J1: {active} active with parallelism {spec['parallelism']}")
        if spec.get("completions") is not None and active + len(self._succeeded()) > spec["completions"]:
            self.broken.append("J2: more work than completions")
        if self.conditions() and self.conditions()[-1][0] in ("Complete", "Failed"):
            self.broken.append("J7: created a Pod after the end")
        if spec.get("suspend"):
            self.broken.append("J10: created a Pod while suspended")
        index = (meta.get("annotations") or {}).get("batch.kubernetes.io/job-completion-index")
        if spec.get("completionMode") == "Indexed":
            if any(
                item["metadata"]["annotations"].get("batch.kubernetes.io/job-completion-index") == index
                for item in self.active()
            ):
                self.broken.append(f"J8: two active Pods of index {index}")
            if (
                pod["spec"].get("hostname") != f"j-{index}"
                or meta["labels"]["batch.kubernetes.io/job-completion-index"] != index
            ):
                self.broken.append("J8: index, label and hostname disagree")
            if spec.get("backoffLimitPerIndex") is not None and self.keeps_counts:
                said = int(meta["annotations"]["batch.kubernetes.io/job-index-failure-count"])
                known = sum(
                    one["metadata"]["uid"] in self.counted_failed
                    and one["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == index
                    for one in self.created
                )
                if said < known:
                    self.broken.append(f"index {index} failed {known} times, the new Pod says {said}")
        if self.finalizer not in meta["finalizers"] or self._owner({"metadata": meta}) != self.job_uid:
            self.broken.append("J14: Pod without finalizer or owner")
        if meta["labels"] | self.template["metadata"]["labels"] != meta["labels"] or spec["template"] != self.template:
            self.broken.append("J14: the template was changed")

    def _succeeded(self) -> set[str]:
        """Uids (Indexed: indexes) that succeeded and are counted, or will be."""
        assert self.job is not None
        failures = (self.status.get("uncountedTerminatedPods") or {}).get("failed", ())
        waiting = {
            pod["metadata"]["uid"]: pod
            for pod in self.pods.values()
            if pod["status"]["phase"] == "Succeeded" and self.finalizer in (pod["metadata"].get("finalizers") or ())
            if pod["metadata"]["uid"] not in failures
        }
        if self.job["spec"].get("completionMode") != "Indexed":
            return self.counted_succeeded | set(waiting)
        return {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            for pod in self.created
            if pod["metadata"]["uid"] in self.counted_succeeded | set(waiting)
            and int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])
            < self.job["spec"]["completions"]
        }

    def _count_the_last(self) -> None:
        """The status that ends the Job counts what has ended and has its finalizer yet: nobody counts them after it."""
        assert self.job is not None
        for pod in self.pods.values():
            meta, phase = pod["metadata"], pod["status"]["phase"]
            uid, index = meta["uid"], (meta.get("annotations") or {}).get("batch.kubernetes.io/job-completion-index")
            if self.finalizer not in (meta.get("finalizers") or ()) or self._owner(pod) != self.job_uid:
                continue
            if uid in self.counted_succeeded | self.counted_failed:
                self.broken.append(f"J3: {meta['name']} is counted twice")
            listed = self.status.get("uncountedTerminatedPods") or {}
            if uid in listed.get("failed", ()):
                self.counted_failed.add(uid)
            elif phase == "Succeeded" and not self._means_nothing(uid, phase, index):
                self.counted_succeeded.add(uid)
            elif phase == "Failed" and self._is_failure(pod, index):
                self.counted_failed.add(uid)

    def _is_failure(self, pod: dict[str, Any], index: str | None) -> bool:
        assert self.job is not None
        view = from_plain(self.job).decode(JobView)
        if view.spec.is_indexed and (index is None or int(index) >= view.completions):
            return False
        if pod["metadata"]["uid"] in self.deleted and "SuccessCriteriaMet" in dict(self.conditions()):
            return False
        return judge(view.spec.pod_failure_policy, from_plain(pod).decode(PodView), NAMESPACE).counts

    @property
    def is_finished(self) -> bool:
        return bool({"Complete", "Failed"} & set(dict(self.conditions())))

    def _check_untrack(self, pod: dict[str, Any]) -> None:
        """J5: a finished Pod's finalizer goes only once the committed status names it, or its end means nothing."""
        uid, phase, name = pod["metadata"]["uid"], pod["status"]["phase"], pod["metadata"]["name"]
        uncounted = self.status.get("uncountedTerminatedPods") or {}
        index = (pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index")
        if self.is_finished:
            return  # counted by the status that ended it
        if uid in self.counted_succeeded | self.counted_failed:
            self.broken.append(f"J3: {name} is counted twice")
        if uid in uncounted.get("failed", ()):
            self.counted_failed.add(uid)
        elif uid in uncounted.get("succeeded", ()):
            self.counted_succeeded.add(uid)
            if phase != "Succeeded":
                self.broken.append(f"J3: {name} is counted as succeeded and is not")
        elif (
            phase == "Succeeded"
            and index is not None
            and int(index) in numbers(self.status.get("completedIndexes", ""))
        ):
            self.counted_succeeded.add(uid)
        elif self.job is not None and phase in ("Succeeded", "Failed") and not self._means_nothing(uid, phase, index):
            self.broken.append(f"J5: {name} {phase} and is in no list")

    def _means_nothing(self, uid: str, phase: str, index: str | None) -> bool:
        assert self.job is not None
        if self.job["spec"].get("completionMode") == "Indexed":
            if index is None or int(index) >= self.job["spec"]["completions"]:
                return True
            if phase == "Succeeded" and int(index) in numbers(self.status.get("failedIndexes") or ""):
                return True
        if phase == "Succeeded":
            return uid in self.deleted and "SuccessCriteriaMet" in dict(self.conditions())
        return bool(
            self.job["spec"].get("podFailurePolicy")
            or "SuccessCriteriaMet" in dict(self.conditions())
            or self.job["metadata"].get("deletionTimestamp")
        )


def _is_crash(raised: BaseException) -> bool:
    if isinstance(raised, BaseExceptionGroup):
        return any(map(_is_crash, raised.exceptions))
    return isinstance(raised, CrashError)


class WorldContext:
    """A Context that reads and writes the world."""

    def __init__(self, world: JobWorld, ghosts: dict[str, dict[str, Any]]) -> None:
        self.world = world
        self.ghosts = ghosts
        self.request = Request(ObjectKey(NAMESPACE, "j"))
        self.log = logging.LoggerAdapter(logging.getLogger("test"), {})

    def now(self) -> datetime:
        return self.world.now

    def report(self, metric: Counter | Histogram, value: float, *labels: str) -> None:
        self.world.measurements.append(Measured(metric, value, labels))

    def _pods(self) -> list[Object]:
        return [from_plain(copy.deepcopy(pod)) for pod in (self.ghosts | self.world.pods).values()]

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Object | None:
        found = self.world.job if kind == "batch/v1/Job" and name == "j" else (self.ghosts | self.world.pods).get(name)
        return None if found is None else from_plain(copy.deepcopy(found))

    def owned(self, kind: str) -> list[Object]:
        return [pod for pod in self._pods() if (ref := controller_of(pod)) and ref.uid == self.world.job_uid]

    def indexed(self, kind: str, index: str, value: str) -> list[Object]:
        if index == "unowned":
            return [pod for pod in self._pods() if value in unowned_under(pod)]
        assert index == "tracked"
        return [
            pod
            for pod in self._pods()
            if self.world.finalizer in pod.finalizers
            and (ref := job_reference(pod))
            and f"{NAMESPACE}/{ref.name}" == value
        ]

    async def read(self, kind: str, name: str, *, namespace: str | None = None) -> Object:
        found = self.get(kind, name)
        if found is None:
            raise error(NotFoundError, 404, "NotFound")
        return found

    async def create(self, obj: Object, *, owned: bool) -> Object:
        await anyio.lowlevel.checkpoint()
        return from_plain(self.world.write(f"create {obj.name}", lambda: self.world.create(obj.to_dict())))

    async def update(self, obj: dict[str, Any], *, subresource: str) -> Object:
        assert subresource == "status"
        await anyio.lowlevel.checkpoint()
        return from_plain(copy.deepcopy(self.world.write("status", lambda: self.world.put_status(obj))))

    async def patch(self, obj: Object, patch: Any, *, resource_version: bool = False) -> Object:
        await anyio.lowlevel.checkpoint()
        version = obj.resource_version if resource_version else ""
        change = self.world.write(
            f"patch {obj.name}", lambda: self.world.patch_pod(obj.name, obj.uid, version, patch.body)
        )
        return from_plain(change)

    async def delete(self, obj: Object, *, resource_version: bool = False) -> None:
        await anyio.lowlevel.checkpoint()
        version = obj.resource_version if resource_version else ""
        self.world.write(f"delete {obj.name}", lambda: self.world.delete(obj.name, obj.uid, version))

    def event(self, reason: str, message: str, *, type: str = "Normal", on: Object | None = None) -> None:
        self.world.events.append((reason, message))
