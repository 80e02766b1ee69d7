"""The Job controllers in a large cluster: what finished Jobs and their Pods cost, and what one more Job costs then.

One control plane is filled step by step with finished Jobs of ten Pods each. At each step each controller is started
anew, and a Job is created at that moment: the restart time is from the start of the process until that Job is complete.
Then its memory is read, and a few Jobs of one Pod tell what one more costs. Slopes are in log-log, from the first step
to the last: 1 is as many times as there are Pods, 0 is no growth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import job_leg
import report
from job_leg import Shape, Subject
from peer import say
from subjects.job_driver import Connection, Task

from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

STEPS = (1_000, 10_000, 100_000)
PODS_PER_JOB = 10
NAMESPACES = 20
CONNECTIONS = 24
MORE = Shape(20, 1)
NOW = "2026-01-01T00:00:00Z"
CONTAINER = {"name": "main", "image": "registry.example.com/work:v1", "command": ["work"]}


async def fill(control_plane: ControlPlane, numbers: range) -> None:
    """Finished Jobs of these numbers, and their Pods."""
    rest = control_plane.rest
    task = Task(rest.host, rest.port, str(control_plane.ca_file), control_plane.admin_token, "", 0, 0, False, 0)
    tls = ssl.create_default_context(cafile=task.ca_file)
    waiting = iter(numbers)

    async def some() -> None:
        connection = Connection(task, tls)
        await connection.open()
        for number in waiting:
            await _finished_job(connection, f"past-{number % NAMESPACES}", f"done-{number:06}")
        connection.writer.close()

    await asyncio.gather(*(some() for _ in range(CONNECTIONS)))


async def _finished_job(connection: Connection, namespace: str, name: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
    spec = {"completions": PODS_PER_JOB, "parallelism": PODS_PER_JOB, "template": template}
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    body: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
    made = json.loads(await connection.request("POST", jobs, json.dumps(body).encode(), "application/json"))
    uid = made["metadata"]["uid"]
    ended = {"status": "True", "lastTransitionTime": NOW, "lastProbeTime": NOW, "reason": "CompletionsReached"}
    status = {
        "conditions": [{"type": kind, **ended} for kind in ("SuccessCriteriaMet", "Complete")],
        "startTime": NOW,
        "completionTime": NOW,
        "succeeded": PODS_PER_JOB,
        "uncountedTerminatedPods": {},
    }
    patch = json.dumps({"status": status}).encode()
    await connection.request("PATCH", f"{jobs}/{name}/status", patch, "application/merge-patch+json")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": True}
    labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    for number in range(PODS_PER_JOB):
        meta = {"name": f"{name}-{number}", "labels": labels, "ownerReferences": [owner]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, **template}
        path = f"/api/v1/namespaces/{namespace}/pods"
        await connection.request("POST", path, json.dumps(body).encode(), "application/json")


async def measure(control_plane: ControlPlane, subject: Subject, step: int) -> dict[str, float]:
    """One controller at one step."""
    program = await control_plane.binary(subject.programs[0]) if subject.programs else Path()
    command = subject.command(control_plane, program)
    log = control_plane.directory / f"{subject.name}-{step}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=control_plane.directory)
    try:
        began = time.monotonic()
        await job_leg.drive(control_plane, f"first-{step}-{subject.name}", Shape(1, 1))
        restart_seconds = time.monotonic() - began
        before = await job_leg.quiet(control_plane, process.pid)
        cpu, memory = job_leg.cpu_seconds(process.pid), job_leg.memory_mb(process.pid, "VmRSS")
        figures = await job_leg.drive(control_plane, f"more-{step}-{subject.name}", MORE)
        after = await job_leg.quiet(control_plane, process.pid)
        return {
            "pods": step,
            "restart_seconds": round(restart_seconds, 2),
            "restart_cpu_seconds": round(cpu, 2),
            "memory_mb": round(memory, 1),
            "job_requests": round((after - before).total() / MORE.jobs, 2),
            "job_cpu_seconds": round((job_leg.cpu_seconds(process.pid) - cpu) / MORE.jobs, 4),
            "job_p50_seconds": figures["complete_p50_seconds"],
        }
    except SystemExit as error:
        raise SystemExit(f"{error}\n{log.read_text(errors='replace')[-3000:]}") from None
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


def slopes(found: list[dict[str, float]]) -> dict[str, float]:
    """How each figure grows with the Pods, from the first step to the last."""
    few, many = found[0], found[-1]
    wider = math.log(many["pods"] / few["pods"])
    return {
        figure: round(math.log(max(many[figure], 1e-4) / max(few[figure], 1e-4)) / wider, 3)
        for figure in few
        if figure != "pods"
    }


async def run(steps: list[int]) -> dict[str, Any]:
    subjects = [job_leg.ours(), job_leg.built_in(5)]
    found: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
    async with ControlPlane(ControlPlaneConfig()) as control_plane:
        for number in range(NAMESPACES):
            await control_plane.create_namespace(f"past-{number}")
        filled = 0
        for step in steps:
            began = time.monotonic()
            await fill(control_plane, range(filled, step // PODS_PER_JOB))
            filled = step // PODS_PER_JOB
            say(f"{step} Pods of {filled} finished Jobs are there after {time.monotonic() - began:.0f} s")
            for subject in subjects:
                figures = await measure(control_plane, subject, step)
                found[subject.name].append(figures)
                say(f"{subject.name:24} {figures}")
    return {
        "subjects": [
            {"name": one.name, "title": one.title, "steps": found[one.name], "slopes": slopes(found[one.name])}
            for one in subjects
        ]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="reconcile bench job-scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pods", type=int, action="append", help=f"a step (repeatable; default: {STEPS}, half an hour, 4 GB of memory)"
    )
    options = parser.parse_args()
    document = asyncio.run(run(sorted(options.pods or STEPS)))
    for subject in document["subjects"]:
        print(subject["title"])
        for step in subject["steps"]:
            print("  ", "  ".join(f"{name} {value}" for name, value in step.items()))
        print("   slopes", "  ".join(f"{name} {value}" for name, value in subject["slopes"].items()))
    if options.pods is None:
        report.write("job_scale", document)


if __name__ == "__main__":
    main()
