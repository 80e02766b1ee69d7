"""A running Job handed from kube-controller-manager to ``--replace`` and back: nothing counted twice, no Pod too many."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pods import POD, Cluster, job_manifest

from reconcile import App, Object, RunOptions, connect, controller_of, load_config
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually
from reconcile_job import add_arguments, setup

NAMESPACE = "handover"
COMPLETIONS = 6


@pytest.fixture(scope="module")
def plain() -> Iterator[ControlPlane]:
    """A control plane of its own, whose kube-controller-manager comes and goes."""
    from anyio.from_thread import start_blocking_portal

    control_plane = ControlPlane(ControlPlaneConfig())
    with start_blocking_portal() as portal:
        portal.call(control_plane.start)
        portal.call(control_plane.create_namespace, NAMESPACE)
        yield control_plane
        portal.call(control_plane.stop)


@asynccontextmanager
async def ours(control_plane: ControlPlane) -> AsyncIterator[None]:
    """The Job controller in place of the built-in one."""
    app = App("job", arguments=add_arguments)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    setup(app, parser.parse_args(["--replace"]))
    async with app.running(options=RunOptions(kubeconfig=control_plane.admin_kubeconfig, namespaces=(NAMESPACE,))):
        yield


@asynccontextmanager
async def theirs(control_plane: ControlPlane) -> AsyncIterator[None]:
    """The built-in Job controller."""
    await control_plane.add_controller_manager("job-controller")
    try:
        yield
    finally:
        await control_plane.stop_controller_manager()


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
async def test_there_and_back(plain: ControlPlane, mode: str) -> None:
    """Two Pods end under each of the three; the last one completes the Job with six successes of six Pods."""
    name = f"moved-{mode.lower()}"
    async with connect(load_config(plain.admin_kubeconfig)) as client:
        where = Cluster(client, NAMESPACE)
        await where.create(
            job_manifest(name, managed_by=None, completions=COMPLETIONS, parallelism=2, completionMode=mode)
        )

        async def own() -> list[Object]:
            return [pod for pod in await where.list(POD) if (ref := controller_of(pod)) and ref.name == name]

        async def end_two(total: int) -> None:
            async def two_run() -> bool:
                status = await where.status(name)
                active = [pod for pod in await own() if (pod.field("status") or {})["phase"] == "Pending"]
                return len(active) == 2 and status.get("active") == 2

            async def counted() -> bool:
                status = await where.status(name)
                return status.get("succeeded") == total and status["uncountedTerminatedPods"] == {}

            await eventually(two_run)
            await where.end_pods(f"batch.kubernetes.io/job-name={name}")
            await eventually(counted)

        async with theirs(plain):
            await end_two(2)
        async with ours(plain):
            await end_two(4)
        async with theirs(plain):
            await end_two(6)

            async def is_complete() -> bool:
                return "Complete" in await where.conditions(name)

            await eventually(is_complete)
        pods = await own()
        assert len(pods) == COMPLETIONS
        assert [pod.name for pod in pods if pod.finalizers] == []
        assert not (await where.status(name)).get("failed")
