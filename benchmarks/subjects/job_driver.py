"""The users and the kubelets of a Job benchmark, in one process that costs little: creates Jobs, and runs their Pods.

Each Pod that appears is set to Running and Ready, and then to Succeeded, by two patches of its status such as a kubelet
sends. Everything is asked for in a way that is equally dear for any controller beside it: the Pods are watched as
metadata, by their phase, which no controller does, so that no controller finds its events encoded already.

The requests are written by hand onto a few kept connections: with a general HTTP client this process would take as
much of the machine as the controller that is measured. It says how much it took, and for how long Pods had to wait for
it, so that one can see whether it was the bottleneck.

Reads what to do as JSON on standard input, prints one line of JSON. Standard library and msgspec only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

KUBELET_CONNECTIONS = 16
USER_CONNECTIONS = 8
READ_BYTES_MAX = 64 * 1024 * 1024
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Task(msgspec.Struct):
    """What to do. ``jobs`` Jobs of ``pods`` Pods each, all at once, in ``namespace``."""

    host: str
    port: int
    ca_file: str
    token: str
    namespace: str
    jobs: int
    pods: int
    indexed: bool
    seconds_max: float


class Meta(msgspec.Struct):
    name: str
    labels: dict[str, str] = {}


class Named(msgspec.Struct):
    metadata: Meta


class PodEvent(msgspec.Struct):
    type: str
    object: Named


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str


class Status(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...] = ()


class JobObject(msgspec.Struct):
    metadata: Meta
    status: Status = Status()


class JobEvent(msgspec.Struct):
    type: str
    object: JobObject


class Connection:
    """One kept connection: a request at a time."""

    def __init__(self, task: Task, tls: ssl.SSLContext) -> None:
        self._task = task
        self._tls = tls

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(
            self._task.host, self._task.port, ssl=self._tls, limit=READ_BYTES_MAX
        )

    def send(self, method: str, path: str, body: bytes = b"", content_type: str = "", accept: str = METADATA) -> None:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._task.host}\r\nAuthorization: Bearer {self._task.token}\r\n"
            f"Accept: {accept}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)

    async def head(self) -> tuple[int, int | None]:
        """The status, and the length of the body; None if it comes in chunks."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        status = int(lines[0].split()[1])
        for line in lines:
            if line.startswith("content-length:"):
                return status, int(line.split(":")[1])
        return status, None

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def request(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> bytes:
        self.send(method, path, body, content_type)
        status, length = await self.head()
        if length is not None:
            answer = await self.reader.readexactly(length)
        else:
            answer = b"".join([chunk async for chunk in self.chunks()])
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {answer[:500].decode(errors='replace')}")
        return answer

    async def lines(self, path: str, accept: str) -> AsyncIterator[bytes]:
        """The events of a watch."""
        self.send("GET", path, accept=accept)
        status, _ = await self.head()
        if status >= 300:
            raise SystemExit(f"GET {path}: {status}")
        rest = b""
        async for chunk in self.chunks():
            rest += chunk
            *complete, rest = rest.split(b"\n")
            for line in complete:
                yield line


def job(task: Task, number: int) -> bytes:
    container = {"name": "main", "image": "registry.example.com/work:v1", "command": ["work"]}
    return json.dumps(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"job-{number:05}"},
            "spec": {
                "parallelism": task.pods,
                "completions": task.pods,
                "completionMode": "Indexed" if task.indexed else "NonIndexed",
                "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            },
        }
    ).encode()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def running() -> bytes:
    """What a kubelet says of a Pod that has started."""
    now = _now()
    conditions = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    status: dict[str, Any] = {
        "phase": "Running",
        "startTime": now,
        "hostIP": "10.1.0.1",
        "podIP": "10.2.0.1",
        "podIPs": [{"ip": "10.2.0.1"}],
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": now} for name in conditions],
        "containerStatuses": [container({"running": {"startedAt": now}}, ready=True)],
    }
    return json.dumps({"status": status}).encode()


def succeeded() -> bytes:
    """What a kubelet says of a Pod that has ended well."""
    now = _now()
    gone = {"status": "False", "lastTransitionTime": now, "reason": "PodCompleted"}
    terminated = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    status: dict[str, Any] = {
        "phase": "Succeeded",
        "conditions": [{"type": "Ready", **gone}, {"type": "ContainersReady", **gone}],
        "containerStatuses": [container({"terminated": terminated}, ready=False)],
    }
    return json.dumps({"status": status}).encode()


