"""One run of a Job on the real API server, in which the controller dies or goes deaf at one chosen write.

The controller runs in this process behind a proxy. Where it is to crash, the proxy cuts it off: nothing it sends from
then on arrives, and no answer reaches it, whatever it does on its way out. Then its task is cancelled, and a new one
starts with an empty memory and new connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp
import attrs
from aiohttp import web
from audit import read_audit
from fault_proxy import FaultProxy, drop
from job_history import History, Json, Seen, controller, is_active, is_true, status_of, uncounted
from pods import POD, Cluster, job_manifest

from reconcile import App, Client, RunOptions, connect
from reconcile.instrumentation.hooks import Fact, Reconciled
from reconcile.testing.envtest import ControlPlane
from reconcile_job import add_arguments, setup
from reconcile_job.plan.options import FINALIZER

Mode = Literal["before", "after", "lost"]
MODES: tuple[Mode, ...] = ("before", "after", "lost")

WAIT_SECONDS_MAX = 120.0
"""One step takes a second or two; a machine with many other loads takes longer, and a wrong controller for ever."""

READ_BUFFER_BYTES = 2**20


@attrs.frozen
class Fault:
    """At the controller's write ``number`` (from 0): it dies before it or after it, or lives and hears no answer."""

    number: int
    mode: Mode


