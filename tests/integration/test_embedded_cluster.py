"""The embedded cluster alive: Jobs of the Job controller run as processes of this machine."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from embedded import api_server
from pods import POD, Cluster

from reconcile import App, Client, Kind
from reconcile.cluster.embedded import EmbeddedCluster
from reconcile.cluster.node_agent.node import NodeConfig
from reconcile.cluster.node_agent.plan import RestartDelays
from reconcile.testing.waiting import eventually
from reconcile_job import add_arguments, setup

NODE = Kind.parse("v1/Node")


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
async def live_cluster() -> AsyncIterator[Cluster]:
    """A cluster with one node, and a client of it."""
    embedded = EmbeddedCluster(
        server=api_server(), nodes=(NodeConfig("node-0", restart_delays=RestartDelays(0.2, 1.0)),)
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
