"""Jobs whose Pods really run: the Job controller as its users run it, kube-scheduler, kubelet and containerd.

Each Job has a namespace of its own, which is not deleted: the whole control plane goes at the end of the run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

import attrs
from job_history import Json, phase, status_of
from job_invariants import broken
from job_watch import Recorder, WatchedJob
from node_cluster import local_node
from pods import JOB, POD, job_manifest
from service_process import Service, service

from reconcile import Client, Kind, MergePatch, ObjectKey, connect, load_config
from reconcile.client import writes
from reconcile.model.write import Applied, Write
from reconcile.nodes import LocalNode
from reconcile.nodes.machine.registration import NODES
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

EVENT = Kind.parse("v1/Event")
IMAGE = "busybox:1"
POOL = "example.com/pool"
ROLE = "system:controller:job-controller"
FOR_EVER = "sleep 100000 & wait $!"
"""A script that runs until it is told to stop, and then stops at once if it has a trap for SIGTERM."""

STUBBORN = f'trap "" TERM; while :; do {FOR_EVER}; done'
"""A script that only SIGKILL ends."""

NODE_GRACE_SECONDS = 15
"""After so long without a sign of life a node counts as dead. A kubelet gives one every 10 s."""

JOBS_ON_NODES = ControlPlaneConfig(
    controllers="*,-job-controller",
    controller_manager_arguments=(
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        "--node-monitor-period=1s",
    ),
    scheduler=True,
    audit_policy={
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": ["system:apiserver", "system:kube-scheduler", "admin"]},
            {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts"]},
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None"},
        ],
    },
)
"""What the Job controller writes is audited, and little else."""


class NodeJob(WatchedJob):
    """A Job on real nodes."""

    pool: str

    async def start(
        self,
        script: str,
        *,
        pod: Mapping[str, Any] | None = None,
        container: Mapping[str, Any] | None = None,
        scratch: Path | None = None,
        **spec: Any,
    ) -> None:
        """Create it.

        Args:
            script: what the container ``main`` runs.
            pod: fields of the Pod's spec.
            container: fields of the container.
            scratch: a directory of this machine that all the Job's Pods see as ``/scratch``.
            **spec: fields of the Job's spec.
        """
        manifest = job_manifest(self.name, managed_by=self.managed_by, **spec)
        main: Json = {"name": "main", "image": IMAGE, "command": ["sh", "-c", script], **(container or {})}
        template: Json = {
            "restartPolicy": "Never",
            "nodeSelector": {POOL: self.pool},
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [main],
            **(pod or {}),
        }
        if scratch is not None:
            template["volumes"] = [{"name": "scratch", "hostPath": {"path": str(scratch)}}]
            main["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
        manifest["spec"]["template"]["spec"] = template
        await self.create(manifest)

    def describe(self) -> str:
        """How each Pod stands."""
        return "; ".join(
            f"{pod['metadata']['name']} {'gone ' if 'gone' in pod else ''}{phase(pod)}"
            f" {[one['state'] for one in pod['status'].get('containerStatuses', ())]}"
            for pod in self.own()
        )

    async def runs(self, count: int = 1) -> list[Json]:
        """Wait until so many of its Pods run; they are given in the order of their creation."""
        await self.until(lambda: len(self._running()) == count, f"{count} running Pods")
        return self._running()

    def _running(self) -> list[Json]:
        return [pod for pod in self.active() if phase(pod) == "Running"]

    async def ended(self, pod: Json, wanted: str) -> Json:
        """Wait until the kubelet has reported this end of the Pod; it is given as it was then."""
        uid = pod["metadata"]["uid"]

        def seen() -> list[Json]:
            return [
                one.object
                for one in self._seen
                if one.kind == "Pod" and one.object["metadata"]["uid"] == uid and phase(one.object) == wanted
            ]

        await self.until(lambda: bool(seen()), f"{pod['metadata']['name']} {wanted}")
        return seen()[0]

    async def reaches(self, **fields: Any) -> Json:
        """Wait for these fields of the status; a counter of 0 may be absent."""

        def there() -> bool:
            return all((status_of(self.job).get(name) or None) == (value or None) for name, value in fields.items())

        await self.until(there, f"{fields}")
        return status_of(self.job)

    async def ends(self, *conditions: str, **fields: Any) -> Json:
        """Wait for the end; assert the True conditions, as ``Type/Reason`` in their order, and the fields."""
        await self.over()
        status = status_of(self.job)
        told = [f"{one['type']}/{one['reason']}" for one in status["conditions"] if one["status"] == "True"]
        assert told == list(conditions), status
        for name, value in fields.items():
            assert (status.get(name) or None) == (value or None), (name, status)
        return status

    async def fails(self, reason: str, **fields: Any) -> Json:
        return await self.ends(f"FailureTarget/{reason}", f"Failed/{reason}", **fields)

    async def completes(self, reason: str = "CompletionsReached", **fields: Any) -> Json:
        return await self.ends(f"SuccessCriteriaMet/{reason}", f"Complete/{reason}", **fields)

    async def is_sound(self, *, excused: Sequence[str] = ()) -> None:
        """Assert that no Pod keeps the finalizer and that every invariant holds over the whole history.

        ``excused``: the invariants that do not apply to the case; the caller says why.
        """
        await self.stripped()
        await self.all_seen()
        found = [text for text in broken(self.history()) if text.partition(":")[0] not in excused]
        assert found == [], (self.namespace, found, status_of(self.job))

    async def told(self, *wanted: str) -> None:
        """Wait until the Job has Events of these reasons."""

        async def there() -> bool:
            return set(wanted) <= {reason for reason, _message in await self.events()}

        await eventually(there, why=f"Events {wanted} on the Job in {self.namespace}")

    async def events(self) -> list[tuple[str, str]]:
        """Reason and message of the Events on the Job."""
        found = [event.to_dict() for event in await self.list(EVENT)]
        return [(one["reason"], one["message"]) for one in found if one["involvedObject"]["kind"] == "Job"]

    def log(self, pod: Json) -> str:
        """What the Pod's container wrote."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/log"
        return str(self._control_plane.rest.request("GET", path))

    async def suspend(self, wanted: bool) -> None:
        await self.patch(JOB, self.name, {"spec": {"suspend": wanted}})

    async def deadline_in(self, seconds: int) -> None:
        """Set ``activeDeadlineSeconds`` so that it is due then: only now does the test have the Pods that it wants."""
        elapsed = (datetime.now(UTC) - datetime.fromisoformat(status_of(self.job)["startTime"])).total_seconds()
        await self.patch(JOB, self.name, {"spec": {"activeDeadlineSeconds": ceil(elapsed) + seconds}})

    async def delete_pod(self, pod: Json, **options: Any) -> None:
        await self.delete(POD, pod["metadata"]["name"], **options)


