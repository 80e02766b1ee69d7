"""Jobs handed from kube-controller-manager to ``--replace`` and back: nothing is counted twice, and no Pod is too many."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pods import JOB, POD, Cluster, job_manifest

from reconcile import App, Object, RunOptions, connect, controller_of, load_config
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually
from reconcile_job import add_arguments, setup
from reconcile_job.plan.view import COMPLETION_INDEX as INDEX
from reconcile_job.plan.view import FAILURE_COUNT

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


class Moved(Cluster):
    """One Job that is handed over."""

    name: str

    async def own(self) -> list[Object]:
        return [pod for pod in await self.list(POD) if (ref := controller_of(pod)) and ref.name == self.name]

    async def running(self, count: int) -> list[Object]:
        """Wait until so many Pods are active, and the status says so; by index where they have one."""

        async def there() -> list[Object] | None:
            pods = [pod for pod in await self.own() if (pod.field("status") or {})["phase"] == "Pending"]
            is_said = (await self.status(self.name)).get("active", 0) == count
            return pods if is_said and len(pods) == count else None

        return sorted(await eventually(there, why=f"{count} run"), key=lambda pod: pod.annotations.get(INDEX, ""))

    async def end(self, pod: Object, phase: str) -> None:
        """It ended long ago, so that no backoff remains."""
        ended = {"exitCode": int(phase == "Failed"), "finishedAt": "2026-01-01T00:00:00Z"}
        container = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": phase, "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        await self.patch(POD, pod.name, {"status": status}, "status")

    async def reaches(self, **fields: Any) -> dict[str, Any]:
        """Wait for these fields, with nothing left to count."""

        async def there() -> dict[str, Any] | None:
            status = await self.status(self.name)
            is_there = all(status.get(name) == value for name, value in fields.items())
            return status if is_there and status.get("uncountedTerminatedPods") == {} else None

        return await eventually(there, why=f"{self.name} reaches {fields}")

    async def ends(self, *conditions: str) -> dict[str, Any]:
        """Wait for the end; nobody has left a finalizer."""

        async def there() -> bool:
            return await self.conditions(self.name) == list(conditions)

        await eventually(there, why=f"{self.name} ends {conditions}")

        async def is_let_go() -> bool:
            return not any(pod.finalizers for pod in await self.own())

        await eventually(is_let_go)
        return await self.status(self.name)


@asynccontextmanager
async def moved(control_plane: ControlPlane, name: str, **spec: Any) -> AsyncIterator[Moved]:
    """A new Job that the built-in controller may serve."""
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        job = Moved(client, NAMESPACE)
        job.name = name
        await job.create(job_manifest(name, managed_by=None, **spec))
        yield job


ORDERS = {"to ours": (theirs, ours), "to theirs": (ours, theirs)}


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
async def test_there_and_back(plain: ControlPlane, mode: str) -> None:
    """Two Pods end under each of the three; the last one completes the Job with six successes of six Pods."""
    spec = {"completions": COMPLETIONS, "parallelism": 2, "completionMode": mode}
    async with moved(plain, f"moved-{mode.lower()}", **spec) as job:
        for done, controllers in ((2, theirs), (4, ours), (6, theirs)):
            async with controllers(plain):
                for pod in await job.running(2):
                    await job.end(pod, "Succeeded")
                await job.reaches(succeeded=done)
                if done == COMPLETIONS:
                    status = await job.ends("SuccessCriteriaMet", "Complete")
        assert len(await job.own()) == COMPLETIONS
        assert not status.get("failed")


@pytest.mark.asyncio
@pytest.mark.parametrize("order", ORDERS)
async def test_failures_of_an_index_move_with_it(plain: ControlPlane, order: str) -> None:
    """One failure under each, and one while nobody looks: the limit of the index is reached, and no earlier."""
    first, second = ORDERS[order]
    spec = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 2}
    async with moved(plain, f"indexes-{order.replace(' ', '-')}", **spec) as job:
        async with first(plain):
            zero, _one = await job.running(2)
            await job.end(zero, "Failed")
            await job.reaches(failed=1)
            zero, _one = await job.running(2)
        await job.end(zero, "Failed")
        async with second(plain):
            await job.reaches(failed=2)
            zero, one = await job.running(2)
            assert [pod.annotations[FAILURE_COUNT] for pod in (zero, one)] == ["2", "0"]
            await job.end(zero, "Failed")
            await job.reaches(failed=3, failedIndexes="0")
        async with first(plain):
            await job.end(one, "Succeeded")
            status = await job.ends("FailureTarget", "Failed")
        assert (status["completedIndexes"], status["failedIndexes"], status["failed"]) == ("1", "0", 3)
        assert len(await job.own()) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize("order", ORDERS)
async def test_what_is_being_counted_is_counted_once(plain: ControlPlane, order: str) -> None:
    """The first stops between its writes: one Pod is listed, another is listed and let go already, a third only ended."""
    first, second = ORDERS[order]
    async with moved(plain, f"uncounted-{order.replace(' ', '-')}", completions=4, parallelism=4) as job:
        async with first(plain):
            listed, let_go, ended, last = await job.running(4)
        for pod in (listed, ended):
            await job.end(pod, "Succeeded")
        await job.end(let_go, "Failed")
        lists = {"succeeded": [listed.uid], "failed": [let_go.uid]}
        await job.patch(JOB, job.name, {"status": {"uncountedTerminatedPods": lists}}, "status")
        await job.patch(POD, let_go.name, {"metadata": {"finalizers": None}})
        async with second(plain):
            await job.reaches(succeeded=2, failed=1)
            for pod in await job.running(2):
                await job.end(pod, "Succeeded")
            status = await job.ends("SuccessCriteriaMet", "Complete")
        assert (status["succeeded"], status["failed"]) == (4, 1)
        pods = await job.own()
        assert len(pods) == 5
        assert last.uid in {pod.uid for pod in pods}


@pytest.mark.asyncio
@pytest.mark.parametrize("order", ORDERS)
async def test_a_suspended_job_is_resumed_by_the_other(plain: ControlPlane, order: str) -> None:
    """Suspended under the one, taken over while suspended, resumed under the other and given back."""
    first, second = ORDERS[order]
    async with moved(plain, f"suspended-{order.replace(' ', '-')}", completions=2, parallelism=2) as job:
        async with first(plain):
            done, _other = await job.running(2)
            await job.end(done, "Succeeded")
            await job.reaches(succeeded=1, active=1)
        await job.patch(JOB, job.name, {"spec": {"suspend": True}})
        async with second(plain):
            status = await job.reaches(active=None, startTime=None, succeeded=1)
            assert await job.conditions(job.name) == ["Suspended"]
            assert not status.get("failed")
            await job.patch(JOB, job.name, {"spec": {"suspend": False}})
            [pod] = await job.running(1)
        async with first(plain):
            await job.end(pod, "Succeeded")
            status = await job.ends("SuccessCriteriaMet", "Complete")
        assert (status["succeeded"], status.get("failed", 0)) == (2, 0)
