"""One leg of a Job benchmark: a fresh control plane, one Job controller as its users run it, and a load on it.

Both controllers get the same: a control plane of their own without anybody else on it, the role that kube-apiserver
ships for the Job controller, no limit on requests, no leader election, and a few Jobs to warm up. What they cost is
read from the kernel (``/proc``) and from the API server's own counters, between two moments at which nothing goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from reconcile.errors import AlreadyExistsError
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

HERE = Path(__file__).resolve().parent
DRIVER = HERE / "subjects" / "job_driver.py"
SERVICE_ACCOUNT = "job-controller"
"""In kube-system; kube-apiserver itself makes its role and the binding."""

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
QUIET_SECONDS = 1.0
QUIET_SECONDS_MAX = 60.0
"""After the last Job is complete the controllers still write Events; then the counters stand still."""

_SAMPLE = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@attrs.frozen
class Shape:
    """How many Jobs of how many Pods, all created at once."""

    jobs: int
    pods: int
    indexed: bool = False

    @property
    def name(self) -> str:
        return f"{self.jobs}x{self.pods}{'-indexed' if self.indexed else ''}"

    @property
    def total(self) -> int:
        return self.jobs * self.pods

    @classmethod
    def parse(cls, text: str) -> Shape:
        """``50x20`` or ``50x20-indexed``."""
        found = re.fullmatch(r"(\d+)x(\d+)(-indexed)?", text)
        if found is None:
            raise ValueError(f"shape {text!r}: want JOBSxPODS or JOBSxPODS-indexed, such as 50x20")
        return cls(int(found[1]), int(found[2]), found[3] is not None)


WARM_UP = Shape(5, 4)


@attrs.frozen
class Subject:
    """A Job controller: its name, its title in tables, and its command on a control plane."""

    name: str
    title: str
    command: Callable[[ControlPlane, Path], list[str]]
    programs: tuple[str, ...] = ()


def built_in(concurrent_job_syncs: int) -> Subject:
    """kube-controller-manager with nothing but its Job controller."""

    def command(control_plane: ControlPlane, program: Path) -> list[str]:
        return [
            str(program),
            f"--kubeconfig={control_plane.kubeconfig(user='system:kube-controller-manager')}",
            "--controllers=job-controller",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--kube-api-qps=10000",
            "--kube-api-burst=10000",
            f"--concurrent-job-syncs={concurrent_job_syncs}",
            "--secure-port=0",
        ]

    return Subject("kube-controller-manager", "kube-controller-manager", command, ("kube-controller-manager",))


def ours() -> Subject:
    """``reconcile run job --replace``."""

    def command(control_plane: ControlPlane, _program: Path) -> list[str]:
        kubeconfig = service_account_kubeconfig(control_plane)
        return [sys.executable, "-m", "reconcile", "run", "job", "--replace", "--kubeconfig", str(kubeconfig)]

    return Subject("reconcile", "Reconcile", command)


def service_account_kubeconfig(control_plane: ControlPlane) -> Path:
    """The Job controller's ServiceAccount with a token, as kube-controller-manager makes one for itself.

    Not a client certificate: the API server verifies it anew at each request, which costs it 0.2 ms.
    """
    accounts = "/api/v1/namespaces/kube-system/serviceaccounts"
    with contextlib.suppress(AlreadyExistsError):
        control_plane.rest.request("POST", accounts, {"metadata": {"name": SERVICE_ACCOUNT}})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86_400}}
    answer = control_plane.rest.request("POST", f"{accounts}/{SERVICE_ACCOUNT}/token", asked)
    cluster = {"server": control_plane.url, "certificate-authority": str(control_plane.ca_file)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": {"token": answer["status"]["token"]}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }
    path = control_plane.directory / "service-account.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


# -- what is measured ---------------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def memory_mb(pid: int, field: str) -> float:
    """``VmRSS``, or ``VmHWM``, its highest so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status has no {field}: the benchmarks need Linux")


