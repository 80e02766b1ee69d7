"""How containers end on a real node, and what the Job makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from job_history import Json
from job_node import FOR_EVER, IMAGE, STUBBORN, JobCluster, NodeJob, at_once

pytestmark = [pytest.mark.nodes, pytest.mark.asyncio(loop_scope="session")]

COMPLETE_MESSAGE = "Reached expected number of succeeded pods"
BACKOFF_MESSAGE = "Job has reached the specified backoff limit"
ONCE = "[ -e /scratch/$0 ] || { touch /scratch/$0; exit %d; }"
"""A script whose first run ends with that code, and every later one with 0."""


def on_exit_codes(action: str, operator: str, *values: int, container: str | None = None) -> dict[str, Any]:
    """A podFailurePolicy of one rule."""
    codes: Json = {"operator": operator, "values": list(values)}
    if container is not None:
        codes["containerName"] = container
    return {"podFailurePolicy": {"rules": [{"action": action, "onExitCodes": codes}]}}


def exit_code(pod: Json, which: str = "containerStatuses") -> int:
    [container] = pod["status"][which]
    return int(container["state"]["terminated"]["exitCode"])


def message(status: Json) -> str:
    return str(status["conditions"][-1]["message"])


async def test_exit_codes_meet_the_pod_failure_policy(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """0, 1, 42, 137 and 255: each action, with the statuses that a kubelet writes."""

    async def succeeds() -> None:
        job = await jobs_on_nodes.job("zero")
        await job.start("exit 0", backoffLimit=0, **on_exit_codes("FailJob", "NotIn", 255))
        status = await job.completes(succeeded=1, failed=0)
        assert message(status) == COMPLETE_MESSAGE
        await job.told("SuccessfulCreate", "Completed")
        await job.is_sound()

    async def fails_the_job() -> None:
        """The other Pod, which ignores SIGTERM, counts as failed too, and is waited for."""
        job = await jobs_on_nodes.job("fail-job")
        script = f"""
        [ $JOB_COMPLETION_INDEX = 1 ] && {{ touch /scratch/other-runs; {STUBBORN}; }}
        until [ -e /scratch/other-runs ]; do sleep 0.1; done; exit 42
        """
        policy = on_exit_codes("FailJob", "In", 41, 42, container="main")
        await job.start(script, scratch=tmp_path, completionMode="Indexed", completions=2, parallelism=2, **policy)
        status = await job.fails("PodFailurePolicy", failed=2, succeeded=0, terminating=0)
        [pod] = [
            pod for pod in job.own() if pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0"
        ]
        name = f"{job.namespace}/{pod['metadata']['name']}"
        assert message(status) == (
            f"Container main for pod {name} failed with exit code 42 matching FailJob rule at index 0"
        )
        await job.told("SuccessfulCreate", "SuccessfulDelete", "PodFailurePolicy")
        await job.is_sound()

    async def not_in() -> None:
        job = await jobs_on_nodes.job("not-in")
        await job.start("exit 1", **on_exit_codes("FailJob", "NotIn", 42))
        status = await job.fails("PodFailurePolicy", failed=1)
        assert "failed with exit code 1 matching FailJob rule at index 0" in message(status)
        await job.is_sound()

    async def ignores() -> None:
        job = await jobs_on_nodes.job("ignore")
        policy = on_exit_codes("Ignore", "In", 1)
        await job.start(ONCE.replace("$0", "ignore") % 1, scratch=tmp_path, backoffLimit=0, **policy)
        await job.completes(succeeded=1, failed=0)
        assert len(job.own()) == 2
        await job.is_sound()

    async def counts() -> None:
        job = await jobs_on_nodes.job("count")
        await job.start("exit 255", backoffLimit=0, **on_exit_codes("Count", "In", 255))
        status = await job.fails("BackoffLimitExceeded", failed=1)
        assert message(status) == BACKOFF_MESSAGE
        [pod] = job.own()
        assert exit_code(pod) == 255
        await job.told("BackoffLimitExceeded")
        await job.is_sound()

    async def fails_the_index() -> None:
        job = await jobs_on_nodes.job("fail-index")
        script = "[ $JOB_COMPLETION_INDEX != 1 ] || exit 42"
        policy = on_exit_codes("FailIndex", "In", 42)
        indexed = {"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 5}
        await job.start(script, **indexed, **policy)
        status = await job.fails("FailedIndexes", failed=1, succeeded=2, completedIndexes="0,2", failedIndexes="1")
        assert message(status) == "Job has failed indexes"
        assert len(job.own()) == 3
        await job.is_sound()

    async def is_killed() -> None:
        job = await jobs_on_nodes.job("killed")
        # Process 1 of a PID namespace does not hear its own SIGKILL; in a shared one the shell is not process 1.
        # In a Pod's command $$ means one dollar.
        pod = {"shareProcessNamespace": True}
        await job.start("kill -KILL $$$$", pod=pod, **on_exit_codes("FailJob", "In", 137))
        status = await job.fails("PodFailurePolicy", failed=1)
        assert "failed with exit code 137 matching" in message(status)
        await job.is_sound()

    async def init_container_fails() -> None:
        job = await jobs_on_nodes.job("init-fails")
        init = {"name": "first", "image": IMAGE, "command": ["sh", "-c", "exit 3"]}
        policy = on_exit_codes("FailJob", "In", 3, container="first")
        await job.start("exit 0", pod={"initContainers": [init]}, **policy)
        status = await job.fails("PodFailurePolicy", failed=1, succeeded=0)
        assert message(status).startswith("Container first for pod ")
        await job.is_sound()

    await at_once(succeeds, fails_the_job, not_in, ignores, counts, fails_the_index, is_killed, init_container_fails)


async def test_an_index_is_tried_again_as_often_as_it_may(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """The new Pod of an index knows how often the index has failed; at its limit the index fails, and the Job ends."""
    indexed = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1}
    count = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-index-failure-count']"}}
    container = {"env": [{"name": "FAILURES", "valueFrom": count}]}

    async def succeeds_at_the_second_try() -> None:
        job = await jobs_on_nodes.job("second-try")
        await job.start("[ $JOB_COMPLETION_INDEX$FAILURES != 00 ]", container=container, **indexed)
        await job.completes(succeeded=2, failed=1, completedIndexes="0,1", failedIndexes="")
        await job.is_sound()

    async def fails_for_good() -> None:
        job = await jobs_on_nodes.job("no-more-tries")
        await job.start("[ $JOB_COMPLETION_INDEX = 1 ]", container=container, **indexed)
        await job.fails("FailedIndexes", succeeded=1, failed=2, completedIndexes="1", failedIndexes="0")
        assert len(job.own()) == 3
        await job.is_sound()

    async def too_many_indexes_fail() -> None:
        job = await jobs_on_nodes.job("too-many-indexes")
        indexes = {"completions": 3, "parallelism": 3, "backoffLimitPerIndex": 0, "maxFailedIndexes": 1}
        await job.start(f"[ $JOB_COMPLETION_INDEX != 0 ] && exit 1; {STUBBORN}", **{**indexed, **indexes})
        status = await job.fails("MaxFailedIndexesExceeded", succeeded=0, failed=3)
        assert message(status) == "Job has exceeded the specified maximal number of failed indexes"
        await job.is_sound()

    await at_once(succeeds_at_the_second_try, fails_for_good, too_many_indexes_fail)


async def test_on_failure_containers_restart_in_their_pod(jobs_on_nodes: JobCluster) -> None:
    """restartPolicy OnFailure: restarts are no failures until they reach backoffLimit; the Pod stays the same."""
    script = "echo x >> /data/tries; [ $(wc -l < /data/tries) -ge 3 ]"
    pod = {"restartPolicy": "OnFailure", "volumes": [{"name": "data", "emptyDir": {}}]}
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}

    async def succeeds_at_the_third_try() -> None:
        job = await jobs_on_nodes.job("third-try")
        await job.start(script, pod=pod, container=container, backoffLimit=3)
        await job.completes(succeeded=1, failed=0)
        [only] = job.own()
        assert only["status"]["containerStatuses"][0]["restartCount"] == 2
        await job.is_sound()

    async def restarts_too_often(limit: int) -> None:
        job = await jobs_on_nodes.job(f"restarts-{limit}")
        await job.start("exit 1", pod={"restartPolicy": "OnFailure"}, backoffLimit=limit)
        status = await job.fails("BackoffLimitExceeded", failed=1, succeeded=0)
        assert message(status) == BACKOFF_MESSAGE
        [only] = job.own()
        assert only["status"]["containerStatuses"][0]["restartCount"] <= max(limit, 1)
        # J9 knows no restarts: there Failed comes with no more failures than backoffLimit.
        await job.is_sound(excused=["J9"])

    async def once() -> None:
        await restarts_too_often(1)

    async def twice() -> None:
        await restarts_too_often(2)

    await at_once(succeeds_at_the_third_try, once, twice)


async def waits_for(job: NodeJob, *reasons: str) -> None:
    """Wait until the kubelet says why the container does not start."""

    def there() -> bool:
        return any(
            container["state"].get("waiting", {}).get("reason") in reasons
            for pod in job.own()
            for container in pod.get("status", {}).get("containerStatuses", ())
        )

    await job.until(there, f"a container that waits for {reasons}")


async def test_containers_that_cannot_start(jobs_on_nodes: JobCluster) -> None:
    """A Pod that waits is active until the deadline, or until what is missing comes; one that cannot run has failed."""

    async def image_is_missing(policy: str, *reasons: str) -> None:
        job = await jobs_on_nodes.job(f"no-image-{policy.lower()}")
        container = {"image": "127.0.0.1:1/none:1", "imagePullPolicy": policy}
        await job.start("", container=container, backoffLimit=0)
        await waits_for(job, *reasons)
        await job.reaches(active=1, ready=0)
        await job.deadline_in(1)
        status = await job.fails("DeadlineExceeded", failed=1, succeeded=0)
        assert message(status) == "Job was active longer than specified deadline"
        await job.told("DeadlineExceeded")
        await job.is_sound()

    async def never_pulled() -> None:
        await image_is_missing("Never", "ErrImageNeverPull")

    async def cannot_be_pulled() -> None:
        await image_is_missing("IfNotPresent", "ErrImagePull", "ImagePullBackOff")

    async def configuration_comes_late() -> None:
        job = await jobs_on_nodes.job("no-config")
        await job.start("exit $CODE", container={"envFrom": [{"configMapRef": {"name": "late"}}]}, backoffLimit=0)
        await waits_for(job, "CreateContainerConfigError")
        await job.reaches(active=1)
        await job.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"CODE": "0"}})
        await job.completes(succeeded=1, failed=0)
        await job.is_sound()

    async def command_is_missing() -> None:
        job = await jobs_on_nodes.job("no-command")
        policy = on_exit_codes("FailJob", "In", 127, 128)
        await job.start("", container={"command": ["/none"]}, **policy)
        await job.fails("PodFailurePolicy", failed=1)
        [pod] = job.own()
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "StartError"
        await job.is_sound()

    await at_once(never_pulled, cannot_be_pulled, configuration_comes_late, command_is_missing)


async def test_a_sidecar_does_not_keep_the_job(jobs_on_nodes: JobCluster) -> None:
    """A restartable init container runs until the main one has ended; how it ends then does not matter."""

    async def ends(name: str, script: str) -> None:
        job = await jobs_on_nodes.job(name)
        sidecar = {"name": "side", "image": IMAGE, "restartPolicy": "Always", "command": ["sh", "-c", script]}
        await job.start("exit 0", pod={"initContainers": [sidecar]}, backoffLimit=0)
        await job.completes(succeeded=1, failed=0)
        [pod] = job.own()
        assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]
        await job.is_sound()

    async def gently() -> None:
        await ends("sidecar", f"trap 'exit 0' TERM; {FOR_EVER}")

    async def killed() -> None:
        await ends("sidecar-killed", STUBBORN)

    await at_once(gently, killed)
