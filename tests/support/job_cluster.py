"""A namespace of the real API server in which the Job controller runs, and a stand-in for its kubelet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pods import POD, Cluster, job_manifest

from reconcile import App, Kind, Object, RunOptions, connect, controller_of, load_config
from reconcile.instrumentation.hooks import Fact, Reconciled
from reconcile.testing.envtest import ControlPlane
from reconcile.testing.envtest.rest import Rest
from reconcile.testing.waiting import eventually
from reconcile_job import add_arguments, setup

INDEX = "batch.kubernetes.io/job-completion-index"
EVENT = Kind.parse("v1/Event")


class Jobs(Cluster):
    """A namespace with the Job controller running on it."""

    failures: list[Reconciled]
    rest: Rest

    async def pods(self, job: str) -> list[Object]:
        """The Pods that the Job owns, oldest first."""
        owned = [pod for pod in await self.list(POD) if (ref := controller_of(pod)) and ref.name == job]
        return sorted(owned, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.name))

    async def active(self, job: str) -> list[Object]:
        return [pod for pod in await self.pods(job) if phase(pod) in ("Pending", "Running") and not pod.is_deleting]

    async def has_active(self, job: str, count: int) -> list[Object]:
        """Wait for that many active Pods."""
        return await eventually(lambda: self._active(job, count), why=f"{job} has {count} active Pods")

    async def _active(self, job: str, count: int) -> list[Object] | bool:
        found = await self.active(job)
        return (found or True) if len(found) == count else False

    async def run(self, pod: Object) -> None:
        """The Pod runs and is ready."""
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        await self.patch(POD, pod.name, {"status": {"phase": "Running", "conditions": [ready]}}, "status")

    def bind(self, pod: Object) -> None:
        """The Pod is given a node, so that its deletion waits for a kubelet."""
        target = {"apiVersion": "v1", "kind": "Node", "name": "node"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name, "namespace": self.namespace}}
        self.rest.request(
            "POST", f"/api/v1/namespaces/{self.namespace}/pods/{pod.name}/binding", body | {"target": target}
        )

    async def end(self, pod: Object, wanted: str, code: int | None = None, condition: str = "") -> None:
        """The Pod's container ends with that code."""
        code = (0 if wanted == "Succeeded" else 1) if code is None else code
        ended = {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}
        container = {
            "name": "main",
            "image": "x",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": ended},
        }
        status: dict[str, Any] = {"phase": wanted, "containerStatuses": [container]}
        if condition:
            status["conditions"] = [{"type": condition, "status": "True"}]
        await self.patch(POD, pod.name, {"status": status}, "status")

    async def ends(self, job: str, *reasons: str) -> dict[str, Any]:
        """Wait for these conditions as ``Type/Reason``, in this order; gives the status, whose form is checked."""

        async def there() -> dict[str, Any] | None:
            status = await self.status(job)
            return status if told(status) == list(reasons) else None

        try:
            status = await eventually(there, why=f"{job} ends {reasons}")
        except TimeoutError as error:
            raise AssertionError(f"{error}; {told(await self.status(job))}; {self.failures}") from error
        check_form(status)
        return status

    async def reaches(self, job: str, **fields: Any) -> dict[str, Any]:
        """Wait for these fields of the status."""

        async def there() -> dict[str, Any] | None:
            status = await self.status(job)
            return status if all(status.get(name) == value for name, value in fields.items()) else None

        try:
            return await eventually(there, why=f"{job} reaches {fields}")
        except TimeoutError as error:
            raise AssertionError(f"{error}; {await self.status(job)}; {self.failures}") from error

    async def events(self, job: str) -> list[tuple[str, str]]:
        found = [event.to_dict() for event in await self.list(EVENT)]
        return [(one["reason"], one["message"]) for one in found if one["involvedObject"]["name"] == job]


def phase(pod: Object) -> str:
    return str((pod.field("status") or {}).get("phase"))


def told(status: dict[str, Any]) -> list[str]:
    return [f"{one['type']}/{one['reason']}" for one in status.get("conditions", ()) if one["status"] == "True"]


MESSAGES = {
    "JobSuspended": "Job suspended",
    "JobResumed": "Job resumed",
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
    "MaxFailedIndexesExceeded": "Job has exceeded the specified maximal number of failed indexes",
    "FailedIndexes": "Job has failed indexes",
    "CompletionsReached": "Reached expected number of succeeded pods",
}
"""By reason. Those of policies name a Pod or a rule."""


def check_form(status: dict[str, Any]) -> None:
    """What must hold of every status: exact messages, times, and the end a copy of what announced it."""
    conditions = {one["type"]: one for one in status.get("conditions", ())}
    for one in conditions.values():
        assert one["message"] == MESSAGES.get(one["reason"], one["message"])
        assert one["lastProbeTime"] == one["lastTransitionTime"]
    for announced, end in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")):
        if end in conditions:
            assert list(conditions).index(announced) < list(conditions).index(end)
            for field in ("status", "reason", "message"):
                assert conditions[announced][field] == conditions[end][field]
    assert ("completionTime" in status) == ("Complete" in conditions)
    if "Complete" in conditions:
        assert status.get("startTime", "") <= status["completionTime"] <= conditions["Complete"]["lastTransitionTime"]


def indexed(name: str, count: int, **spec: Any) -> dict[str, Any]:
    return job_manifest(name, completionMode="Indexed", **{"completions": count, "parallelism": count, **spec})


def by_index(pods: list[Object]) -> dict[int, Object]:
    return {int(pod.annotations[INDEX]): pod for pod in pods}


@asynccontextmanager
async def running(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Jobs]:
    """The controller runs on that namespace. Fails if a reconcile ended in an error, but for a conflict."""
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        where = Jobs(client, namespace)
        where.failures, where.rest = [], control_plane.rest
        app = App("job", arguments=add_arguments, setup=setup)

        def hear(fact: Fact) -> None:
            if isinstance(fact, Reconciled) and fact.outcome not in ("success", "requeue_after", "cancelled"):
                where.failures.append(fact)

        app.hook(hear)
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))):
            yield where
        unexpected = [fact for fact in where.failures if "409" not in fact.error]
        assert unexpected == []
