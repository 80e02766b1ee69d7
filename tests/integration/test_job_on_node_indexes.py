"""Indexed Jobs on a real node: what each Pod knows of itself, which successes are enough, and many Pods at once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from job_history import Json, status_of
from job_node import FOR_EVER, STUBBORN, JobCluster, at_once, managed_by
from service_process import service

pytestmark = [pytest.mark.nodes, pytest.mark.asyncio(loop_scope="session")]

INDEX = "batch.kubernetes.io/job-completion-index"


def indexed(count: int) -> Json:
    return {"completionMode": "Indexed", "completions": count, "parallelism": count}


async def test_each_pod_knows_its_index_and_its_name(jobs_on_nodes: JobCluster) -> None:
    """The init container and the main one print JOB_COMPLETION_INDEX; the host name is ``<job>-<index>``."""
    job = await jobs_on_nodes.job("indexed")
    init = {
        "name": "first",
        "image": "busybox:1",
        "command": ["sh", "-c", 'test "$(hostname)" = j-$JOB_COMPLETION_INDEX'],
    }
    await job.start("echo $JOB_COMPLETION_INDEX $(hostname)", pod={"initContainers": [init]}, **indexed(4))
    await job.completes(succeeded=4, failed=0, completedIndexes="0-3")
    said = {pod["metadata"]["annotations"][INDEX]: job.log(pod) for pod in job.own()}
    assert said == {str(index): f"{index} j-{index}\n" for index in range(4)}
    await job.is_sound()


async def test_a_success_policy_stops_the_rest(jobs_on_nodes: JobCluster) -> None:
    """The first index is enough: the others are stopped and waited for, and count as nothing, however they end."""

    async def stops(name: str, script: str) -> None:
        job = await jobs_on_nodes.job(name)
        script = f"[ $JOB_COMPLETION_INDEX = 1 ] && sleep 2 && exit 0; {script}"
        policy = {"successPolicy": {"rules": [{"succeededIndexes": "1", "succeededCount": 1}]}}
        await job.start(script, pod={"terminationGracePeriodSeconds": 3}, backoffLimit=0, **policy, **indexed(3))
        status = await job.completes("SuccessPolicy", succeeded=1, failed=0, completedIndexes="1", terminating=0)
        assert status["conditions"][-1]["message"] == "Matched rules at index 0"
        await job.told("Completed", "SuccessfulDelete")
        await job.is_sound()

    async def stubbornly() -> None:
        await stops("policy-stubborn", STUBBORN)

    async def roughly() -> None:
        await stops("policy-rough", f"trap 'exit 7' TERM; {FOR_EVER}")

    async def gently() -> None:
        await stops("policy-gentle", f"trap 'exit 0' TERM; {FOR_EVER}")

    await at_once(stubbornly, roughly, gently)


async def test_two_jobs_of_twenty_pods_run_at_once(jobs_on_nodes: JobCluster) -> None:
    """A burst of Pods on one node: each is counted once, none is made twice."""

    async def runs(name: str, **spec: object) -> None:
        job = await jobs_on_nodes.job(name)
        await job.start("exit 0", parallelism=20, completions=20, backoffLimit=0, **spec)
        await job.completes(succeeded=20, failed=0)
        assert len(job.own()) == 20
        await job.is_sound()

    async def plain() -> None:
        await runs("burst")

    async def with_indexes() -> None:
        await runs("burst-indexed", completionMode="Indexed")

    await at_once(plain, with_indexes)


async def test_the_controller_is_killed_while_pods_end(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """SIGKILL at a third and at two thirds of the work: the next one counts on, and no Pod is made twice."""
    job = await jobs_on_nodes.job("controller-dies")
    job.managed_by = managed_by(f"{jobs_on_nodes.pool}-dies")
    kubeconfig = jobs_on_nodes.control_plane.kubeconfig(user=jobs_on_nodes.user)
    await job.start("exit 0", parallelism=6, completions=18, backoffLimit=0)
    for succeeded in (6, 12, 18):
        async with service(tmp_path, kubeconfig, f"--managed-by={job.managed_by}", app="job") as controller:
            await job.until(lambda: status_of(job.job).get("succeeded", 0) >= succeeded, f"{succeeded} successes")  # noqa: B023  awaited in its own turn
            if succeeded < 18:
                await controller.stop(signal.SIGKILL)
            else:
                await job.completes(succeeded=18, failed=0)
                await job.is_sound()
    assert len(job.own()) == 18
