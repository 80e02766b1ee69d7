"""The bundled programs under exactly the rights of their manifests: nothing is forbidden, and nothing is granted in vain.

The API server also checks who may set ``blockOwnerDeletion`` (admission plugin OwnerReferencesPermissionEnforcement),
as some distributions do.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from audit import read_audit
from pods import JOB, POD, Cluster, job_manifest
from rights import Use, grant, granted, kubeconfig_of, used
from service_process import Service, service

from reconcile import Kind, Object, connect, controller_of, load_config
from reconcile.testing.envtest import AUDIT_EVERYTHING, ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

MANIFESTS = Path(__file__).resolve().parents[2] / "controllers" / "reconcile_job" / "manifests"
SYSTEM = "reconcile-system"
EVENT = Kind.parse("v1/Event")

UNSEEN: dict[Use, str] = {
    ("update", "jobs/finalizers"): "checked by an admission plugin when a Pod with blockOwnerDeletion is made",
}
"""Rights that no request of the audit log shows, and why they are needed all the same."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[ControlPlane]:
    """A control plane of its own: no Job controller, no TTL controller, and everything audited."""
    from anyio.from_thread import start_blocking_portal

    control_plane = ControlPlane(
        ControlPlaneConfig(
            controllers="*,-job-controller,-ttl-after-finished-controller",
            audit_policy=AUDIT_EVERYTHING,
            apiserver_arguments=("--enable-admission-plugins=OwnerReferencesPermissionEnforcement",),
        )
    )
    with start_blocking_portal() as portal:
        portal.call(control_plane.start)
        portal.call(control_plane.create_namespace, SYSTEM)
        yield control_plane
        portal.call(control_plane.stop)


@asynccontextmanager
async def cluster(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Cluster]:
    await control_plane.create_namespace(namespace)
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        yield Cluster(client, namespace)


async def pods_of(where: Cluster, job: str) -> list[Object]:
    return [pod for pod in await where.list(POD) if (ref := controller_of(pod)) and ref.name == job]


async def has_pods(where: Cluster, job: str, count: int) -> bool:
    return len(await pods_of(where, job)) == count


async def ends(where: Cluster, job: str, condition: str, phase: str = "Succeeded") -> None:
    """End the Job's Pods until the Job has the condition."""

    async def there() -> bool:
        await where.end_pods(f"batch.kubernetes.io/job-name={job}", lambda pod: phase)
        return condition in await where.conditions(job)

    try:
        await eventually(there, why=f"{job} is {condition}", seconds=60)
    except TimeoutError as error:
        raise AssertionError(f"{error}; {await where.status(job)}") from error


async def suspension(where: Cluster, job: str, *, on: bool) -> None:
    """Suspend or resume the Job, and wait until its condition says so."""
    await where.patch(JOB, job, {"spec": {"suspend": on}})

    async def there() -> bool:
        return ("Suspended" in await where.conditions(job)) is on

    await eventually(there)


async def told(where: Cluster, reason: str) -> list[dict[str, Any]]:
    return [one for event in await where.list(EVENT) if (one := event.to_dict())["reason"] == reason]


async def use_everything(where: Cluster) -> None:
    """What a Job controller can be brought to do."""
    await where.create(job_manifest("plain", completions=3, parallelism=2))
    await where.create(job_manifest("indexed", completions=3, parallelism=3, completionMode="Indexed"))
    await where.create(job_manifest("failing", backoffLimit=0))
    await where.create(job_manifest("wavering", parallelism=3, completions=3))
    await where.create(job_manifest("deleted", parallelism=2))
    await where.create(job_manifest("orphaning", parallelism=2))
    for name in ("plain", "indexed"):
        await ends(where, name, "Complete")
    await ends(where, "failing", "Failed", "Failed")
    await eventually(functools.partial(has_pods, where, "wavering", 3))
    await where.patch(JOB, "wavering", {"spec": {"parallelism": 1}})
    await eventually(functools.partial(has_pods, where, "wavering", 1))
    for _ in range(2):  # the second time the Event's count is raised: a patch
        await suspension(where, "wavering", on=True)
        await suspension(where, "wavering", on=False)

    async def is_counted_twice() -> bool:
        return [one["count"] for one in await told(where, "Suspended")] == [2]

    await eventually(is_counted_twice)
    for name in ("deleted", "orphaning"):
        await eventually(functools.partial(has_pods, where, name, 2))
    orphans = {pod.uid for pod in await pods_of(where, "orphaning")}
    await where.delete(JOB, "deleted", propagation="Background")
    await where.delete(JOB, "orphaning", propagation="Orphan")
    await eventually(functools.partial(has_pods, where, "deleted", 0), seconds=60)

    async def orphans_are_free() -> bool:
        left = [pod for pod in await where.list(POD) if pod.uid in orphans]
        return len(left) == 2 and not any(pod.finalizers or controller_of(pod) for pod in left)

    await eventually(orphans_are_free, seconds=60)


async def adopt_and_release(where: Cluster) -> None:
    """A Pod that is there before its Job; later its labels no longer match."""
    labels = {"app": "found"}
    body = job_manifest("adopting", labels=labels)
    await where.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "found", "labels": labels},
            "spec": body["spec"]["template"]["spec"],
        }
    )
    body["spec"] |= {"manualSelector": True, "selector": {"matchLabels": labels}}
    await where.create(body)

    async def is_owned() -> bool:
        pod = await where.get(POD, "found")
        return pod is not None and controller_of(pod) is not None

    await eventually(is_owned)
    await where.patch(POD, "found", {"metadata": {"labels": {"app": "lost"}}})

    async def is_released() -> bool:
        return not await is_owned()

    await eventually(is_released)


