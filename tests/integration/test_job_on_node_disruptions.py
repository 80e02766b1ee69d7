"""Pods that others end on a real node: evictions, preemption, and the death of the node itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_history import Json, is_true, status_of
from job_node import POOL, STUBBORN, JobCluster, NodeJob, at_once, ready_node

from reconcile import ObjectKey
from reconcile.client import writes
from reconcile.nodes import LocalNode
from reconcile.nodes.machine.registration import NODES

pytestmark = [pytest.mark.nodes, pytest.mark.asyncio(loop_scope="session")]

IGNORED: Json = {
    "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
    "backoffLimit": 0,
}
"""A Job that outlives every disruption, and no failure of its own."""

DEAD = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
OUT_OF_SERVICE = {"key": "node.kubernetes.io/out-of-service", "value": "dead", "effect": "NoExecute"}
"""The administrator's word that the node is off, so that nothing can run there any more (KEP-2268)."""


def first_runs_for_ever(name: str) -> str:
    """A script whose first run ends only by force, and whose later ones succeed."""
    return f"[ -e /scratch/{name} ] && exit 0; touch /scratch/{name}; {STUBBORN}"


def disruption(pod: Json) -> str:
    """The reason of its condition DisruptionTarget, if it has one."""
    conditions = pod["status"].get("conditions") or ()
    return next((str(one["reason"]) for one in conditions if one["type"] == "DisruptionTarget"), "")


async def test_evictions_and_preemption(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """The Pods carry DisruptionTarget, which a policy can ignore; in a Job without a policy they count as failed."""

    async def ignored() -> None:
        job = await jobs_on_nodes.job("evict-ignored")
        await job.start(first_runs_for_ever("evict-ignored"), scratch=tmp_path, **IGNORED)
        [pod] = await job.runs()
        await jobs_on_nodes.evict(pod)
        assert disruption(await job.ended(pod, "Failed")) == "EvictionByEvictionAPI"
        await job.completes(succeeded=1, failed=0)
        assert len(job.own()) == 2
        await job.is_sound()

    async def counted() -> None:
        job = await jobs_on_nodes.job("evict-counted")
        await job.start(STUBBORN, backoffLimit=0)
        [pod] = await job.runs()
        await jobs_on_nodes.evict(pod)
        await job.fails("BackoffLimitExceeded", failed=1)
        await job.is_sound()

    async def preempted() -> None:
        """A Pod of higher priority takes the place; the one that went is ignored by its policy, and made again."""
        slot = {"example.com/slot": "1"}
        priorities = {"low": 1, "high": 1000}
        for name, value in priorities.items():
            body = {"metadata": {"name": f"{name}-{jobs_on_nodes.pool}"}, "value": value}
            jobs_on_nodes.control_plane.rest.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
        await jobs_on_nodes.change_node(
            jobs_on_nodes.node.name, {"status": {"capacity": slot, "allocatable": slot}}, "status"
        )
        low, high = await jobs_on_nodes.job("preempted"), await jobs_on_nodes.job("preempting")
        container = {"resources": {"limits": slot}}

        def of(priority: str) -> Json:
            return {"priorityClassName": f"{priority}-{jobs_on_nodes.pool}"}

        await low.start(first_runs_for_ever("low"), pod=of("low"), container=container, scratch=tmp_path, **IGNORED)
        [pod] = await low.runs()
        await high.start("exit 0", pod=of("high"), container=container)
        assert disruption(await low.ended(pod, "Failed")) == "PreemptionByScheduler"
        await high.completes(succeeded=1, failed=0)
        await low.completes(succeeded=1, failed=0)
        await low.is_sound()
        await high.is_sound()

    await at_once(ignored, counted, preempted)


@pytest.mark.long
async def test_an_eviction_for_a_full_volume_counts(jobs_on_nodes: JobCluster) -> None:
    """The kubelet evicts without DisruptionTarget, as the next Pod would do the same; it looks once a minute."""
    job = await jobs_on_nodes.job("evict-full")
    volumes = [{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    script = f"dd if=/dev/zero of=/data/full bs=1M count=4; {STUBBORN}"
    await job.start(script, pod={"volumes": volumes}, container=container, **IGNORED)
    await job.fails("BackoffLimitExceeded", failed=1)
    [pod] = job.own()
    assert (pod["status"].get("reason"), disruption(pod)) == ("Evicted", "")
    await job.is_sound()


def prefers(doomed: str, other: str) -> Json:
    """The Pod goes to the first pool, and to the second once the first is dead, which it does not wait out."""

    def in_pools(*pools: str) -> Json:
        return {"matchExpressions": [{"key": POOL, "operator": "In", "values": list(pools)}]}

    return {
        "nodeSelector": {},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [in_pools(doomed, other)]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": in_pools(doomed)}],
            }
        },
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0} for key in DEAD
        ],
    }


