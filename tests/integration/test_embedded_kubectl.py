"""kubectl, unchanged, against ``reconcile dev``: the command as a process, stopped by a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconcile.testing.envtest.binaries import BinariesUnavailableError, provide_binaries
from reconcile.testing.waiting import eventually

MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {nodeName: node-a, containers: [{name: main, image: nginx}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
"""


@pytest.fixture(scope="module")
def kubectl_program() -> str:
    try:
        return str(asyncio.run(provide_binaries(["kubectl"], None))["kubectl"])
    except BinariesUnavailableError as error:
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            raise
        pytest.skip(f"no kubectl: {error}")


class Dev:
    """``reconcile dev`` as a process."""

    def __init__(self, directory: Path, kubectl: str) -> None:
        self.kubeconfig = directory / "kubeconfig.yaml"
        self.snapshot = directory / "state"
        self._kubectl = kubectl
        self._home = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["dev", "--kubeconfig", str(self.kubeconfig), "--snapshot", str(self.snapshot), "--nodes", "0"]
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "reconcile", *arguments], stderr=log)
        asyncio.run(eventually(self._is_ready, why="reconcile dev is ready"))

    async def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "log").read_text()
        return self.kubeconfig.exists()

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(30)
        self.kubeconfig.unlink(missing_ok=True)
        return status

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kubectl(self, *arguments: str, stdin: str = "", fails: bool = False) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(
            [self._kubectl, *arguments], input=stdin, text=True, capture_output=True, env=environment, timeout=60
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, said
        return said

    def get(self, *what: str) -> Any:
        return json.loads(self.kubectl("get", *what, "-o", "json"))


@pytest.fixture
def dev(tmp_path: Path, kubectl_program: str) -> Iterator[Dev]:
    running = Dev(tmp_path, kubectl_program)
    running.start()
    yield running
    running.kill()


def test_kubectl_manages_objects(dev: Dev) -> None:
    """Apply, get, describe, patch, scale, label, annotate, wait, cordon, drain and delete do what they say."""
    created = dev.kubectl("apply", "-f", "-", stdin=MANIFESTS)
    assert created.splitlines() == ["deployment.apps/web created", "pod/one created", "node/node-a created"]
    assert "unchanged" in dev.kubectl("apply", "-f", "-", stdin=MANIFESTS)

    table = dev.kubectl("get", "deployments,pods").split()
    assert {"NAME", "UP-TO-DATE", "deployment.apps/web", "0/1", "pod/one", "Pending"} <= set(table)
    assert "node-a" in dev.kubectl("get", "pods", "-o", "wide")
    assert "nginx" in dev.kubectl("describe", "deployment", "web")
    assert "FIELD: containers" in dev.kubectl("explain", "pod.spec.containers")

    dev.kubectl("scale", "deployment", "web", "--replicas=3")
    dev.kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"paused":true}}')
    spec = dev.get("deployment", "web")["spec"]
    assert (spec["replicas"], spec["paused"]) == (3, True)

    dev.kubectl("label", "pod", "one", "tier=front")
    dev.kubectl("annotate", "pod", "one", "note=x")
    assert "one" in dev.kubectl("get", "pods", "-l", "tier=front")
    assert "No resources found" in dev.kubectl("get", "pods", "-l", "tier=back")
    dev.kubectl("wait", "pod/one", "--for=jsonpath={.status.phase}=Pending", "--timeout=10s")

    dev.kubectl("cordon", "node-a")
    assert "SchedulingDisabled" in dev.kubectl("get", "nodes")
    dev.kubectl("uncordon", "node-a")
    assert "yes" in dev.kubectl("create", "--dry-run=server", "-f", "-", "-o", "jsonpath=yes", stdin=MAP)
    assert "NotFound" in dev.kubectl("get", "configmap", "settings", fails=True)
    dev.kubectl("create", "-f", "-", stdin=MAP)
    dev.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=MAP)
    dev.kubectl("delete", "configmap", "settings")
    dev.kubectl("delete", "deployment", "web")
    assert dev.get("deployments")["items"] == []


MAP = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"a":"1"}}'


def test_the_snapshot_keeps_the_state(dev: Dev) -> None:
    """What was there when the server was stopped is there, with its uid and version, when it starts again."""
    dev.kubectl("create", "-f", "-", stdin=MAP)
    before = dev.get("configmap", "settings")
    assert dev.stop() == 0
    dev.start()
    assert dev.get("configmap", "settings") == before
    dev.kubectl("create", "-f", "-", stdin=MAP.replace("settings", "more"))
    assert int(dev.get("configmap", "more")["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
