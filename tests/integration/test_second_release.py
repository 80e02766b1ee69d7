"""The release before the pinned one: its API server, and a few cases of what the framework and the Job controller do."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from job_cluster import by_index, indexed, running
from pods import JOB, POD, Cluster, job_manifest
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

    async def let_go(where: Cluster) -> bool:
        return not any(pod.finalizers for pod in await where.list(POD))

    async def complete(where: Cluster) -> bool:
        await where.end_pods("batch.kubernetes.io/job-name=work")
        return "Complete" in await where.conditions("work")

    async with (
        cluster(second_release, namespace) as where,
        service(tmp_path, second_release.admin_kubeconfig, "--namespace", namespace, app="job") as process,
    ):
        await process.logged("caches synced")
        await where.create(job_manifest("work", completions=3, parallelism=2, completionMode=mode))
        await eventually(functools.partial(complete, where))
        assert (await where.status("work"))["succeeded"] == 3

        async def pods_are_let_go() -> bool:  # after the status that ends the Job
            return not any(pod.finalizers for pod in await where.list(POD))

        await eventually(pods_are_let_go)
        assert await process.stop() == 0


@pytest.mark.asyncio
async def test_policies_and_limits_of_indexes(second_release: ControlPlane) -> None:
    """FailIndex and a limit per index end one Job, a success policy the other; every status is accepted."""
    rules = [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]
    await second_release.create_namespace("policies")
    async with running(second_release, "policies") as j:
        await j.create(indexed("fails", 3, backoffLimitPerIndex=1, podFailurePolicy={"rules": rules}))
        await j.create(indexed("enough", 3, successPolicy={"rules": [{"succeededCount": 1}]}))
        pods = by_index(await j.has_active("fails", 3))
        await j.end(pods[0], "Failed", 42)
        await j.end(pods[1], "Failed")
        await j.end(pods[2], "Succeeded")
        [again] = await j.has_active("fails", 1)
        assert again.annotations["batch.kubernetes.io/job-index-failure-count"] == "1"
        await j.end(again, "Succeeded")
        status = await j.ends("fails", "FailureTarget/FailedIndexes", "Failed/FailedIndexes")
        assert (status["completedIndexes"], status["failedIndexes"], status["failed"]) == ("1,2", "0", 2)
        await j.end(by_index(await j.has_active("enough", 3))[1], "Succeeded")
        await j.ends("enough", "SuccessCriteriaMet/SuccessPolicy", "Complete/SuccessPolicy")


@pytest.mark.asyncio
async def test_suspended_resumed_and_past_the_deadline(second_release: ControlPlane) -> None:
    """Suspending clears the start, and the template may change then; the deadline counts from the resume."""
    await second_release.create_namespace("suspended")
    async with running(second_release, "suspended") as j:
        await j.create(job_manifest("work", parallelism=2, completions=2, activeDeadlineSeconds=2))
        await j.has_active("work", 2)
        await j.patch(JOB, "work", {"spec": {"suspend": True}})
        await j.ends("work", "Suspended/JobSuspended")
        await j.reaches("work", active=None, startTime=None, terminating=0)
        template = {"metadata": {"annotations": {"note": "new"}}, "spec": {"nodeSelector": {"disk": "fast"}}}
        await j.patch(JOB, "work", {"spec": {"template": template}})
        await j.patch(JOB, "work", {"spec": {"suspend": False}})
        pods = await j.has_active("work", 2)
        assert all(pod.annotations["note"] == "new" and pod.field("spec")["nodeSelector"] for pod in pods)
        await j.ends("work", "FailureTarget/DeadlineExceeded", "Failed/DeadlineExceeded")


@pytest.mark.asyncio
async def test_a_terminating_pod_is_waited_for_and_an_elastic_job_shrinks(second_release: ControlPlane) -> None:
    """podReplacementPolicy Failed; successes that are taken back."""
    await second_release.create_namespace("replaced")
    async with running(second_release, "replaced") as j:
        await j.create(job_manifest("after", podReplacementPolicy="Failed"))
        [leaving] = await j.has_active("after", 1)
        j.bind(leaving)
        await j.run(leaving)
        await j.delete(POD, leaving.name)
        await j.reaches("after", terminating=1, active=None, failed=None)
        await j.end(leaving, "Failed")
        await j.reaches("after", failed=1, terminating=0, active=1)
        await j.create(indexed("elastic", 3))
        await j.end(by_index(await j.has_active("elastic", 3))[2], "Succeeded")
        await j.reaches("elastic", completedIndexes="2", uncountedTerminatedPods={})
        await j.patch(JOB, "elastic", {"spec": {"completions": 1, "parallelism": 1}})
        await j.reaches("elastic", completedIndexes=None, succeeded=None, active=1)
