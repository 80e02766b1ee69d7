"""The embedded API server: creates and watch events a second, through memory and over HTTP.

    python benchmarks/bench_embedded.py [--objects N]

Server and client are processes of their own over HTTP, and one process through memory. What is counted is the server's
CPU time, since both share this machine: operations ÷ the seconds of CPU that its process used.

"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import time
from typing import Any

from reconcile.client.transport import HTTPRequest
from reconcile.cluster.api_server.http import HTTPFront, admin_only
from reconcile.cluster.api_server.memory import memory_transport
from reconcile.cluster.api_server.server import APIServer
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.http_server import Address

TOKEN = "bench"  # noqa: S105
WATCHERS = 8
CONNECTIONS = 16
KINDS = {
    "configmaps": b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"o%d"},"data":{"key":"value"}}',
    "pods": (
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"o%d","labels":{"app":"bench"}},'
        b'"spec":{"restartPolicy":"Never","containers":[{"name":"main","image":"local/none"}]}}'
    ),
}


def path_of(plural: str) -> str:
    return f"/api/v1/namespaces/default/{plural}"


async def in_memory(plural: str, count: int) -> tuple[float, float]:
    """Creates a second and events a second, of one CPU."""
    server = APIServer(random=random.random, now=SYSTEM_CLOCK.wall())
    transport = memory_transport(server, SYSTEM_CLOCK)
    body = KINDS[plural]
    started = time.process_time()
    for number in range(count):
        answer = await transport.request(HTTPRequest("POST", path_of(plural), body=body % number))
        assert answer.status == 201, answer.body
    creates = count / (time.process_time() - started)

    async def watch() -> None:
        seen = 0
        request = HTTPRequest("GET", path_of(plural), (("watch", "1"), ("resourceVersion", "1")))
        async with transport.stream(request) as stream:
            async for chunk in stream.chunks():
                seen += chunk.count(b"\n")
                if seen >= min(count, 16_000):
                    return

    started = time.process_time()
    await asyncio.gather(*[watch() for _ in range(WATCHERS)])
    return creates, WATCHERS * min(count, 16_000) / (time.process_time() - started)


def serve(pipe: Any) -> None:
    """The server's process: tells its port, then its CPU seconds whenever asked."""

    async def run() -> None:
        server = APIServer(random=random.random, now=SYSTEM_CLOCK.wall())
        front = HTTPFront(server, SYSTEM_CLOCK, Address("127.0.0.1", 0), admin_only(TOKEN))
        await front.start()
        pipe.send(int(front.url.rpartition(":")[2]))
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, pipe.recv):
            pipe.send(time.process_time())
        await front.stop()

    asyncio.run(run())


async def over_http(plural: str, count: int) -> tuple[float, float]:
    """As ``in_memory``, of the server's CPU."""
    import aiohttp

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    port = ours.recv()

    def used() -> float:
        ours.send(True)
        return ours.recv()

    body = KINDS[plural]
    base = f"http://127.0.0.1:{port}{path_of(plural)}"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        numbers = iter(range(count))

        async def create() -> None:
            for number in numbers:
                async with session.post(base, data=body % number) as answer:
                    assert answer.status == 201, await answer.text()

        before = used()
        await asyncio.gather(*[create() for _ in range(CONNECTIONS)])
        creates = count / (used() - before)

        async def watch() -> None:
            seen = 0
            async with session.get(f"{base}?watch=1&resourceVersion=1") as answer:
                async for chunk in answer.content.iter_any():
                    seen += chunk.count(b"\n")
                    if seen >= min(count, 16_000):
                        return

        before = used()
        await asyncio.gather(*[watch() for _ in range(WATCHERS)])
        events = WATCHERS * min(count, 16_000) / (used() - before)
    ours.send(False)
    process.join()
    return creates, events


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, default=5000)
    options = parser.parse_args()
    print("way     kind        creates/s  events/s   (of one CPU)")
    for plural in KINDS:
        for name, measure in (("memory", in_memory), ("http", over_http)):
            creates, events = asyncio.run(measure(plural, options.objects))
            print(f"{name:7} {plural:10} {creates:10.0f} {events:9.0f}")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