def check_rights(control_plane: ControlPlane, manifest: str, user: str) -> None:
    """Nothing was forbidden, and every right was used or has a reason."""
    requests = read_audit(control_plane.audit_log, user=user)
    assert [one for one in requests if one.code in (401, 403)] == []
    assert granted(manifest) - used(requests) == UNSEEN.keys() & granted(manifest)


@pytest.mark.asyncio
async def test_the_manifests_grant_what_is_used_and_nothing_else(guarded: ControlPlane, tmp_path: Path) -> None:
    """Both programs, each under its own account, through everything they do, and the Job controller's lease handed on."""
    texts = {name: (MANIFESTS / f"{name}.yaml").read_text() for name in ("job", "job-ttl")}
    users = {name: grant(guarded, text) for name, text in texts.items()}
    kubeconfigs = {name: kubeconfig_of(guarded, user) for name, user in users.items()}

    def running(name: str) -> Any:
        return service(tmp_path, kubeconfigs[name], "--leader-elect", app=name)

    async def leading(one: Service) -> None:
        await one.logged("^lease .* leads ")

    async with (
        cluster(guarded, "rights") as where,
        running("job") as first,
        running("job-ttl") as ttl,
    ):
        async with asyncio.TaskGroup() as both:
            both.create_task(leading(first))
            both.create_task(leading(ttl))
        await use_everything(where)
        await adopt_and_release(where)
        async with running("job") as second:
            await second.logged("caches synced")
            assert await first.stop() == 0
            await leading(second)
            await where.create(job_manifest("short", ttlSecondsAfterFinished=1))
            await ends(where, "wavering", "Complete")
            await eventually(functools.partial(has_pods, where, "short", 1))
            await where.end_pods("batch.kubernetes.io/job-name=short")

            async def short_is_gone() -> bool:
                return await where.get(JOB, "short") is None and not await pods_of(where, "short")

            await eventually(short_is_gone, seconds=60)
            await unknown_finish(where)
            assert await second.stop() == 0
        assert await ttl.stop() == 0
        sources = {one["source"]["component"] for event in await where.list(EVENT) if (one := event.to_dict())}
        assert {"job-controller", "job-ttl"} <= sources
        plain = guarded.rest.request("GET", "/apis/batch/v1/namespaces/rights/jobs/plain")
        assert "job-controller" in {one["manager"] for one in plain["metadata"]["managedFields"]}
    for name, text in texts.items():
        check_rights(guarded, text, users[name])


async def unknown_finish(where: Cluster) -> None:
    """A Job whose end carries no time: told by one Event, whose count grows when the Job changes."""
    body = job_manifest("timeless", managed_by="example.com/other", ttlSecondsAfterFinished=0)
    await where.create(body)
    conditions = [{"type": kind, "status": "True", "reason": "X"} for kind in ("FailureTarget", "Failed")]
    status = {"startTime": "2026-01-01T00:00:00Z", "conditions": conditions}
    await where.patch(JOB, "timeless", {"status": status}, "status")
    for count in (1, 2):

        async def is_told(count: int = count) -> bool:
            return [one["count"] for one in await told(where, "UnknownFinishTime")] == [count]

        await eventually(is_told)
        await where.patch(JOB, "timeless", {"metadata": {"labels": {"changed": str(count)}}})
    assert await where.get(JOB, "timeless") is not None


@pytest.mark.asyncio
async def test_roles_in_one_namespace_are_enough_for_both_programs(guarded: ControlPlane, tmp_path: Path) -> None:
    """One process, watching one namespace, under what ``reconcile rbac`` prints for it: no right in the whole cluster."""
    names = ["job", "job-ttl"]
    command = [sys.executable, "-m", "reconcile", "rbac", *names, "--namespace=narrow"]
    text = subprocess.run(
        [*command, f"--service-account={SYSTEM}:narrow"], capture_output=True, text=True, check=True
    ).stdout
    assert "ClusterRole" not in text
    async with cluster(guarded, "narrow") as where:
        user = grant(guarded, text)
        kubeconfig = kubeconfig_of(guarded, user)
        async with service(tmp_path, kubeconfig, "--namespace=narrow", app=" ".join(names)) as running:
            await running.logged("caches synced")
            await where.create(job_manifest("work", ttlSecondsAfterFinished=1))
            await eventually(functools.partial(has_pods, where, "work", 1))

            async def is_gone() -> bool:
                await where.end_pods("batch.kubernetes.io/job-name=work")
                return await where.get(JOB, "work") is None

            await eventually(is_gone, seconds=60)
            assert await running.stop() == 0
    requests = read_audit(guarded.audit_log, user=user)
    assert {one.verb for one in requests} >= {"list", "watch", "create", "update", "patch", "delete"}
    assert [one for one in requests if one.code in (401, 403)] == []


@pytest.mark.asyncio
async def test_without_the_right_on_finalizers_no_pod_is_made(guarded: ControlPlane, tmp_path: Path) -> None:
    """The one right that no request shows is needed: where the server checks it, Pods are refused for its lack."""
    text = (MANIFESTS / "job.yaml").read_text().replace("job-controller", "short-of-one")
    assert "jobs/finalizers" in text
    user = grant(guarded, text.replace("jobs/finalizers", "jobs/nothing"))
    async with (
        cluster(guarded, "short-of-one") as where,
        service(tmp_path, kubeconfig_of(guarded, user), app="job") as running,
    ):
        await running.logged("caches synced")
        await where.create(job_manifest("refused"))

        async def is_told() -> bool:
            return any("blockOwnerDeletion" in one["message"] for one in await told(where, "FailedCreate"))

        await eventually(is_told)
        assert not await pods_of(where, "refused")
        assert await running.stop() == 0