@attrs.frozen
class JobCluster:
    """A cluster with nodes of this test process's own, and a Job controller that serves this process's Jobs.

    Attributes:
        pool: the label of the nodes, so that the Pods of processes that share the control plane do not meet.
        node: the node that is always there.
    """

    control_plane: ControlPlane
    client: Client
    recorder: Recorder
    controller: Service
    pool: str
    user: str
    node: LocalNode

    async def job(self, name: str) -> NodeJob:
        """A Job, not created yet, in a namespace ``<name>-<random>``."""
        namespace = f"{name}-{os.urandom(3).hex()}"
        await self.control_plane.create_namespace(namespace)
        job = NodeJob(
            self.client, self.control_plane, namespace, self.recorder, managed_by=managed_by(self.pool), user=self.user
        )
        job.pool = self.pool
        return job

    async def send(self, write: Write) -> None:
        """As the administrator."""
        outcome = await self.client.send(write)
        assert isinstance(outcome, Applied), outcome

    async def change_node(self, name: str, body: Json, subresource: str = "") -> None:
        await self.send(writes.patch(NODES, ObjectKey("", name), MergePatch(body), subresource=subresource))

    async def evict(self, pod: Json) -> None:
        """Through the API, as a drain does."""
        meta = pod["metadata"]
        await self.send(writes.evict(await self.client.resource(POD), ObjectKey(meta["namespace"], meta["name"])))


@asynccontextmanager
async def ready_node(control_plane: ControlPlane, pool: str) -> AsyncIterator[LocalNode]:
    """A node with the label ``pool``, Ready."""
    name = f"{pool}-{os.urandom(3).hex()}"
    async with await local_node(control_plane, name, labels={POOL: pool}) as node:
        await node.start()
        await node.wait_ready()
        yield node


def managed_by(pool: str) -> str:
    return f"test.reconcile.dev/{pool}"


@asynccontextmanager
async def job_cluster(control_plane: ControlPlane, directory: Path, pool: str) -> AsyncIterator[JobCluster]:
    """A node, and ``reconcile run job`` with the rights of the built-in role alone."""
    user = f"job-controller-of-{pool}"
    control_plane.rest.request(
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {
            "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        },
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(load_config(control_plane.admin_kubeconfig)))
        recorder = await stack.enter_async_context(Recorder(control_plane))
        flags = (f"--managed-by={managed_by(pool)}",)
        kubeconfig = control_plane.kubeconfig(user=user)
        controller = await stack.enter_async_context(service(directory, kubeconfig, *flags, app="job"))
        node = await stack.enter_async_context(ready_node(control_plane, pool))
        await controller.logged("caches synced")
        yield JobCluster(control_plane, client, recorder, controller, pool, user, node)
        assert await controller.stop() == 0
        assert [record for record in controller.records if record["level"] not in ("debug", "info", "warning")] == []


async def at_once(*cases: Callable[[], Awaitable[None]]) -> None:
    """Run the cases beside each other, all of them to their end, and raise what went wrong.

    What takes time is the kubelet, and the backoff of 10 s.
    """
    results = await asyncio.gather(*(case() for case in cases), return_exceptions=True)
    failed = [(case, result) for case, result in zip(cases, results, strict=True) if result is not None]
    for case, error in failed:
        error.add_note(f"in {case.__qualname__}")
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} of {len(cases)} cases", [error for _case, error in failed])
