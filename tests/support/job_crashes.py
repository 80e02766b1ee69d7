"""One run of a Job on the real API server, in which the controller dies or goes deaf at one chosen write.

The controller runs in this process behind a proxy. Where it is to crash, the proxy cuts it off: nothing it sends from
then on arrives, and no answer reaches it, whatever it does on its way out. Then its task is cancelled, and a new one
starts with an empty memory and new connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal, Self

import attrs
from aiohttp import web
from fault_proxy import FaultProxy
from job_history import History, Json
from job_watch import Recorder, WatchedJob
from pods import POD

from reconcile import App, Client, RunOptions, connect
from reconcile.instrumentation.hooks import Fact, Reconciled
from reconcile.testing.envtest import ControlPlane
from reconcile_job import add_arguments, setup

Mode = Literal["before", "after", "lost"]
MODES: tuple[Mode, ...] = ("before", "after", "lost")

LONG_AGO = "2026-01-01T00:00:00Z"
"""When containers end, so that no backoff remains to be waited for."""


@attrs.frozen
class Fault:
    """At the controller's write ``number`` (from 0): it dies before it or after it, or lives and hears no answer."""

    number: int
    mode: Mode


class JobRun(WatchedJob):
    """A Job, its controller behind a proxy, and a stand-in for kubelet, in a namespace of its own.

    ``start`` the controller; drive the Job with the methods of ``Cluster``, ``end`` and ``until``; ``finish``.
    """

    def __init__(self, client: Client, control_plane: ControlPlane, namespace: str, recorder: Recorder) -> None:
        super().__init__(
            client,
            control_plane,
            namespace,
            recorder,
            managed_by=f"test.reconcile.dev/{namespace}",
            user=f"controller-of-{namespace}",
        )
        self.writes: list[str] = []
        self.facts: list[Reconciled] = []
        self.fault: Fault | None = None
        self.has_struck = False
        self._struck = asyncio.Event()
        self._is_cut_off = False
        self._app: asyncio.Task[None] | None = None

    def describe(self) -> str:
        return f"{self.fault}; {self.writes}; {self.facts[-3:]}"

    @contextlib.asynccontextmanager
    async def ready(self, fault: Fault | None) -> AsyncIterator[Self]:
        """With the proxy, and whoever restarts the controller."""
        self.fault = fault
        async with FaultProxy(self._control_plane, user=self._user) as self._proxy:
            self._proxy.refuse, self._proxy.lose_answer = self._refuses, self._loses
            restarter = asyncio.create_task(self._restart_after_a_crash())
            try:
                yield self
            finally:
                restarter.cancel()
                await asyncio.gather(restarter, return_exceptions=True)
                await self._kill()

    # -- the fault ------------------------------------------------------------------------------------------------

    def _refuses(self, request: web.Request) -> bool:
        if self._is_cut_off:
            return True
        if request.method == "GET" or "/events" in request.path:
            return False
        request["number"] = len(self.writes)
        self.writes.append(f"{request.method} {request.path.rpartition(self.namespace)[2]}")
        return self._strikes(request, "before")

    def _loses(self, request: web.Request) -> bool:
        return self._is_cut_off or self._strikes(request, "after") or self._strikes(request, "lost")

    def _strikes(self, request: web.Request, mode: Mode) -> bool:
        if self.fault is None or self.fault != Fault(request.get("number", -1), mode):
            return False
        self.has_struck = True
        self.facts.clear()
        if mode != "lost":
            self._is_cut_off = True
            self._struck.set()
        return True

    async def _restart_after_a_crash(self) -> None:
        await self._struck.wait()
        await self.restart()

    # -- the controller -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """A new controller, that knows nothing."""
        started = asyncio.Event()
        self._app = asyncio.create_task(self._run(started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait((self._app, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._app.done() and not self._is_cut_off:
            await self._app

    async def restart(self) -> None:
        """Drop the controller as it stands, and start another."""
        await self._kill()
        self.facts.clear()
        self._is_cut_off = False
        await self.start()

    async def _kill(self) -> None:
        if self._app is not None:
            self._is_cut_off = True
            self._app.cancel()
            await asyncio.gather(self._app, return_exceptions=True)

    async def _run(self, started: asyncio.Event) -> None:
        app = App("job", arguments=add_arguments, setup=setup)
        app.hook(self._hear)
        parser = argparse.ArgumentParser()
        app.add_arguments(parser)
        app.configure(parser.parse_args([f"--managed-by={self.managed_by}"]))
        async with (
            connect(self._proxy.config) as client,
            app.running(client=client, options=RunOptions(namespaces=(self.namespace,))),
        ):
            started.set()
            await asyncio.Event().wait()

    def _hear(self, fact: Fact) -> None:
        if isinstance(fact, Reconciled) and fact.controller == "job" and fact.key.name == self.name:
            self.facts.append(fact)
            self._changed.set()

    # -- what is done ---------------------------------------------------------------------------------------------

    async def end(
        self, pod: Json, wanted: str, *, code: int = 1, condition: str = "", finished: str = LONG_AGO
    ) -> None:
        """The Pod's container ends, with that code if it fails."""
        ended = {"exitCode": 0 if wanted == "Succeeded" else code, "finishedAt": finished}
        container = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        status: Json = {"phase": wanted, "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        if condition:
            status["conditions"] = [{"type": condition, "status": "True"}]
        await self.patch(POD, pod["metadata"]["name"], {"status": status}, "status")

    async def run_on_a_node(self, pod: Json) -> None:
        """The Pod is given a node and runs, so that its deletion waits for a kubelet."""
        name, target = pod["metadata"]["name"], {"apiVersion": "v1", "kind": "Node", "name": "node"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding"
        await asyncio.to_thread(self._control_plane.rest.request, "POST", path, body)
        await self.patch(POD, name, {"status": {"phase": "Running"}}, "status")

    async def finish(self) -> History:
        """The Pods are let go, the controller becomes quiet, yet another one finds nothing to do: the whole history."""
        await self.stripped()
        if self.fault is not None and self.has_struck:
            await self.until(self._is_quiet, "quiet")
        await self.restart()
        await self.until(self._is_quiet, "quiet after one more restart")
        assert self.facts[-1].writes == 0, self.writes
        await self._kill()
        await self.all_seen()
        return self.history()

    def _is_quiet(self) -> bool:
        return bool(self.facts) and self.facts[-1].outcome == "success"
