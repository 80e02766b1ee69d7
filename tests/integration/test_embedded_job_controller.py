"""Our framework and the Job controller on the embedded API server, in both its ways in."""

from __future__ import annotations

import argparse
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from embedded import api_server, client_of
from pods import POD, Cluster, job_manifest

from reconcile import App, Client
from reconcile.testing.waiting import eventually
from reconcile_job import add_arguments, setup

WAYS = ["memory", "http"]


@asynccontextmanager
async def job_controller(client: Client):
    app = App("job-controller", arguments=add_arguments, setup=setup)
    parser = argparse.ArgumentParser()
    app.add_arguments(parser)
    app.configure(parser.parse_args([]))
    async with app.running(client=client):
        yield


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_a_job_runs_to_completion(way: str, tmp_path: Path) -> None:
    """The controller makes the Pods, counts them as they end, and completes the Job: as on the real server."""
    async with client_of(api_server(), way, tmp_path) as client, job_controller(client):
        cluster = Cluster(client, "default")
        await cluster.create(job_manifest("j", completions=5, parallelism=2))

        async def complete() -> bool:
            await cluster.end_pods("job-name=j")
            return "Complete" in await cluster.conditions("j")

        await eventually(complete, why="the Job is complete")
        status = await cluster.status("j")
        assert status["succeeded"] == 5
        assert len(await cluster.list(POD, "job-name=j")) == 5