def servers(control_plane: ControlPlane) -> dict[str, int]:
    """The process ids of etcd and kube-apiserver: what runs in the control plane's directory under these names."""
    found: dict[str, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (process / "comm").read_text().strip()
            if name in ("etcd", "kube-apiserver") and (process / "cwd").resolve() == control_plane.directory.resolve():
                found[name] = int(process.name)
    return found


def requests(control_plane: ControlPlane) -> Counter[str]:
    """What the API server has answered so far: ``VERB resource/subresource``, refusals with their code.

    Without the driver's own (it creates Jobs, and patches the status of Pods, as no controller does) and those that
    the API server makes of itself.
    """
    found: Counter[str] = Counter()
    for labels, value in _SAMPLE.findall(control_plane.rest.request("GET", "/metrics")):
        label = dict(_LABEL.findall(labels))
        what = "/".join(filter(None, (label["resource"], label["subresource"])))
        code = f" {label['code']}" if int(label["code"]) >= 400 else ""
        name = f"{label['verb']} {what}{code}"
        if label["resource"] in ("jobs", "pods", "events") and name not in ("POST jobs", "PATCH pods/status"):
            found[name] += int(float(value))
    return found


async def quiet(control_plane: ControlPlane, pid: int) -> Counter[str]:
    """The requests once their number stands still."""
    before, waited = requests(control_plane), 0.0
    while waited < QUIET_SECONDS_MAX:
        await asyncio.sleep(QUIET_SECONDS)
        waited += QUIET_SECONDS
        now = requests(control_plane)
        if now == before:
            return now
        before = now
    raise SystemExit(f"process {pid} still sends requests {QUIET_SECONDS_MAX:.0f} s after the last Job was complete")


async def drive(control_plane: ControlPlane, namespace: str, shape: Shape) -> dict[str, float]:
    """The load, in a process of its own; what the driver says of it."""
    await control_plane.create_namespace(namespace)
    seconds_max = 120 + shape.total * 0.1
    task = {
        "host": control_plane.rest.host,
        "port": control_plane.rest.port,
        "ca_file": str(control_plane.ca_file),
        "token": control_plane.admin_token,
        "namespace": namespace,
        "jobs": shape.jobs,
        "pods": shape.pods,
        "indexed": shape.indexed,
        "seconds_max": seconds_max,
    }
    answer = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(DRIVER)],
        input=json.dumps(task).encode(),
        capture_output=True,
        check=False,
        timeout=seconds_max + 30,
    )
    if answer.returncode != 0:
        raise SystemExit(f"the driver of {shape.name} failed:\n{answer.stderr.decode()[-2000:]}")
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


async def run(subject: Subject, shape: Shape, *, keep_log: Path | None = None) -> dict[str, Any]:
    """One leg."""
    async with ControlPlane(ControlPlaneConfig()) as control_plane:
        programs = [await control_plane.binary(name) for name in subject.programs]
        command = subject.command(control_plane, programs[0] if programs else Path())
        log = keep_log or control_plane.directory / "controller.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=control_plane.directory)
        try:
            await drive(control_plane, "warm-up", WARM_UP)
            before = await quiet(control_plane, process.pid)
            cpu, idle_mb = cpu_seconds(process.pid), memory_mb(process.pid, "VmRSS")
            served = {name: cpu_seconds(pid) for name, pid in servers(control_plane).items()}
            figures = await drive(control_plane, "load", shape)
            server_cpu = sum(cpu_seconds(pid) - served[name] for name, pid in servers(control_plane).items())
            after = await quiet(control_plane, process.pid)
            cpu = cpu_seconds(process.pid) - cpu
            peak_mb = memory_mb(process.pid, "VmHWM")
        except SystemExit as error:
            raise SystemExit(f"{error}\n{log.read_text(errors='replace')[-3000:]}") from None
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
        asked = after - before
        return {
            "pods_per_second": round(shape.total / figures["wall_seconds"], 1),
            "jobs_per_second": round(shape.jobs / figures["wall_seconds"], 1),
            "requests": asked.total(),
            "cpu_seconds": round(cpu, 2),
            "server_cpu_seconds": round(server_cpu, 2),
            "idle_mb": round(idle_mb, 1),
            "peak_mb": round(peak_mb, 1),
            **figures,
            "requests_by_kind": dict(asked.most_common()),
            "release": control_plane.release,
        }


def main() -> None:
    """Run one leg and print it: for a look at one controller (``python benchmarks/job_leg.py ours 50x20``)."""
    subject = ours() if sys.argv[1] == "ours" else built_in(5)
    began = time.monotonic()
    print(json.dumps(asyncio.run(run(subject, Shape.parse(sys.argv[2]))), indent=1))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