async def runs_on(job: NodeJob, node: LocalNode) -> Json:
    [pod] = await job.runs()
    assert pod["spec"]["nodeName"] == node.name
    return pod


async def test_jobs_outlive_a_node_that_dies(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """Kubelet and containers get SIGKILL: the Pods are stopped for that, and the Jobs go on on the second node.

    What stopped is terminating until somebody says that the node is off; no Job is over before.
    """
    pool = f"{jobs_on_nodes.pool}-doomed"
    pod = prefers(pool, jobs_on_nodes.pool)
    async with ready_node(jobs_on_nodes.control_plane, pool) as doomed:

        async def start(name: str, **spec: object) -> NodeJob:
            job = await jobs_on_nodes.job(name)
            await job.start(first_runs_for_ever(name), pod=pod, scratch=tmp_path, **spec)
            await runs_on(job, doomed)
            return job

        replaced = await start("node-dies-replaced", podReplacementPolicy="TerminatingOrFailed")
        ignored = await start("node-dies-ignored", **IGNORED)
        counted = await start("node-dies-counted", backoffLimit=0)
        doomed.kill()

        await replaced.reaches(failed=1, terminating=1)
        await ignored.reaches(active=0, terminating=1)
        await counted.reaches(active=0, terminating=1)
        assert is_true(status_of(counted.job), "FailureTarget")
        # The second node does the work, but the Job is not over while a Pod of it may still run.
        await replaced.until(lambda: is_true(status_of(replaced.job), "SuccessCriteriaMet"), "the second Pod's success")
        assert not is_true(status_of(replaced.job), "Complete")
        assert status_of(replaced.job)["terminating"] == 1

        await jobs_on_nodes.change_node(doomed.name, {"spec": {"taints": [OUT_OF_SERVICE]}})
        await replaced.completes(succeeded=1, failed=1, terminating=0)
        await counted.fails("BackoffLimitExceeded", failed=1, succeeded=0)
        # Only now has it failed; its replacement waits for the backoff.
        await ignored.completes(succeeded=1, failed=0)
        first, second = ignored.own()
        assert disruption(first)
        assert second["spec"]["nodeName"] == jobs_on_nodes.node.name
        for job in (replaced, ignored, counted):
            await job.is_sound()


@pytest.mark.long
async def test_jobs_outlive_a_node_that_is_deleted(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """The Node object goes as well: after 40 s of quarantine the garbage collector of Pods fails what was on it."""
    pool = f"{jobs_on_nodes.pool}-deleted"
    async with ready_node(jobs_on_nodes.control_plane, pool) as doomed:
        job = await jobs_on_nodes.job("node-deleted")
        pod = prefers(pool, jobs_on_nodes.pool)
        await job.start(first_runs_for_ever("node-deleted"), pod=pod, scratch=tmp_path, **IGNORED)
        first = await runs_on(job, doomed)
        doomed.kill()
        await jobs_on_nodes.send(writes.delete(NODES, ObjectKey("", doomed.name)))
        assert disruption(await job.ended(first, "Failed")) == "DeletionByPodGC"
        await job.completes(succeeded=1, failed=0)
        await job.is_sound()
