"""The release before the pinned one: its API server, and a few cases of what the framework and the Job controller do."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pods import POD, Cluster, job_manifest
from service_process import service

from reconcile import App, Context, Object, RunOptions, connect, load_config
from reconcile.testing.envtest import BinariesUnavailableError, ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

RELEASE = "1.36.3"


@pytest.fixture(scope="module")
def second_release() -> Iterator[ControlPlane]:
    """A control plane of that release; its programs are built by ``make pytest`` before the tests."""
    from anyio.from_thread import start_blocking_portal

    control_plane = ControlPlane(ControlPlaneConfig(release=RELEASE))
    with start_blocking_portal() as portal:
        try:
            portal.call(control_plane.start)
        except BinariesUnavailableError as error:
            if os.environ.get("CI", "") in ("true", "1"):
                pytest.fail(f"no control plane of {RELEASE}: {error}", pytrace=False)
            pytest.skip(f"no control plane of {RELEASE}: {error}")
        yield control_plane
        portal.call(control_plane.stop)


@asynccontextmanager
async def cluster(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Cluster]:
    await control_plane.create_namespace(namespace)
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        yield Cluster(client, namespace)


@pytest.mark.asyncio
async def test_an_app_follows_and_writes(second_release: ControlPlane) -> None:
    """List-watch, server-side apply and reading one's own writes."""
    app = App("second")

    @app.controller("v1/ConfigMap", labels="parent", owns=["v1/Secret"])
    async def parent(obj: Object, ctx: Context) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": obj.name}, "stringData": {"of": obj.name}}
        await ctx.apply(body)

    options = RunOptions(kubeconfig=second_release.admin_kubeconfig, namespaces=("apps",))
    async with cluster(second_release, "apps") as where:
        assert (await where.client.version()).git_version == f"v{RELEASE}"
        async with app.running(options=options) as manager:
            config_map = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "one", "labels": {"parent": ""}},
            }
            await where.create(config_map)
            secret = manager.cache.informers[1].store
            await eventually(lambda: [one.name for one in secret.list("apps")] == ["one"])
            assert secret.list("apps")[0].owner_references[0].kind == "ConfigMap"


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
async def test_a_job_runs_to_completion(second_release: ControlPlane, tmp_path: Path, mode: str) -> None:
    """The service on that API server: Pods are made, counted and let go, and the status is accepted."""
    namespace = f"jobs-{mode.lower()}"

    async def complete(where: Cluster) -> bool:
        await where.end_pods("batch.kubernetes.io/job-name=work")
        return "Complete" in await where.conditions("work")

    async with (
        cluster(second_release, namespace) as where,
        service(tmp_path, second_release.admin_kubeconfig, "--namespace", namespace, app="job") as running,
    ):
        await running.logged("caches synced")
        await where.create(job_manifest("work", completions=3, parallelism=2, completionMode=mode))
        await eventually(functools.partial(complete, where))
        assert (await where.status("work"))["succeeded"] == 3
        assert not [pod for pod in await where.list(POD) if pod.finalizers]
        assert await running.stop() == 0
