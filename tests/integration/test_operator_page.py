"""The commands on the operator's page of the Job controller work, in the order in which they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pods import Cluster, job_manifest

from reconcile import Kind, connect, load_config
from reconcile.testing.envtest import ControlPlane

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "operate-the-job-controller.md"
OURS = "reconcile.dev/job-controller"


def commands() -> list[str]:
    """Each line of a console block that a reader would type."""
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines() if line.strip()]


async def furnish(where: Cluster) -> None:
    """The objects that the page speaks of."""
    template = job_manifest("x", managed_by=None)["spec"]
    cron = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": template}}
    await where.create({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": cron})
    await where.create(job_manifest("work", managed_by=OURS))
    meta = {"name": "work-0", "finalizers": ["reconcile.dev/job-tracking"]}
    spec = {"containers": [{"name": "main", "image": "local/none"}]}
    await where.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


@pytest.mark.asyncio
async def test_the_commands_work(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    """Each succeeds; a CronJob goes to this controller and back, and the Pod of the last resort is let go."""
    kubectl = await control_plane.binary("kubectl")
    kubeconfig = control_plane.kubeconfig(user="operator", groups=["system:masters"], namespace=namespace)
    path = os.pathsep.join((str(kubectl.parent), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig)}
    printed: dict[str, str] = {}
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        where = Cluster(client, namespace)
        await furnish(where)
        for command in commands():
            answer = subprocess.run(  # noqa: S602  as a reader types it
                command,
                shell=True,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert answer.returncode == 0, f"{command}: {answer.stderr}"
            printed[command] = answer.stdout
        assert len(printed) >= 10
        [told] = [out for command, out in printed.items() if command.startswith("kubectl get cronjob")]
        assert told == OURS
        [waiting] = [out for command, out in printed.items() if command.startswith("kubectl get jobs")]
        assert f"{namespace}/work " in waiting.splitlines()
        cron = await where.get(Kind.parse("batch/v1/CronJob"), "nightly")
        assert "managedBy" not in cron.field("spec")["jobTemplate"]["spec"]
        pod = await where.get(Kind.parse("v1/Pod"), "work-0")
        assert pod.finalizers == ()
