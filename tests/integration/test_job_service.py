"""``reconcile run job`` as its users run it: with the built-in role's rights alone, beside other controllers."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from audit import read_audit
from pods import JOB, POD, Cluster, job_manifest
from service_process import service

from reconcile import Kind, connect, controller_of, load_config
from reconcile.testing.envtest import AUDIT_EVERYTHING, ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

USER = "job-runner"
ROLE = "system:controller:job-controller"
REPLICA_SET = Kind.parse("apps/v1/ReplicaSet")


@pytest.fixture(scope="module")
def with_controllers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own: kube-controller-manager without its Job controller, and everything audited."""
    from anyio.from_thread import start_blocking_portal

    control_plane = ControlPlane(ControlPlaneConfig(controllers="*,-job-controller", audit_policy=AUDIT_EVERYTHING))
    with start_blocking_portal() as portal:
        portal.call(control_plane.start)
        control_plane.rest.request(
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {
                "metadata": {"name": USER},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
            },
        )
        yield control_plane
        portal.call(control_plane.stop)


@asynccontextmanager
async def cluster(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Cluster]:
    await control_plane.create_namespace(namespace)
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        yield Cluster(client, namespace)


async def is_complete(where: Cluster, job: str, *, ending: Callable[[Any], str] = lambda pod: "Succeeded") -> bool:
    """End the Job's Pods; whether it is Complete."""
    await where.end_pods(f"batch.kubernetes.io/job-name={job}", ending)
    return "Complete" in await where.conditions(job)


@pytest.mark.asyncio
async def test_the_rights_of_the_built_in_role_are_enough(with_controllers: ControlPlane, tmp_path: Path) -> None:
    """Jobs of every sort run to their end, and the server refuses nothing for lack of rights."""
    kubeconfig = with_controllers.kubeconfig(user=USER)
    async with (
        cluster(with_controllers, "rights") as where,
        service(tmp_path, kubeconfig, app="job") as running,
    ):
        await running.logged("caches synced")
        await where.create(job_manifest("plain", completions=3, parallelism=2))
        await where.create(job_manifest("indexed", completions=3, parallelism=3, completionMode="Indexed"))
        await where.create(job_manifest("failing", backoffLimit=0))
        await where.create(job_manifest("asleep", suspend=True))
        await where.create(job_manifest("deleted", parallelism=2))
        for name in ("plain", "indexed"):
            await eventually(functools.partial(is_complete, where, name))

        async def failing_failed() -> bool:
            await where.end_pods("batch.kubernetes.io/job-name=failing", lambda pod: "Failed")
            return "Failed" in await where.conditions("failing")

        await eventually(failing_failed)

        async def asleep_is_suspended() -> bool:
            return "Suspended" in await where.conditions("asleep")

        await eventually(asleep_is_suspended)
        await where.patch(JOB, "asleep", {"spec": {"suspend": False}})
        await eventually(functools.partial(is_complete, where, "asleep"))

        async def has_pods() -> bool:
            return len(await where.list(POD, "batch.kubernetes.io/job-name=deleted")) == 2

        await eventually(has_pods)
        await where.delete(JOB, "deleted", propagation="Background")

        async def pods_are_gone() -> bool:
            return not await where.list(POD, "batch.kubernetes.io/job-name=deleted")

        await eventually(pods_are_gone, seconds=60)
        assert (await where.status("plain"))["succeeded"] == 3
        assert (await where.status("indexed"))["completedIndexes"] == "0-2"

        async def pods_are_let_go() -> bool:  # after the status that ends the Job
            return not any(pod.finalizers for pod in await where.list(POD))

        await eventually(pods_are_let_go)
        assert await running.stop() == 0
    requests = read_audit(with_controllers.audit_log, user=USER)
    assert {entry.verb for entry in requests} >= {"list", "watch", "create", "update", "patch"}
    assert [entry for entry in requests if entry.code in (401, 403)] == []


