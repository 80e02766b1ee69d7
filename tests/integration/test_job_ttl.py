"""``job-ttl`` on the real API server: alone, beside the Job controller, beside the built-in one, and under a CronJob."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from audit import read_audit
from pods import JOB, POD, Cluster, job_manifest
from service_process import Service, service

from reconcile import App, Kind, RunOptions, connect, load_config
from reconcile.core.lease_record import RELEASED_ANNOTATION
from reconcile.instrumentation.hooks import Fact, Reconciled
from reconcile.testing.envtest import AUDIT_EVERYTHING, ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually
from reconcile_job.ttl import app as installed

CRON_JOB = Kind.parse("batch/v1/CronJob")
EVENT = Kind.parse("v1/Event")
LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
TTL = "ttl-after-finished-controller"
SOON = 3
"""Seconds. A condition carries whole ones, so that less could be over before the test looks."""


def controlled(controllers: str) -> Iterator[ControlPlane]:
    """A control plane of its own, with these built-in controllers."""
    from anyio.from_thread import start_blocking_portal

    control_plane = ControlPlane(ControlPlaneConfig(controllers=controllers, audit_policy=AUDIT_EVERYTHING))
    with start_blocking_portal() as portal:
        portal.call(control_plane.start)
        yield control_plane
        portal.call(control_plane.stop)


@pytest.fixture(scope="module")
def others() -> Iterator[ControlPlane]:
    """All built-in controllers but the two that the bundled programs stand for."""
    yield from controlled(f"*,-job-controller,-{TTL}")


@pytest.fixture
def both() -> Iterator[ControlPlane]:
    """The built-in TTL controller, which ``job-ttl`` is not to be run beside."""
    yield from controlled(f"garbage-collector-controller,{TTL}")


@asynccontextmanager
async def cluster(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Cluster]:
    await control_plane.create_namespace(namespace)
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        yield Cluster(client, namespace)


@asynccontextmanager
async def running(where: Cluster) -> AsyncIterator[list[Reconciled]]:
    """``job-ttl`` on the namespace; gives what went wrong. Conflicts are none: what conflicted is looked at again."""
    app, failures = App("job-ttl"), list[Reconciled]()
    for declaration in installed.controllers:
        app.add(declaration)

    def hear(fact: Fact) -> None:
        if isinstance(fact, Reconciled) and fact.outcome not in ("success", "requeue_after", "conflict", "cancelled"):
            failures.append(fact)

    app.hook(hear)
    async with app.running(client=where.client, options=RunOptions(namespaces=(where.namespace,))):
        yield failures


async def finished(where: Cluster, name: str, ttl: int | None, *, ago_seconds: float = 0, **spec: Any) -> None:
    """A Job of nobody's that is Complete since then."""
    limit = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    await where.create(job_manifest(name, managed_by="example.com/nobody", **limit, **spec))
    await finish(where, name, ago_seconds)


async def finish(where: Cluster, name: str, ago_seconds: float = 0) -> None:
    moment = (datetime.now(UTC) - timedelta(seconds=ago_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "reason": "X", "lastTransitionTime": moment}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": moment, "completionTime": moment, "conditions": conditions}
    await where.patch(JOB, name, {"status": status}, "status")


async def jobs(where: Cluster) -> list[str]:
    return sorted(job.name for job in await where.list(JOB))


@pytest.mark.asyncio
async def test_finished_jobs_go_when_their_time_is_over(others: ControlPlane) -> None:
    """At once with 0, in time with more, also those that were finished before the start; others stay."""
    async with cluster(others, "in-time") as where:
        await finished(where, "before", 100, ago_seconds=200)
        async with running(where) as failures:
            await where.create(job_manifest("running", managed_by="example.com/nobody", ttlSecondsAfterFinished=0))
            await finished(where, "forever", None)
            await finished(where, "later", 3600)
            await finished(where, "future", 0, ago_seconds=-3600)
            await finished(where, "at-once", 0)
            await finished(where, "soon", SOON)
            assert "soon" in await jobs(where)

            async def the_rest() -> bool:
                return await jobs(where) == ["forever", "future", "later", "running"]

            await eventually(the_rest)
            assert failures == []


@pytest.mark.asyncio
async def test_the_ttl_may_change_after_the_finish(others: ControlPlane) -> None:
    """Lowered or given late, it holds at once; raised or taken away, the Job stays."""
    async with cluster(others, "changed") as where, running(where) as failures:
        await finished(where, "lowered", 3600)
        await finished(where, "given", None)
        await finished(where, "raised", SOON)
        await finished(where, "taken", SOON)
        await finished(where, "mark", 2 * SOON)
        for name, ttl in {"lowered": 0, "given": 0, "raised": 3600, "taken": None}.items():
            await where.patch(JOB, name, {"spec": {"ttlSecondsAfterFinished": ttl}})

        async def mark_is_gone() -> bool:  # it is due after those that stay would have been
            return await jobs(where) == ["raised", "taken"]

        await eventually(mark_is_gone)
        assert failures == []


@pytest.mark.asyncio
async def test_pods_go_before_their_job(others: ControlPlane) -> None:
    """Foreground: while a Pod is held by somebody's finalizer, the Job stays, on its way out."""
    async with cluster(others, "foreground") as where, running(where) as failures:
        await where.create(job_manifest("owner", managed_by="example.com/nobody", ttlSecondsAfterFinished=0))
        owner = await where.get(JOB, "owner")
        assert owner is not None
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "owner", "uid": owner.uid, "controller": True}
        await where.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "held",
                    "finalizers": ["example.com/hold"],
                    "ownerReferences": [reference | {"blockOwnerDeletion": True}],
                },
                "spec": job_manifest("x")["spec"]["template"]["spec"],
            }
        )
        await finish(where, "owner")

        async def pod_is_deleted() -> bool:
            pod = await where.get(POD, "held")
            return pod is not None and pod.is_deleting

        await eventually(pod_is_deleted)
        leaving = await where.get(JOB, "owner")
        assert leaving is not None
        assert leaving.is_deleting
        assert leaving.finalizers == ("foregroundDeletion",)
        await where.patch(POD, "held", {"metadata": {"finalizers": None}})

        async def all_is_gone() -> bool:
            return not await jobs(where) and not await where.list(POD)

        await eventually(all_is_gone, seconds=60)
        assert failures == []


