"""A stand-in for kubelet: patches the status of Pods, as the administrator, where a test has no node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconcile import Client, Kind, MergePatch, NotFoundError, Object, ObjectKey
from reconcile.client import writes
from reconcile.model.object import from_plain
from reconcile.model.resource import Resource
from reconcile.model.write import Applied, Refused

JOB = Kind.parse("batch/v1/Job")
POD = Kind.parse("v1/Pod")


class Cluster:
    """What the tests of the Job controllers do to a cluster."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def create(self, body: dict[str, Any]) -> Object:
        """Create it in the namespace."""
        obj = from_plain({**body, "metadata": {"namespace": self.namespace, **body["metadata"]}})
        outcome = await self.client.send(writes.create(await self.client.resource(obj.kind), obj))
        assert isinstance(outcome, Applied), outcome
        assert outcome.object is not None
        return outcome.object

    async def get(self, kind: Kind, name: str) -> Object | None:
        try:
            return await self.client.get(await self.client.resource(kind), ObjectKey(self.namespace, name))
        except NotFoundError:
            return None

    async def list(self, kind: Kind, labels: str = "") -> list[Object]:
        page = await self.client.list_page(
            await self.client.resource(kind), namespace=self.namespace, label_selector=labels, limit=0
        )
        return page.decode()[0]

    async def patch(self, kind: Kind, name: str, body: dict[str, Any], subresource: str = "") -> None:
        resource: Resource = await self.client.resource(kind)
        write = writes.patch(resource, ObjectKey(self.namespace, name), MergePatch(body), subresource=subresource)
        outcome = await self.client.send(write)
        assert isinstance(outcome, Applied | Refused), outcome
        if isinstance(outcome, Refused) and not isinstance(outcome.error, NotFoundError):
            raise outcome.error

    async def delete(self, kind: Kind, name: str, **options: Any) -> None:
        resource = await self.client.resource(kind)
        assert isinstance(
            await self.client.send(writes.delete(resource, ObjectKey(self.namespace, name), **options)), Applied
        )

    async def status(self, job: str) -> dict[str, Any]:
        """The Job's status; empty where it is gone."""
        found = await self.get(JOB, job)
        return {} if found is None else (found.field("status") or {})

    async def conditions(self, job: str) -> list[str]:
        """Types of the conditions that are True, in order."""
        return [one["type"] for one in (await self.status(job)).get("conditions", ()) if one["status"] == "True"]

    async def end_pods(self, labels: str, phase: Callable[[Object], str] = lambda pod: "Succeeded") -> int:
        """Give each Pod that has not ended the phase; how many there were. ``""`` leaves a Pod alone."""
        ended = 0
        for pod in await self.list(POD, labels):
            if (pod.field("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            wanted = phase(pod)
            if wanted:
                await self.patch(POD, pod.name, {"status": {"phase": wanted}}, "status")
                ended += 1
        return ended


def job_manifest(name: str, *, managed_by: str | None = "reconcile.dev/job-controller", **spec: Any) -> dict[str, Any]:
    """A Job with one container that a stand-in ends."""
    template = {
        "metadata": {"labels": spec.pop("labels", {})},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "local/none"}]},
    }
    owner = {} if managed_by is None else {"managedBy": managed_by}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **owner, **spec},
    }
