"""The embedded cluster alive: Jobs of the Job controller run as processes of this machine."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded import api_server
from pods import POD, Cluster

from reconcile import App, Client
from reconcile.cluster.api_server.server import APIServer
from reconcile.cluster.embedded import EmbeddedCluster
from reconcile.cluster.node_agent.node import NodeConfig
from reconcile.cluster.node_agent.plan import RestartDelays
from reconcile.testing.waiting import eventually
from reconcile_job import add_arguments, setup


def job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "work", "image": "any", "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}}
    template["spec"] |= spec.pop("pod", {})
    spec = {"managedBy": "reconcile.dev/job-controller", "template": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def pod(name: str, *scripts: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": "any", "command": ["sh", "-c", one]} for n, one in enumerate(scripts)]
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": containers, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@asynccontextmanager
async def live_cluster(server: APIServer | None = None) -> AsyncIterator[Cluster]:
    """A cluster with one node, and a client of it."""
    embedded = EmbeddedCluster(
        server=server or api_server(), nodes=(NodeConfig("node-0", restart_delays=RestartDelays(0.2, 1.0)),)
    )
    async with embedded.running(), embedded.client() as client:
        yield Cluster(client, "default")


@asynccontextmanager
async def job_controller(client: Client) -> AsyncIterator[None]:
    app = App("job-controller", arguments=add_arguments, setup=setup)
    parser = argparse.ArgumentParser()
    app.add_arguments(parser)
    app.configure(parser.parse_args([]))
    async with app.running(client=client):
        yield


async def ended(cluster: Cluster, name: str) -> dict[str, Any]:
    """The status of a Pod that has come to its end."""

    async def status() -> dict[str, Any] | None:
        found = await cluster.get(POD, name)
        said: dict[str, Any] = (found.field("status") or {}) if found is not None else {}
        return said if said.get("phase") in ("Succeeded", "Failed") else None

    found = await eventually(status, why=f"{name} has ended")
    assert found is not None
    return found


async def phase(cluster: Cluster, name: str, wanted: str) -> None:
    """Wait until a Pod is in that phase."""

    async def reached() -> bool:
        found = await cluster.get(POD, name)
        return found is not None and (found.field("status") or {}).get("phase") == wanted

    await eventually(reached, why=f"{name} is {wanted}")


async def gone(cluster: Cluster, name: str) -> bool:
    return await cluster.get(POD, name) is None


@pytest.mark.asyncio
async def test_jobs_run_as_processes() -> None:
    """Indexes reach the processes, exit codes come back, failures are retried, and a deadline ends what would run on."""
    async with live_cluster() as cluster, job_controller(cluster.client):
        await cluster.create(
            job(
                "indexed",
                'exit "$JOB_COMPLETION_INDEX"',
                completions=2,
                completionMode="Indexed",
                backoffLimitPerIndex=0,
            )
        )
        await cluster.create(job("failing", "exit 3", backoffLimit=0))
        await cluster.create(job("late", "sleep 60", activeDeadlineSeconds=1))

        async def all_over() -> bool:
            over = [await cluster.conditions(name) for name in ("indexed", "failing", "late")]
            return all("Failed" in one for one in over)

        await eventually(all_over, why="all three Jobs have failed")
        status = await cluster.status("indexed")
        assert (status["succeeded"], status["failedIndexes"]) == (1, "1")
        assert (await cluster.status("failing"))["failed"] == 1


@pytest.mark.asyncio
async def test_a_pod_is_stopped_politely_and_then_goes() -> None:
    """SIGTERM reaches the process, which has its grace; then the Pod is gone, and so is what the process left."""
    async with live_cluster() as cluster:
        deaf = "trap '' TERM; while :; do sleep 0.1; done"
        await cluster.create(pod("p", "trap 'exit 0' TERM; while :; do sleep 0.05; done", deaf, restartPolicy="Always"))
        await phase(cluster, "p", "Running")
        await cluster.delete(POD, "p")
        await eventually(lambda: gone(cluster, "p"), why="the Pod is gone")


@pytest.mark.asyncio
async def test_exits_and_signals_are_written_as_a_kubelet_does() -> None:
    """Exit code, reason and phase; 128 + n for a signal; a command that is not there is a StartError."""
    async with live_cluster() as cluster:
        missing = {"containers": [{"name": "c0", "image": "any", "command": ["/no/such/program"]}]}
        await cluster.create(pod("exits", "exit 0", "exit 3", "kill -9 $$$$"))
        await cluster.create(pod("missing", "", **missing))
        status = await ended(cluster, "exits")
        terminated = [one["state"]["terminated"] for one in status["containerStatuses"]]
        assert [(one["exitCode"], one["reason"]) for one in terminated] == [
            (0, "Completed"),
            (3, "Error"),
            (137, "Error"),
        ]
        assert status["phase"] == "Failed"
        refused = (await ended(cluster, "missing"))["containerStatuses"][0]["state"]["terminated"]
        assert (refused["exitCode"], refused["reason"]) == (128, "StartError")


@pytest.mark.asyncio
async def test_restarts_init_containers_and_sidecars(tmp_path: Path) -> None:
    """The steps in order, the failing one again until it succeeds, the sidecar beside and ended after."""
    log = tmp_path / "log"
    again = f'[ -e "{tmp_path}/once" ] && exit 0; touch "{tmp_path}/once"; exit 1'
    initial = [
        {"name": "init", "image": "any", "command": ["sh", "-c", f"echo init >> {log}"]},
        {
            "name": "side",
            "image": "any",
            "restartPolicy": "Always",
            "command": ["sh", "-c", f"echo side >> {log}; sleep 60"],
        },
    ]
    async with live_cluster() as cluster:
        await cluster.create(
            pod("p", f"echo main >> {log}; {again}", restartPolicy="OnFailure", initContainers=initial)
        )
        status = await ended(cluster, "p")
    main = status["containerStatuses"][0]
    assert (status["phase"], main["restartCount"]) == ("Succeeded", 1)
    assert main["lastState"]["terminated"]["exitCode"] == 1
    words = log.read_text().split()
    assert (words[0], sorted(words[1:])) == ("init", ["main", "main", "side"])
    assert status["initContainerStatuses"][1]["state"]["terminated"]["exitCode"] == 143


@pytest.mark.asyncio
async def test_a_pod_that_fits_nowhere_is_told_so_and_runs_when_there_is_room() -> None:
    """The message is kube-scheduler's; a Pod that ends makes room."""
    large = {"containers": [{"name": "c0", "image": "any", "command": ["sleep", "60"]}]}
    large["containers"][0]["resources"] = {"requests": {"cpu": "6"}}  # type: ignore[index]  a plain value
    async with live_cluster() as cluster:
        await cluster.create(pod("first", "", **large))
        await phase(cluster, "first", "Running")
        await cluster.create(pod("second", "", **large))

        async def refused() -> dict[str, Any] | None:
            found = await cluster.get(POD, "second")
            conditions = ((found.field("status") or {}).get("conditions") or []) if found is not None else []
            return next((one for one in conditions if one["type"] == "PodScheduled" and one["status"] == "False"), None)

        said = await eventually(refused, why="the second Pod is unschedulable")
        assert said is not None
        assert (said["reason"], said["message"]) == (
            "Unschedulable",
            "0/1 nodes are available: 1 Insufficient cpu.",
        )
        await cluster.delete(POD, "first")
        await phase(cluster, "second", "Running")


