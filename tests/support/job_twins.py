"""Two identical control planes: kube-controller-manager's Job controller runs on the one, ours in its place on the other.

Ours is held while a step is carried out, and sees all of it at once. kube-controller-manager sees it so by itself: it
waits a second after a Pod's event.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any, Self

import attrs
import pytest
from job_normal_form import Difference, differences
from job_seats import Seat
from job_traces import Trace
from job_watch import Recorder

import reconcile_job
from reconcile import App, Client, Context, Request, Result, RunOptions, connect, load_config
from reconcile.instrumentation.hooks import Fact, Reconciled
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

RELEASE = "1.37.2"
BATCH_SECONDS = 1.0
"""How long kube-controller-manager waits after a Pod's event, and after an error."""

FAILED = ("error", "terminal", "timeout", "panic")


@attrs.define(eq=False)
class Case:
    """A trace, and its namespace on both servers."""

    trace: Trace
    theirs: Seat
    ours: Seat

    @property
    def seats(self) -> tuple[Seat, Seat]:
        return self.theirs, self.ours

    def differences(self) -> list[Difference]:
        """Where the two servers disagree now."""
        return differences(self.theirs.normal(), self.ours.normal())


class Hold:
    """Lets our controllers begin no reconcile while a step is carried out, nor before their caches show all of it.

    Attributes:
        due: by namespace, when a reconcile has asked to be called again.
        failures: by namespace, reconciles that ended in an error, other than that an object had changed.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._running: dict[str, int] = defaultdict(int)
        self.due: dict[str, float | None] = {}
        self.failures: dict[str, list[str]] = defaultdict(list)
        self.seats: dict[str, Seat] = {}

    def __enter__(self) -> None:
        self._open.clear()

    def __exit__(self, *_error: object) -> None:
        self._open.set()

    def is_idle(self, namespace: str) -> bool:
        """Whether nothing of ours is under way there."""
        return not self._running[namespace]

    async def wait(self, request: Request, context: Context) -> None:
        """Wait until nothing is held, and the cache shows what the server has."""
        seat = self.seats.get(request.key.namespace)
        while not self._open.is_set():
            await self._open.wait()
            if seat is not None:
                await eventually(lambda: self._is_shown(seat, context) or not self._open.is_set())

    @staticmethod
    def _is_shown(seat: Seat, context: Context) -> bool:
        for (kind, name), obj in seat.objects.items():
            cached = context.get("batch/v1/Job" if kind == "Job" else "v1/Pod", name)
            shown = 0 if cached is None else int(cached.resource_version)
            if cached is not None and shown < int(obj["metadata"]["resourceVersion"]):
                return False
        return True

    async def call(self, function: Any, request: Request, context: Context, *, is_timed: bool) -> Result | None:
        """The reconcile, once it may begin."""
        await self.wait(request, context)
        namespace = request.key.namespace
        self._running[namespace] += 1
        try:
            result: Result | None = await function(request, context)
        except BaseException:
            if is_timed:
                self.due[namespace] = asyncio.get_running_loop().time() + BATCH_SECONDS
            raise
        finally:
            self._running[namespace] -= 1
        if is_timed:
            wait = None if result is None else result.requeue_after_seconds
            self.due[namespace] = None if wait is None else asyncio.get_running_loop().time() + wait
        return result

    def hear(self, fact: Fact) -> None:
        """Note what went wrong. Not a 409: something changed meanwhile, and the next reconcile goes on from there."""
        if isinstance(fact, Reconciled) and fact.outcome in FAILED and "409" not in fact.error:
            self.failures[fact.key.namespace].append(fact.error)

    def over(self, patch: pytest.MonkeyPatch) -> None:
        """Put it before both reconcilers of the Job controller; what they do stays as it is."""
        hold = self

        class HeldJobReconciler(reconcile_job.JobReconciler):
            async def __call__(self, request: Request, context: Context, /) -> Result | None:
                return await hold.call(super().__call__, request, context, is_timed=True)

        class HeldUnownedPodReconciler(reconcile_job.UnownedPodReconciler):
            async def __call__(self, request: Request, context: Context, /) -> None:
                await hold.call(super().__call__, request, context, is_timed=False)

        patch.setattr(reconcile_job, "JobReconciler", HeldJobReconciler)
        patch.setattr(reconcile_job, "UnownedPodReconciler", HeldUnownedPodReconciler)


class Twins:
    """Both control planes with their controllers, and one recorder on each."""

    def __init__(self) -> None:
        # ``theirs`` has no more than the Job controller: no garbage collection, so that Pods of deleted Jobs are seen.
        self._theirs = ControlPlane(ControlPlaneConfig(release=RELEASE, controllers="job-controller"))
        self._ours = ControlPlane(ControlPlaneConfig(release=RELEASE))
        self._stack = AsyncExitStack()
        self._clients: list[Client] = []
        self._recorders: list[Recorder] = []
        self._count = 0
        self.hold = Hold()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for plane in (self._theirs, self._ours):
                await stack.enter_async_context(plane)
                self._clients.append(await stack.enter_async_context(connect(load_config(plane.admin_kubeconfig))))
                self._recorders.append(await stack.enter_async_context(Recorder(plane)))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            self.hold.over(patch)
            app = App("job")
            app.hook(self.hold.hear)
            parser = argparse.ArgumentParser()
            reconcile_job.add_arguments(parser)
            reconcile_job.setup(app, parser.parse_args(["--replace"]))
            options = RunOptions(kubeconfig=self._ours.admin_kubeconfig)
            await stack.enter_async_context(app.running(options=options))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    async def case(self, trace: Trace) -> Case:
        """A namespace on both servers for the trace; its Job is not created yet."""
        self._count += 1
        namespace = f"case-{self._count}"
        await asyncio.gather(*(plane.create_namespace(namespace) for plane in (self._theirs, self._ours)))
        seats = [self._seat(client, recorder, namespace) for client, recorder in self._connections()]
        self.hold.seats[namespace] = seats[1]
        return Case(trace, *seats)

    def _connections(self) -> list[tuple[Client, Recorder]]:
        return list(zip(self._clients, self._recorders, strict=True))

    def _seat(self, client: Client, recorder: Recorder, namespace: str) -> Seat:
        seat = Seat(client, namespace)

        def see() -> None:
            latest = seen[-1]
            seat.see(latest.kind, latest.event, latest.object)

        seen = recorder.listen(namespace, see)
        return seat