@pytest.mark.asyncio
async def test_pods_of_replica_sets_and_of_jobs_are_never_mixed_up(
    with_controllers: ControlPlane, tmp_path: Path
) -> None:
    """Overlapping labels: each controller touches its own Pods alone, and both reach what they want."""
    kubeconfig = with_controllers.kubeconfig(user=USER)
    shared = {"app": "both"}
    async with (
        cluster(with_controllers, "mixed") as where,
        service(tmp_path, kubeconfig, app="job") as running,
    ):
        await running.logged("caches synced")
        await where.create(
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {"name": "web"},
                "spec": {
                    "replicas": 3,
                    "selector": {"matchLabels": shared},
                    "template": {
                        "metadata": {"labels": shared},
                        "spec": {"containers": [{"name": "main", "image": "local/none"}]},
                    },
                },
            }
        )

        async def owned(kind: str) -> list[str]:
            pods = await where.list(POD, "app=both")
            return sorted(pod.uid for pod in pods if (ref := controller_of(pod)) is not None and ref.kind == kind)

        async def replicas_are_there() -> bool:
            return len(await owned("ReplicaSet")) == 3

        await eventually(replicas_are_there)
        replicas = await owned("ReplicaSet")
        manual = job_manifest("manual", completions=2, parallelism=2, labels=shared)
        manual["spec"] |= {"manualSelector": True, "selector": {"matchLabels": shared}}
        await where.create(manual)

        async def job_pods_are_there() -> bool:
            return len(await owned("Job")) == 2

        await eventually(job_pods_are_there)
        assert await owned("ReplicaSet") == replicas
        job_pods = set(await owned("Job"))

        async def complete() -> bool:
            await where.end_pods("app=both", lambda pod: "Succeeded" if pod.uid in job_pods else "")
            return "Complete" in await where.conditions("manual")

        await eventually(complete)
        assert await owned("ReplicaSet") == replicas, "the ReplicaSet's Pods were not replaced"
        assert set(await owned("Job")) == job_pods, "the ReplicaSet took none of the Job's Pods"
        assert (await where.status("manual"))["succeeded"] == 2
        assert await running.stop() == 0
    ours = read_audit(with_controllers.audit_log, user=USER, namespace="mixed")
    names = {pod for entry in ours if entry.resource == "pods" and entry.is_write and (pod := entry.name)}
    assert not {name for name in names if name.startswith("web-")}, "we wrote to a ReplicaSet's Pod"


@pytest.mark.asyncio
async def test_jobs_of_others_are_left_alone(with_controllers: ControlPlane, tmp_path: Path) -> None:
    """Without ``--replace`` the Jobs that name no manager, or another, get nothing written by us."""
    kubeconfig = with_controllers.kubeconfig(user=USER)
    async with (
        cluster(with_controllers, "others") as where,
        service(tmp_path, kubeconfig, app="job") as running,
    ):
        await running.logged("caches synced")
        await where.create(job_manifest("built-in", managed_by=None))
        await where.create(job_manifest("foreign", managed_by="example.com/other"))
        await where.create(job_manifest("ours"))
        await eventually(functools.partial(is_complete, where, "ours"))
        assert await running.stop() == 0
        assert not await where.list(POD, "batch.kubernetes.io/job-name in (built-in, foreign)")
    ours = read_audit(with_controllers.audit_log, user=USER, namespace="others")
    assert {entry.name for entry in ours if entry.resource == "jobs" and entry.is_write} == {"ours"}


@pytest.mark.asyncio
async def test_replace_serves_the_jobs_of_the_built_in_controller(
    with_controllers: ControlPlane, tmp_path: Path
) -> None:
    """With ``--replace`` Jobs without a manager run here, tracked by the reserved finalizer."""
    kubeconfig = with_controllers.kubeconfig(user=USER)
    async with (
        cluster(with_controllers, "replaced") as where,
        service(tmp_path, kubeconfig, "--replace", app="job") as running,
    ):
        await running.logged("caches synced")
        await where.create(job_manifest("plain", managed_by=None, completions=2, parallelism=2))

        async def tracked() -> bool:
            pods = await where.list(POD)
            return len(pods) == 2 and all("batch.kubernetes.io/job-tracking" in pod.finalizers for pod in pods)

        await eventually(tracked)
        await eventually(functools.partial(is_complete, where, "plain"))
        assert await running.stop() == 0
