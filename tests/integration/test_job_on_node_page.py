"""The page that has its reader try Jobs on real nodes: its commands do what it says."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from service_process import service

pytestmark = [
    pytest.mark.nodes,
    pytest.mark.asyncio,
    pytest.mark.usefixtures("control_plane_for_nodes"),  # it says what is missing, where something is
]

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 120


async def output(environment: dict[str, str], *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """The cluster comes up, the Job runs to its end on it, and Ctrl-C ends the cluster."""
    cluster = await asyncio.create_subprocess_exec(
        sys.executable, "examples/cluster_with_nodes.py", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert cluster.stdout is not None
    try:
        async with asyncio.timeout(SECONDS_MAX):
            _export, kubeconfig, path = shlex.split((await cluster.stdout.readline()).decode())
            ready = {(await cluster.stdout.readline()).decode() for _ in range(2)}
            assert ready == {"# node-1 is ready\n", "# node-2 is ready\n"}
            environment = os.environ | {
                "KUBECONFIG": kubeconfig.removeprefix("KUBECONFIG="),
                "PATH": path.removeprefix("PATH=").replace("$PATH", os.environ["PATH"]),
            }
            async with service(tmp_path, environment["KUBECONFIG"], "--replace", app="job") as controller:
                await output(environment, "kubectl", "apply", "-f", "examples/manifests/job-with-retries.yaml")
                await output(environment, *shlex.split("kubectl wait --for=condition=Complete job/greet --timeout=1m"))
                own = ("--selector", "batch.kubernetes.io/job-name=greet")
                logs = await output(environment, "kubectl", "logs", *own)
                assert sorted(logs.splitlines()) == [f"{index} on greet-{index}" for index in range(4)]
                assert "Succeeded" in await output(environment, "kubectl", "describe", "job", "greet")
                assert await controller.stop() == 0
            cluster.send_signal(signal.SIGINT)
            assert (await cluster.stdout.readline()).decode() == "# everything is gone\n"
            assert await cluster.wait() == 0
    finally:
        if cluster.returncode is None:
            cluster.kill()
            await cluster.wait()