def container(state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    return {
        "name": "main",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "image": "registry.example.com/work:v1",
        "imageID": "registry.example.com/work@sha256:" + "0" * 64,
        "containerID": "containerd://" + "0" * 64,
        "state": state,
    }


class Driver:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.tls = ssl.create_default_context(cafile=task.ca_file)
        self.pods: asyncio.Queue[tuple[float, str, str, bool]] = asyncio.Queue()
        self.seen: set[str] = set()
        self.ended = 0
        self.waits: list[float] = []
        self.created: dict[str, float] = {}
        self.succeeded: dict[str, float] = {}
        self.complete: dict[str, float] = {}
        self.over = asyncio.Event()
        self.watching = self.rewatched = 0
        self.ready = asyncio.Event()

    async def connection(self) -> Connection:
        connection = Connection(self.task, self.tls)
        await connection.open()
        return connection

    async def run(self) -> None:
        helpers = [asyncio.create_task(work) for work in (self.watch_pods(), self.watch_jobs())]
        helpers += [asyncio.create_task(self.kubelet()) for _ in range(KUBELET_CONNECTIONS)]
        over = asyncio.create_task(self.over.wait())
        users = asyncio.create_task(self.users())
        pending: set[asyncio.Task[Any]] = {*helpers, over, users}
        try:
            async with asyncio.timeout(self.task.seconds_max):
                while not over.done():
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
        except TimeoutError:
            raise SystemExit(
                f"after {self.task.seconds_max:.0f} s only {len(self.complete)} of {self.task.jobs} Jobs are complete; "
                f"{self.ended} Pods have ended"
            ) from None
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def users(self) -> None:
        async with asyncio.timeout(10):
            await self.ready.wait()
        numbers = iter(range(self.task.jobs))
        path = f"/apis/batch/v1/namespaces/{self.task.namespace}/jobs"

        async def create() -> None:
            connection = await self.connection()
            for number in numbers:
                self.created[f"job-{number:05}"] = time.monotonic()
                await connection.request("POST", path, job(self.task, number), "application/json")

        await asyncio.gather(*(create() for _ in range(USER_CONNECTIONS)))

    def is_watching(self) -> None:
        self.watching += 1
        if self.watching >= 2:
            self.ready.set()

    async def watched(self, path: str, accept: str) -> AsyncIterator[bytes]:
        """The events of a watch. Where the server ends it (a reader that it could not serve in time) it begins anew."""
        query = "watch=true&resourceVersion=0&timeoutSeconds=3600"
        while True:
            connection = await self.connection()
            self.is_watching()
            async for line in connection.lines(f"{path}{'&' if '?' in path else '?'}{query}", accept):
                yield line
            connection.writer.close()
            self.rewatched += 1

    async def watch_pods(self) -> None:
        decode = msgspec.json.Decoder(PodEvent).decode
        path = f"/api/v1/namespaces/{self.task.namespace}/pods?fieldSelector=status.phase%3DPending"
        async for line in self.watched(path, METADATA):
            event = decode(line)
            meta = event.object.metadata
            if event.type == "ADDED" and meta.name not in self.seen:
                self.seen.add(meta.name)
                of_job = meta.labels["batch.kubernetes.io/job-name"]
                self.pods.put_nowait((time.monotonic(), meta.name, of_job, False))

    async def watch_jobs(self) -> None:
        decode = msgspec.json.Decoder(JobEvent).decode
        path = f"/apis/batch/v1/namespaces/{self.task.namespace}/jobs"
        async for line in self.watched(path, "application/json"):
            found = decode(line).object
            name = found.metadata.name
            if name in self.complete:
                continue
            ended = {condition.type for condition in found.status.conditions if condition.status == "True"}
            if "Failed" in ended:
                raise SystemExit(f"{name} has failed")
            if "Complete" in ended:
                self.complete[name] = time.monotonic()
                if len(self.complete) == self.task.jobs:
                    self.over.set()

    async def kubelet(self) -> None:
        """One of the connections over which the statuses of Pods are sent, in the order in which they fall due."""
        connection = await self.connection()
        while True:
            due, name, of_job, has_run = await self.pods.get()
            self.waits.append(time.monotonic() - due)
            path = f"/api/v1/namespaces/{self.task.namespace}/pods/{name}/status"
            body = succeeded() if has_run else running()
            await connection.request("PATCH", path, body, "application/strategic-merge-patch+json")
            if has_run:
                self.succeeded[of_job] = time.monotonic()
                self.ended += 1
            else:
                self.pods.put_nowait((time.monotonic(), name, of_job, True))


def part(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)


async def drive(task: Task) -> dict[str, float]:
    driver = Driver(task)
    began, usage = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    await driver.run()
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    lives = [driver.complete[name] - created for name, created in driver.created.items()]
    tails = [driver.complete[name] - ended for name, ended in driver.succeeded.items()]
    wall = max(driver.complete.values()) - min(driver.created.values())
    cpu_seconds = cpu.ru_utime + cpu.ru_stime - usage.ru_utime - usage.ru_stime
    return {
        "pods": driver.ended,
        "wall_seconds": round(wall, 4),
        "complete_p50_seconds": part(lives, 0.5),
        "complete_p99_seconds": part(lives, 0.99),
        "tail_p50_seconds": part(tails, 0.5),
        "tail_p99_seconds": part(tails, 0.99),
        "driver_rewatched": driver.rewatched,
        "driver_cpu_share": round(cpu_seconds / (time.monotonic() - began), 3),
        "driver_wait_p50_seconds": part(driver.waits, 0.5),
        "driver_wait_p99_seconds": part(driver.waits, 0.99),
    }


def main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(drive(task))), flush=True)


if __name__ == "__main__":
    main()