@pytest.mark.asyncio
async def test_a_new_agent_adopts_nothing() -> None:
    """A Pod whose processes ended with the agent before is failed as lost."""
    server = api_server()
    async with live_cluster(server) as cluster:
        await cluster.create(pod("p", "sleep 60"))
        await phase(cluster, "p", "Running")
    async with live_cluster(server) as cluster:
        terminated = (await ended(cluster, "p"))["containerStatuses"][0]["state"]["terminated"]
        assert (terminated["exitCode"], terminated["reason"]) == (137, "ContainerStatusUnknown")


@pytest.mark.asyncio
async def test_a_gated_pod_waits_until_its_gates_are_gone() -> None:
    """It says so meanwhile, and no node is given to it."""
    async with live_cluster() as cluster:
        await cluster.create(pod("p", "exit 0", schedulingGates=[{"name": "example.com/wait"}]))
        await cluster.create(pod("later", "exit 0"))
        await ended(cluster, "later")
        gated = await cluster.get(POD, "p")
        assert gated is not None
        assert "nodeName" not in gated.field("spec")
        assert [one["reason"] for one in gated.field("status")["conditions"]] == ["SchedulingGated"]
        await cluster.patch(POD, "p", {"spec": {"schedulingGates": []}})
        assert (await ended(cluster, "p"))["phase"] == "Succeeded"
