"""kube-controller-manager and kube-scheduler, unchanged, on the embedded API server: a Deployment's life, end to end.

They are told to write JSON (``--kube-api-content-type``), since the embedded server reads no protobuf.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded import api_server, served
from pods import POD, Cluster

from reconcile import Kind, connect, load_config
from reconcile.client import writes
from reconcile.model.key import ObjectKey
from reconcile.model.object import from_plain
from reconcile.model.patch import MergePatch
from reconcile.model.write import Applied
from reconcile.testing.envtest.binaries import BinariesUnavailableError, provide_binaries
from reconcile.testing.waiting import eventually

CONTROLLERS = "deployment,replicaset,garbage-collector-controller,namespace-controller"
DEPLOYMENT = Kind.parse("apps/v1/Deployment")
REPLICA_SET = Kind.parse("apps/v1/ReplicaSet")
NODE = Kind.parse("v1/Node")
NAMESPACE = Kind.parse("v1/Namespace")


def deployment(image: str = "local/one") -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


@asynccontextmanager
async def programs(kubeconfig: Path, directory: Path) -> AsyncIterator[None]:
    """Both programs, for as long as the body runs."""
    try:
        found = await provide_binaries(["kube-controller-manager", "kube-scheduler"], None)
    except BinariesUnavailableError as error:
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            raise
        pytest.skip(f"no control plane programs: {error}")
    configuration = directory / "scheduler.json"
    connection = {"kubeconfig": str(kubeconfig), "contentType": "application/json", "qps": 1000, "burst": 1000}
    configuration.write_text(
        json.dumps(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "clientConnection": connection,
                "leaderElection": {"leaderElect": False},
            }
        )
    )
    manager = [
        str(found["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={CONTROLLERS}",
        "--kube-api-content-type=application/json",
        "--leader-elect=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
        f"--cert-dir={directory}",
        "--secure-port=0",
    ]
    scheduler = [str(found["kube-scheduler"]), f"--config={configuration}", "--secure-port=0"]
    with (directory / "programs.log").open("wb") as log:
        running = [subprocess.Popen(arguments, stdout=log, stderr=log) for arguments in (manager, scheduler)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


class Rollout(Cluster):
    """A Deployment, and the kubelet that a test plays."""

    async def add_node(self) -> None:
        node = from_plain({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}})
        nodes = await self.client.resource(NODE)
        room = {"cpu": "8", "memory": "8Gi", "pods": "110"}
        ready = {"type": "Ready", "status": "True"}
        status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
        for write in (
            writes.create(nodes, node),
            writes.patch(nodes, ObjectKey("", "node-a"), MergePatch(status), subresource="status"),
            writes.patch(nodes, ObjectKey("", "node-a"), MergePatch({"spec": {"taints": None}})),
        ):
            assert isinstance(await self.client.send(write), Applied)

    async def run_bound_pods(self) -> None:
        """The kubelet's part: what is bound runs, what is to go goes."""
        for pod in await self.list(POD):
            if not (pod.field("spec") or {}).get("nodeName"):
                continue
            if pod.is_deleting:
                await self.delete(POD, pod.name, grace_period_seconds=0)
            elif (pod.field("status") or {}).get("phase") == "Pending":
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                await self.patch(POD, pod.name, {"status": {"phase": "Running", "conditions": [ready]}}, "status")

    async def is_rolled_out(self, image: str) -> bool:
        await self.run_bound_pods()
        pods = await self.list(POD)
        images = [pod.to_dict()["spec"]["containers"][0]["image"] for pod in pods if not pod.is_deleting]
        found = await self.get(DEPLOYMENT, "web")
        status = (found.field("status") or {}) if found is not None else {}
        return images == [image] * 3 and status.get("availableReplicas") == 3 and status.get("updatedReplicas") == 3


@pytest.mark.asyncio
async def test_a_deployment_lives_and_dies(tmp_path: Path) -> None:
    """Made, scheduled, rolled over to a new image, and collected with its ReplicaSets and Pods; then its namespace."""
    async with served(api_server(), tmp_path) as kubeconfig, connect(load_config(kubeconfig)) as client:
        cluster = Rollout(client, "work")
        namespace = from_plain({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "work"}})
        assert isinstance(await client.send(writes.create(await client.resource(NAMESPACE), namespace)), Applied)
        async with programs(kubeconfig, tmp_path):
            await cluster.add_node()
            await cluster.create(deployment())
            await eventually(lambda: cluster.is_rolled_out("local/one"), seconds=60, why="the first roll-out")

            image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "local/two"}]}}}}
            await cluster.patch(DEPLOYMENT, "web", image)
            await eventually(lambda: cluster.is_rolled_out("local/two"), seconds=60, why="the second roll-out")
            assert len(await cluster.list(REPLICA_SET)) == 2

            await cluster.delete(DEPLOYMENT, "web", propagation="Background")

            async def is_collected() -> bool:
                await cluster.run_bound_pods()
                return not await cluster.list(REPLICA_SET) and not await cluster.list(POD)

            await eventually(is_collected, seconds=60, why="ReplicaSets and Pods are collected")
            namespaces = await client.resource(NAMESPACE)
            assert isinstance(await client.send(writes.delete(namespaces, ObjectKey("", "work"))), Applied)

            async def is_gone() -> bool:
                return "work" not in [one.name for one in (await client.list_page(namespaces)).decode()[0]]

            await eventually(is_gone, seconds=60, why="the namespace is gone")
