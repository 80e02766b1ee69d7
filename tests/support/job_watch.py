"""A Job as somebody else sees it: watches of all Jobs and Pods of a cluster, and waiting for what they show."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
from audit import read_audit
from fault_proxy import drop
from job_history import History, Json, Seen, controller, is_active, is_true, status_of, uncounted
from pods import POD, Cluster, job_manifest

from reconcile import Client
from reconcile.testing.envtest import ControlPlane
from reconcile_job.plan.options import FINALIZER

WAIT_SECONDS_MAX = 120.0
"""One step takes a second or two; a machine with many other loads takes longer, and a wrong controller for ever."""

READ_BUFFER_BYTES = 2**20


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


class WatchedJob(Cluster):
    """One Job in a namespace of its own, and what a recorder saw of it.

    The Job names a controller of the test's own, so that none that other tests run for the whole cluster serves it.
    """

    name = "j"
    finalizer = FINALIZER

    def __init__(
        self,
        client: Client,
        control_plane: ControlPlane,
        namespace: str,
        recorder: Recorder,
        *,
        managed_by: str,
        user: str,
    ) -> None:
        """``user``: as whom the controller writes."""
        super().__init__(client, namespace)
        self.managed_by = managed_by
        self._control_plane = control_plane
        self._user = user
        self._changed = asyncio.Event()
        self._seen = recorder.listen(namespace, self._changed.set)

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
            raise AssertionError(f"never came to {why}; {status_of(self.job)}; {self.describe()}") from None

    def describe(self) -> str:
        """What else a failed wait should tell."""
        return ""

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
        """Wait until the Job is finished, and none of its Pods has the finalizer: that goes last."""

        def is_over() -> bool:
            return is_true(status_of(self.job), "Complete", "Failed") and not any(
                self.finalizer in (pod["metadata"].get("finalizers") or ()) for pod in self.own() if "gone" not in pod
            )

        await self.until(is_over, "an end")

    async def stripped(self) -> None:
        """Wait until no Pod that is the Job's own has the finalizer."""

        def there() -> bool:
            return all(
                "gone" in pod or self.finalizer not in pod["metadata"].get("finalizers", ()) for pod in self.own()
            )

        await self.until(there, "no finalizers")

    async def all_seen(self) -> None:
        """Wait until the watches have shown all that the server has of the Pods."""
        kept = {pod.name: pod.resource_version for pod in await self.list(POD)}
        await self.until(lambda: self._latest_pods() == kept, "all events seen")

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
        """All that was seen, and what the controller wrote in the namespace; of namesakes, the latest is the Job."""
        jobs = [seen.object["metadata"] for seen in self._seen if seen.kind == "Job"]
        *_, uid = (meta["uid"] for meta in jobs if meta["name"] == self.name)
        log: Path = self._control_plane.audit_log
        entries = read_audit(log, user=self._user, namespace=self.namespace)
        written = tuple(one for one in entries if one.is_write and one.resource != "events")
        return History(self.name, uid, self.finalizer, self.managed_by, tuple(self._seen), written)

    async def create_job(self, **spec: Any) -> None:
        """Create it, with a template that a stand-in for kubelet ends."""
        await self.create(job_manifest(self.name, managed_by=self.managed_by, **spec))