@pytest.mark.asyncio
async def test_it_does_no_harm_beside_the_built_in_one(both: ControlPlane) -> None:
    """Whoever comes second finds nothing to do: no error, and each Job goes once."""
    async with cluster(both, "both") as where, running(where) as failures:
        names = [f"job-{number}" for number in range(30)]
        for name in names:
            await finished(where, name, SOON)
        await finished(where, "stays", 3600)

        async def the_rest() -> bool:
            return await jobs(where) == ["stays"]

        await eventually(the_rest)
        assert failures == []
    deletes = [
        one for one in read_audit(both.audit_log, namespace="both") if (one.verb, one.resource) == ("delete", "jobs")
    ]
    assert {one.name for one in deletes} == set(names)
    assert {one.code for one in deletes} <= {200, 404, 409}


@pytest.mark.asyncio
async def test_both_programs_in_one_process(others: ControlPlane, tmp_path: Path) -> None:
    """``reconcile run job job-ttl``: one informer of Jobs, one lease, ports and flags that do not collide."""
    flags = ("--replace", "--namespace=together", "--leader-elect", "--leader-elect-namespace=together")
    async with cluster(others, "together") as where:
        # As a leader leaves it that stopped in order, so that nobody waits for it.
        released = {"name": "job-controller-job-ttl", "annotations": {RELEASED_ANNOTATION: "1"}}
        await where.create({**LEASE, "metadata": released, "spec": {"holderIdentity": "", "leaseTransitions": 1}})
        async with service(tmp_path, others.admin_kubeconfig, *flags, app="job job-ttl") as together:
            await run_together(where, together)


async def run_together(where: Cluster, together: Service) -> None:
    synced = await together.logged(r"caches synced \((.*)\)")
    assert synced[1].count("jobs.batch") == 1
    await together.logged("^lease together/job-controller-job-ttl: .* leads ")
    await where.create(job_manifest("work", managed_by=None, ttlSecondsAfterFinished=1))

    async def is_gone() -> bool:
        await where.end_pods("batch.kubernetes.io/job-name=work")
        return not await jobs(where) and not await where.list(POD)

    async def has_pod() -> bool:
        return bool(await where.list(POD))

    await eventually(has_pod)
    await eventually(is_gone, seconds=60)

    async def components() -> set[str]:
        return {event.to_dict()["source"]["component"] for event in await where.list(EVENT)}

    assert await eventually(components) <= {"job-controller", "garbage-collector-controller"}
    assert await together.stop() == 0


@pytest.mark.asyncio
async def test_jobs_of_cron_jobs_run_end_and_go(others: ControlPlane, tmp_path: Path) -> None:
    """The built-in CronJob controller sees ours end: active empties, the success is dated, history and TTL clean up."""

    def cron_job(name: str, **spec: Any) -> dict[str, Any]:
        ttl = spec.pop("ttl", {})
        return {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": name},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {**job_manifest(name)["spec"], **ttl}}, **spec},
        }

    async with (
        cluster(others, "cron") as where,
        service(tmp_path, others.admin_kubeconfig, "--namespace=cron", app="job job-ttl") as together,
    ):
        await together.logged("caches synced")
        # One schedule each, and no more: `suspend` follows as soon as there is a Job.
        await where.create(cron_job("kept"))
        await where.create(cron_job("limited", successfulJobsHistoryLimit=0, failedJobsHistoryLimit=0))
        await where.create(cron_job("timed", ttl={"ttlSecondsAfterFinished": 1}))
        names = ("kept", "limited", "timed")
        missed = (datetime.now(UTC) - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name in names:  # a schedule was missed, and is caught up with at once
            await where.patch(CRON_JOB, name, {"status": {"lastScheduleTime": missed}}, "status")
        seen: set[str] = set()

        async def each_has_run() -> bool:
            for job in await where.list(JOB):
                owner = job.owner_references[0].name
                if owner not in seen:
                    seen.add(owner)
                    await where.patch(CRON_JOB, owner, {"spec": {"suspend": True}})
            return seen == set(names)

        await eventually(each_has_run, seconds=75)

        async def status(name: str) -> dict[str, Any]:
            found = await where.get(CRON_JOB, name)
            return {} if found is None else (found.field("status") or {})

        async def is_over() -> bool:
            await where.end_pods("")
            left = {job.owner_references[0].name for job in await where.list(JOB)}
            if left != {"kept"}:
                return False
            return all(
                not one.get("active") and "lastSuccessfulTime" in one for one in [await status(n) for n in names]
            )

        await eventually(is_over, seconds=60)

        async def is_told_and_let_go() -> bool:
            reasons = {one["reason"] for event in await where.list(EVENT) if (one := event.to_dict())}
            held = [pod for pod in await where.list(POD) if pod.finalizers]
            return {"SuccessfulCreate", "Completed", "SawCompletedJob"} <= reasons and not held

        await eventually(is_told_and_let_go)
        assert await together.stop() == 0
