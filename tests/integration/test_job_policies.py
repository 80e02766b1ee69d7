"""Limits per index, failure, success and replacement policies, and elastic Jobs on the real API server."""

from __future__ import annotations

from typing import Any

import pytest
from job_cluster import by_index, indexed
from pods import JOB, POD, job_manifest


@pytest.mark.asyncio
async def test_limits_per_index(jobs: Any) -> None:
    """An index past its own limit fails; the others go on, and the Job is Failed when all are decided."""
    async with jobs() as j:
        await j.create(indexed("per", 3, backoffLimitPerIndex=0))
        pods = by_index(await j.has_active("per", 3))
        await j.end(pods[1], "Failed")
        await j.reaches("per", failedIndexes="1", active=2)
        await j.end(pods[0], "Succeeded")
        await j.end(pods[2], "Succeeded")
        status = await j.ends("per", "FailureTarget/FailedIndexes", "Failed/FailedIndexes")
        assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1")
        assert (status["succeeded"], status["failed"]) == (2, 1)


@pytest.mark.asyncio
async def test_the_count_of_an_index_is_carried_on(jobs: Any) -> None:
    """The new Pod of a failed index says how often it has failed; the old one keeps its finalizer until then."""
    async with jobs() as j:
        await j.create(indexed("carry", 2, backoffLimitPerIndex=2))
        pods = by_index(await j.has_active("carry", 2))
        await j.end(pods[0], "Failed")
        again = by_index(await j.has_active("carry", 2))
        assert again[0].annotations["batch.kubernetes.io/job-index-failure-count"] == "1"
        await j.reaches("carry", failed=1, uncountedTerminatedPods={})


@pytest.mark.asyncio
async def test_too_many_failed_indexes(jobs: Any) -> None:
    """maxFailedIndexes: one more than that ends the Job."""
    async with jobs() as j:
        await j.create(indexed("most", 3, backoffLimitPerIndex=0, maxFailedIndexes=0))
        pods = by_index(await j.has_active("most", 3))
        await j.end(pods[0], "Failed")
        await j.ends("most", "FailureTarget/MaxFailedIndexesExceeded", "Failed/MaxFailedIndexesExceeded")


@pytest.mark.asyncio
async def test_the_failure_policy(jobs: Any) -> None:
    """Ignore does not count; FailJob ends the Job with the text that says which Pod and rule."""
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    async with jobs() as j:
        await j.create(job_manifest("policy", backoffLimit=0, podFailurePolicy={"rules": rules}))
        [pod] = await j.has_active("policy", 1)
        await j.end(pod, "Failed", 137, "DisruptionTarget")
        [pod] = await j.has_active("policy", 1)
        assert not (await j.status("policy")).get("failed")
        await j.end(pod, "Failed", 42)
        status = await j.ends("policy", "FailureTarget/PodFailurePolicy", "Failed/PodFailurePolicy")
        text = (
            f"Container main for pod {j.namespace}/{pod.name} failed with exit code 42 matching FailJob rule at index 1"
        )
        assert status["conditions"][-1]["message"] == text
        assert status["failed"] == 1


@pytest.mark.asyncio
async def test_fail_index(jobs: Any) -> None:
    """FailIndex fails the index at once, whatever its limit."""
    rules = [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]
    async with jobs() as j:
        await j.create(indexed("fi", 2, backoffLimitPerIndex=5, podFailurePolicy={"rules": rules}))
        pods = by_index(await j.has_active("fi", 2))
        await j.end(pods[1], "Failed", 42)
        await j.reaches("fi", failedIndexes="1")
        await j.end(pods[0], "Succeeded")
        await j.ends("fi", "FailureTarget/FailedIndexes", "Failed/FailedIndexes")


