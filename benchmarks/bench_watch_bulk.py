"""A bulk of watch events: as fast as they can be read, through framing, decoding and the cache into the work queue.

A plain HTTP server in another process (its CPU is not counted) answers the list with nothing and then pushes ADDED and
MODIFIED events of Pods of 3.4 KB with ``managedFields``, each as a chunk of its own as kube-apiserver does, as fast as
the reader takes them. Each Pod has a controller owner, whose key is enqueued.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import report
from peer import go_peer

from reconcile.client.config import ClusterConfig
from reconcile.client.connect import connect
from reconcile.core.enqueue import controller_owner
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Kind, Resource
from reconcile.runtime.informer import Informer
from reconcile.runtime.source import Source
from reconcile.runtime.workqueue import WorkQueue

GOAL_PER_CPU_SECOND = 40_000
PODS = Resource(Kind("", "v1", "Pod"), "pods")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet")
PODS_PER_OWNER = 10
PEER_SECONDS_MAX = 300
BATCH_EVENTS = 64
"""Events the server hands to its socket at a time."""


def pod(number: int) -> bytes:
    """A Pod as the API server sends it; ``@@@@@@@@@@`` stands for its version."""
    owner = f"shop-{number // PODS_PER_OWNER}"
    fields = {f"f:SETTING_{i}": {".": {}, "f:name": {}, "f:value": {}} for i in range(18)}
    value: dict[str, Any] = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{owner}-{number:05}",
            "namespace": f"team-{number // PODS_PER_OWNER % 20}",
            "uid": f"{number:08}-1111-4222-8333-444444444444",
            "resourceVersion": "@@@@@@@@@@",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": owner, "pod-template-hash": f"{number % 997:x}", "tier": "backend"},
            "annotations": {"prometheus.io/scrape": "true"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": owner,
                    "uid": f"{number // PODS_PER_OWNER:08}-5555-4666-8777-888888888888",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [
                {
                    "manager": "kube-controller-manager",
                    "operation": "Update",
                    "apiVersion": "v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"main"}': {"f:env": fields}}}},
                }
            ],
        },
        "spec": {
            "nodeName": f"node-{number % 200}",
            "containers": [
                {
                    "name": "main",
                    "image": f"registry.example.com/shop/{owner}:v1.{number % 17}.0",
                    "env": [{"name": f"SETTING_{i}", "value": f"value-{number}-{i}"} for i in range(18)],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                }
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": name, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for name in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [
                {
                    "name": "main",
                    "ready": True,
                    "restartCount": 0,
                    "image": f"registry.example.com/shop/{owner}:v1.{number % 17}.0",
                    "imageID": f"registry.example.com/shop/{owner}@sha256:{number:064x}",
                    "containerID": f"containerd://{number:064x}",
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                }
            ],
        },
    }
    return json.dumps(value, separators=(",", ":")).encode()


def serve(events: int, objects: int, port: Connection) -> None:
    """The server: an empty list, then the events."""
    pods = [pod(number) for number in range(objects)]
    print(f"{len(pods[0])} bytes a Pod", file=sys.stderr)

    async def push(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, events, BATCH_EVENTS):
            parts = []
            for number in range(start, min(start + BATCH_EVENTS, events)):
                kind = b"ADDED" if number < objects else b"MODIFIED"
                body = pods[number % objects].replace(b"@@@@@@@@@@", b"%010d" % (1_000_000_001 + number), 1)
                line = b'{"type":"%b","object":%b}\n' % (kind, body)
                parts.append(b"%x\r\n%b\r\n" % (len(line), line))
            writer.write(b"".join(parts))
            await writer.drain()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the reader has all, and goes
            await converse(reader, writer)
        writer.close()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if b"watch=true" in await reader.readuntil(b"\r\n\r\n"):
                await push(writer)
            else:
                body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1000000000"},"items":[]}'
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
                await writer.drain()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def resident_mb() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def take(port: int, events: int) -> dict[str, float]:
    """One reader: from the first request until the last event's version has been seen."""
    async with connect(ClusterConfig(server=f"http://127.0.0.1:{port}")) as client, anyio.create_task_group() as group:
        informer = Informer(client, PODS)
        queue: WorkQueue[ObjectKey] = WorkQueue("bench")
        Source(informer, controller_owner(REPLICA_SET), queue).start()
        last = 1_000_000_000 + events
        seen = anyio.Event()
        informer.on_progress(lambda: seen.set() if informer.version_of("", {}) == last else None)
        memory, wall, cpu = resident_mb(), time.monotonic(), time.process_time()
        group.start_soon(informer.run)
        await seen.wait()
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        figures = {
            "events_per_cpu_second": round(events / cpu),
            "events_per_second": round(events / wall),
            "cpu_microseconds_per_event": round(cpu / events * 1e6, 2),
            "memory_added_mb": round(resident_mb() - memory, 1),
            "objects": len(informer.store),
            "owners_enqueued": queue.statistics().depth,
        }
        group.cancel_scope.cancel()
    return figures


def take_by_client_go(binary: Path, port: int, events: int) -> dict[str, float]:
    """client-go's informer and work queue, in a process of its own. It lists first: the server knows no WatchList."""
    answer = subprocess.run(
        [binary, f"http://127.0.0.1:{port}", str(1_000_000_000 + events)],
        env={**os.environ, "KUBE_FEATURE_WatchListClient": "false"},
        capture_output=True,
        text=True,
        check=True,
        timeout=PEER_SECONDS_MAX,
    )
    figures = json.loads(answer.stdout)
    return {
        "events_per_cpu_second": round(events / figures["cpu_seconds"]),
        "events_per_second": round(events / figures["wall_seconds"]),
        "cpu_microseconds_per_event": round(figures["cpu_seconds"] / events * 1e6, 2),
        "memory_added_mb": round(figures["steady_mb"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uvloop", action="store_true", help="run the reader on uvloop, as the service does")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(options.events, options.objects, theirs), daemon=True
    )
    server.start()
    port = ours.recv()
    factory = None
    if options.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    client_go = go_peer("bulk")
    rounds, peer_rounds = [], []
    for _ in range(options.rounds):
        with asyncio.Runner(loop_factory=factory) as runner:
            rounds.append(runner.run(take(port, options.events)))
        print(rounds[-1], file=sys.stderr)
        if client_go is not None:
            peer_rounds.append(take_by_client_go(client_go, port, options.events))
            print("client-go", peer_rounds[-1], file=sys.stderr)
    server.terminate()
    figures = report.medians(rounds)
    figures["memory_added_mb"] = rounds[0]["memory_added_mb"]  # later rounds reuse what the first one gave back
    figures["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    for name, value in figures.items():
        print(f"{name:28} {value:>12,}")
    verdict = "reached" if figures["events_per_cpu_second"] >= GOAL_PER_CPU_SECOND else "missed"
    print(f"goal {GOAL_PER_CPU_SECOND:,} events per CPU-second: {verdict}")
    if peer_rounds:
        peer = report.medians(peer_rounds)
        ratio = figures["events_per_cpu_second"] / peer["events_per_cpu_second"]
        print(f"client-go {peer['events_per_cpu_second']:,} events per CPU-second: ours are {ratio:.1f} ×")
        figures = {**figures, "client_go": {"version": "0.37.2", **peer, "ratio": round(ratio, 1)}}
    name = "watch_bulk_uvloop" if options.uvloop else "watch_bulk"
    report.write(name, {"events": options.events, "goal_per_cpu_second": GOAL_PER_CPU_SECOND, **figures})


if __name__ == "__main__":
    main()