class Recorder:
    """Watches all Jobs and Pods of the cluster, over a connection of its own, and keeps what it sees by namespace."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._seen: dict[str, list[Seen]] = {}
        self._listeners: dict[str, Callable[[], None]] = {}

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=str(self._control_plane.ca_file))
        self._session = aiohttp.ClientSession(
            self._control_plane.url,
            headers={"Authorization": f"Bearer {self._control_plane.admin_token}"},
            connector=aiohttp.TCPConnector(ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=READ_BUFFER_BYTES,
        )
        self._tasks = []
        for kind, path in (("Job", "/apis/batch/v1/jobs"), ("Pod", "/api/v1/pods")):
            async with self._session.get(path, params={"limit": "1"}) as answer:
                version = (await answer.json())["metadata"]["resourceVersion"]
            self._tasks.append(asyncio.create_task(self._watch(kind, path, version)))
        return self

    async def __aexit__(self, *_error: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        await asyncio.sleep(0)  # what was just dropped is closed by the loop's next turn
        for error in ended:
            if not isinstance(error, asyncio.CancelledError):
                raise AssertionError(f"a watch ended early: {error!r}")

    def listen(self, namespace: str, listener: Callable[[], None]) -> list[Seen]:
        """Keep what is seen in the namespace, in the list that is given; call the listener at each event."""
        self._listeners[namespace] = listener
        return self._seen.setdefault(namespace, [])

    async def _watch(self, kind: str, path: str, version: str) -> None:
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "7200"}
        async with self._session.get(path, params=query) as answer:
            try:
                async for line in answer.content:
                    self._take(kind, json.loads(line))
            finally:
                drop(answer)

    def _take(self, kind: str, event: Json) -> None:
        found: Json = event["object"]
        assert event["type"] != "ERROR", found
        namespace = found["metadata"].get("namespace", "")
        if namespace in self._listeners:
            version = int(found["metadata"]["resourceVersion"])
            self._seen[namespace].append(Seen(version, kind, event["type"], found))
            self._listeners[namespace]()


class JobRun(Cluster):
    """A Job, its controller behind a proxy, and a stand-in for kubelet, in a namespace of its own.

    The Job names a controller of its own too, so that none that other tests run for the whole cluster serves it.
    ``start`` the controller; drive the Job with the methods of ``Cluster``, ``end`` and ``until``; ``finish``.
    """

    name = "j"

    def __init__(self, client: Client, control_plane: ControlPlane, namespace: str, recorder: Recorder) -> None:
        super().__init__(client, namespace)
        self.managed_by = f"test.reconcile.dev/{namespace}"
        self.writes: list[str] = []
        self.facts: list[Reconciled] = []
        self.fault: Fault | None = None
        self.has_struck = False
        self._control_plane = control_plane
        self._changed = asyncio.Event()
        self._struck = asyncio.Event()
        self._seen = recorder.listen(namespace, self._changed.set)
        self._user = f"controller-of-{namespace}"
        self._is_cut_off = False
        self._app: asyncio.Task[None] | None = None

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

    # -- what is seen ---------------------------------------------------------------------------------------------

    @property
    def job(self) -> Json | None:
        """The Job as it was last seen."""
        latest = [seen for seen in self._seen if seen.kind == "Job" and seen.object["metadata"]["name"] == self.name]
        return None if not latest or latest[-1].event == "DELETED" else latest[-1].object

    def own(self) -> list[Json]:
        """The Job's own Pods as they were last seen, those that are gone included, in the order of their creation."""
        pods: dict[str, Json] = {}
        gone: set[str] = set()
        uids = {
            seen.object["metadata"]["uid"] for seen in self._seen if seen.kind == "Pod" and self._is_own(seen.object)
        }
        for seen in self._seen:
            uid = seen.object["metadata"]["uid"]
            if seen.kind == "Pod" and uid in uids:
                pods[uid] = seen.object
                if seen.event == "DELETED":
                    gone.add(uid)
        return [pod if uid not in gone else {**pod, "gone": True} for uid, pod in pods.items()]

    def _is_own(self, pod: Json) -> bool:
        jobs = {
            seen.object["metadata"]["uid"]
            for seen in self._seen
            if seen.kind == "Job" and seen.object["metadata"]["name"] == self.name
        }
        return controller(pod) in jobs

    def active(self) -> list[Json]:
        return [pod for pod in self.own() if is_active(pod) and self._is_own(pod) and "gone" not in pod]

    async def until(self, condition: Callable[[], bool], why: str) -> None:
        """Wait until what is seen, or heard from the controller, makes it true."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.fault}: never came to {why}; {status_of(self.job)}; {self.writes}; {self.facts[-3:]}"
            ) from None

    async def counted(self, *, active: int, **fields: Any) -> None:
        """Wait until so many Pods are active, the status says so and says the fields, and no uid waits."""

        def there() -> bool:
            status = status_of(self.job)
            return (
                len(self.active()) == status.get("active", 0) == active
                and all(status.get(name) == value for name, value in fields.items())
                and not uncounted(status, "succeeded")
                and not uncounted(status, "failed")
            )

        await self.until(there, f"active={active} {fields}")

    async def over(self) -> None:
        """Wait until the Job is finished."""
        await self.until(lambda: is_true(status_of(self.job), "Complete", "Failed"), "an end")

    async def stripped(self) -> None:
        """Wait until no Pod that is the Job's own has the finalizer."""

        def there() -> bool:
            return all("gone" in pod or FINALIZER not in pod["metadata"].get("finalizers", ()) for pod in self.own())

        await self.until(there, "no finalizers")

    # -- what is done ---------------------------------------------------------------------------------------------

    async def create_job(self, **spec: Any) -> None:
        await self.create(job_manifest(self.name, managed_by=self.managed_by, **spec))

    async def end(self, pod: Json, wanted: str) -> None:
        """The Pod's container ends, long ago: no backoff remains to be waited for."""
        ended = {"exitCode": 0 if wanted == "Succeeded" else 1, "finishedAt": "2026-01-01T00:00:00Z"}
        container = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": wanted, "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        await self.patch(POD, pod["metadata"]["name"], {"status": status}, "status")

    async def finish(self) -> History:
        """The controller becomes quiet; yet another one finds nothing to do; then the whole history."""
        if self.fault is not None and self.has_struck:
            await self.until(self._is_quiet, "quiet")
        await self.restart()
        await self.until(self._is_quiet, "quiet after one more restart")
        assert self.facts[-1].writes == 0, self.writes
        await self._kill()
        kept = {pod.name: pod.resource_version for pod in await self.list(POD)}
        await self.until(lambda: self._latest_pods() == kept, "all events seen")
        return self.history()

    def _is_quiet(self) -> bool:
        return bool(self.facts) and self.facts[-1].outcome == "success"

    def _latest_pods(self) -> dict[str, str]:
        pods: dict[str, str] = {}
        for seen in self._seen:
            if seen.kind == "Pod":
                meta = seen.object["metadata"]
                pods.pop(meta["name"], None)
                if seen.event != "DELETED":
                    pods[meta["name"]] = meta["resourceVersion"]
        return pods

    def history(self) -> History:
        jobs = [seen.object["metadata"] for seen in self._seen if seen.kind == "Job"]
        [uid] = {meta["uid"] for meta in jobs if meta["name"] == self.name}
        log: Path = self._control_plane.audit_log
        written = tuple(one for one in read_audit(log, user=self._user) if one.is_write and one.resource != "events")
        return History(self.name, uid, FINALIZER, self.managed_by, tuple(self._seen), written)