@pytest.mark.asyncio
async def test_the_success_policy(jobs: Any) -> None:
    """The leader's success is enough: the others are deleted and do not count as failed."""
    async with jobs() as j:
        await j.create(indexed("lead", 3, successPolicy={"rules": [{"succeededIndexes": "0"}]}))
        pods = by_index(await j.has_active("lead", 3))
        await j.end(pods[0], "Succeeded")
        status = await j.ends("lead", "SuccessCriteriaMet/SuccessPolicy", "Complete/SuccessPolicy")
        assert status["conditions"][-1]["message"] == "Matched rules at index 0"
        assert (status["succeeded"], status.get("failed", 0)) == (1, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rules", "succeeding", "position"),
    [
        ([{"succeededCount": 2}], [1, 3], 0),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], [0, 2], 0),
        ([{"succeededIndexes": "0,1"}, {"succeededIndexes": "2-3"}], [3, 2], 1),
    ],
)
async def test_each_form_of_a_success_policy(
    jobs: Any, rules: list[dict[str, Any]], succeeding: list[int], position: int
) -> None:
    """Any so many, so many of these, all of these; the message says which rule was met first."""
    async with jobs() as j:
        await j.create(indexed("enough", 4, successPolicy={"rules": rules}))
        pods = by_index(await j.has_active("enough", 4))
        for index in succeeding:
            await j.end(pods[index], "Succeeded")
        status = await j.ends("enough", "SuccessCriteriaMet/SuccessPolicy", "Complete/SuccessPolicy")
        assert status["conditions"][-1]["message"] == f"Matched rules at index {position}"
        assert (status["succeeded"], status.get("failed", 0)) == (2, 0)


@pytest.mark.asyncio
async def test_a_failure_by_condition_names_pod_and_condition(jobs: Any) -> None:
    """FailJob by onPodConditions, and the exact text."""
    rules = [{"action": "FailJob", "onPodConditions": [{"type": "ConfigIssue"}]}]
    async with jobs() as j:
        await j.create(job_manifest("config", podFailurePolicy={"rules": rules}))
        [pod] = await j.has_active("config", 1)
        await j.end(pod, "Failed", 1, "ConfigIssue")
        status = await j.ends("config", "FailureTarget/PodFailurePolicy", "Failed/PodFailurePolicy")
        text = f"Pod {j.namespace}/{pod.name} has condition ConfigIssue matching FailJob rule at index 0"
        assert status["conditions"][-1]["message"] == text


@pytest.mark.asyncio
async def test_restarts_in_place_reach_the_backoff_limit(jobs: Any) -> None:
    """restartPolicy OnFailure: the restarts of a Pod that runs are the failures."""
    manifest = job_manifest("again", backoffLimit=2)
    manifest["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    async with jobs() as j:
        await j.create(manifest)
        [pod] = await j.has_active("again", 1)
        container = {"name": "main", "image": "x", "imageID": "", "ready": False, "state": {"running": {}}}
        for restarts in (1, 2):
            statuses = [{**container, "restartCount": restarts}]
            await j.patch(POD, pod.name, {"status": {"phase": "Running", "containerStatuses": statuses}}, "status")
        status = await j.ends("again", "FailureTarget/BackoffLimitExceeded", "Failed/BackoffLimitExceeded")
        assert status["failed"] == 1


@pytest.mark.asyncio
async def test_a_replacement_waits_for_the_end_of_a_terminating_pod(jobs: Any) -> None:
    """podReplacementPolicy Failed: no second Pod beside one on its way out, and a failure counts when it has ended."""
    async with jobs() as j:
        await j.create(job_manifest("after", podReplacementPolicy="Failed"))
        [pod] = await j.has_active("after", 1)
        j.bind(pod)
        await j.run(pod)
        await j.delete(POD, pod.name)
        status = await j.reaches("after", terminating=1)
        assert not status.get("failed")
        assert len(await j.pods("after")) == 1
        await j.end(pod, "Failed")
        await j.reaches("after", failed=1, terminating=0)


@pytest.mark.asyncio
async def test_an_elastic_job_shrinks_and_grows(jobs: Any) -> None:
    """Indexes past the new size are forgotten, and run again when the Job grows."""
    async with jobs() as j:
        await j.create(indexed("el", 3))
        pods = by_index(await j.has_active("el", 3))
        await j.end(pods[2], "Succeeded")
        await j.reaches("el", completedIndexes="2")
        await j.patch(JOB, "el", {"spec": {"completions": 2, "parallelism": 2}})
        await j.reaches("el", completedIndexes=None, active=2)
        await j.patch(JOB, "el", {"spec": {"completions": 3, "parallelism": 3}})
        grown = by_index(await j.has_active("el", 3))
        assert sorted(grown) == [0, 1, 2]
        assert grown[2].uid != pods[2].uid
        await j.patch(JOB, "el", {"spec": {"completions": 0, "parallelism": 0}})
        await j.ends("el", "SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")
