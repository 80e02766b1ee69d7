"""Initial sync of 10 000 Pods from a real API server into a cache: ours, beside the peers, in one run.

Starts a control plane, fills it, then runs every subject in a process of its own, round after round (A B C, A B C, …),
so that a slow minute of the machine falls on all of them. Keeps the medians and every round in results/sync.json.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeAlias

import report
from peer import PEERS, go_peer, peers_python, say

from reconcile.client import writes
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.model.key import ObjectKey
from reconcile.model.object import from_plain
from reconcile.model.resource import Kind
from reconcile.model.write import Applied
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

HERE = Path(__file__).resolve().parent
NAMESPACES = 20
CREATES_IN_FLIGHT = 32
SUBJECT_SECONDS_MAX = 300
SLOW = {"kopf", "kr8s", "kubernetes_asyncio", "lightkube"}
ROUNDS_SLOW = 3
"""More rounds for what takes half a second, where a neighbour on the machine shows; enough for what takes many."""

Subject: TypeAlias = tuple[str, str, list[str]]
"""Name, title and command."""


def pod(namespace: str, name: str, number: int) -> dict[str, Any]:
    """A Pod of about 3.4 KB as the API server stores it, with what real ones have: labels, env, probes, volumes."""
    app = f"shop-{number % 40}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": app, "pod-template-hash": f"{number % 997:x}", "tier": "backend", "release": "stable"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "checksum/config": hashlib.sha256(name.encode()).hexdigest(),
            },
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "main",
                    "image": f"registry.example.com/shop/{app}:v1.{number % 17}.0",
                    "args": ["serve", "--port=8080", f"--shard={number % 64}"],
                    "env": [{"name": f"SETTING_{i}", "value": f"value-{number}-{i}"} for i in range(12)],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/shop"}],
                }
            ],
            "volumes": [{"name": "config", "configMap": {"name": f"{app}-config"}}],
        },
    }


async def fill(kubeconfig: Path, count: int) -> None:
    """Create the Pods."""
    client = connect(load_config(kubeconfig))
    async with client:
        namespaces = await client.resource(Kind.parse("v1/Namespace"))
        pods = await client.resource(Kind.parse("v1/Pod"))
        for index in range(NAMESPACES):
            name = f"team-{index}"
            value = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            assert isinstance(await client.send(writes.create(namespaces, from_plain(value))), Applied)
        numbers = iter(range(count))

        async def create() -> None:
            for number in numbers:
                value = pod(f"team-{number % NAMESPACES}", f"shop-{number:05}", number)
                outcome = await client.send(writes.create(pods, from_plain(value)))
                assert isinstance(outcome, Applied), outcome

        started = time.monotonic()
        await asyncio.gather(*(create() for _ in range(CREATES_IN_FLIGHT)))
        sample = await client.get(pods, ObjectKey("team-0", "shop-00000"))
        say(f"{count} Pods of {len(sample.to_json())} bytes made in {time.monotonic() - started:.0f} s")


def subjects(count: int) -> list[Subject]:
    """Ours first."""
    python = str(peers_python())
    found = [("reconcile", "Reconcile", [sys.executable, str(HERE / "subjects" / "sync_reconcile.py")])]
    go = go_peer("sync")
    if go is not None:
        found.append(("client-go", "client-go informer (Go)", [str(go)]))
        found.append(("client-go-protobuf", "client-go informer (Go), protobuf", [str(go), "-protobuf"]))
    found += [
        ("lightkube", "lightkube", [python, str(PEERS / "sync_lightkube.py")]),
        ("kubernetes_asyncio", "kubernetes_asyncio, typed list", [python, str(PEERS / "sync_kubernetes_asyncio.py")]),
        ("kopf", "kopf, event handler", [python, str(PEERS / "sync_kopf.py"), str(count)]),
        ("kr8s", "kr8s", [python, str(PEERS / "sync_kr8s.py")]),
    ]
    return found


def measure(command: list[str], kubeconfig: Path, count: int) -> dict[str, float]:
    """One run of one subject."""
    answer = subprocess.run(
        command,
        check=False,
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=SUBJECT_SECONDS_MAX,
    )
    lines = [line for line in answer.stdout.splitlines() if line.startswith("{")]
    if answer.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(command)} failed ({answer.returncode}):\n{answer.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(lines[-1])
    if figures.pop("objects") != count:
        raise SystemExit(f"{' '.join(command)} did not cache {count} objects: {lines[-1]}")
    return figures


async def run(chosen: list[Subject], count: int, rounds: int, *, keep: bool) -> None:
    results: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in chosen}
    say("starting a control plane (seconds, or 7 minutes where its binaries are not built yet)")
    async with ControlPlane(ControlPlaneConfig()) as control_plane:
        await fill(control_plane.admin_kubeconfig, count)
        for number in range(rounds):
            for name, _, command in chosen:
                if number >= ROUNDS_SLOW and name in SLOW:
                    continue
                figures = await asyncio.to_thread(measure, command, control_plane.admin_kubeconfig, count)
                results[name].append(figures)
                say(f"round {number + 1}/{rounds} {name:20} {figures}")
        release = control_plane.rest.request("GET", "/version")["gitVersion"]
    figures_of = [
        {"name": name, "title": title, "median": report.medians(results[name]), "rounds": results[name]}
        for name, title, _ in chosen
    ]
    document = {"objects": count, "subjects": figures_of}
    print(report.sync_table(document))
    if keep:
        peers = dict(
            line.split("==", 1) for line in (PEERS / "requirements.txt").read_text().splitlines() if "==" in line
        )
        versions = {name: peers[name] for name in ("kopf", "kr8s", "lightkube")}
        report.write("sync", document, versions=versions | {"client-go": "0.37.2", "kube-apiserver": release})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9, help=f"of the quick ones; the slow take {ROUNDS_SLOW}")
    parser.add_argument(
        "--only", action="append", default=[], help="a subject's name (repeatable); then nothing is kept"
    )
    options = parser.parse_args()
    chosen = [subject for subject in subjects(options.pods) if not options.only or subject[0] in options.only]
    asyncio.run(run(chosen, options.pods, options.rounds, keep=not options.only))


main()
