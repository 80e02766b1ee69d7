"""Jobs that are edited while they run or are suspended, on the real API server."""

from __future__ import annotations

from typing import Any

import pytest
from job_cluster import MESSAGES, Jobs, by_index, indexed
from pods import JOB, POD, job_manifest

from reconcile import Object
from reconcile.testing.waiting import eventually

COMPLETE = ("SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")

TEMPLATE = {
    "metadata": {"labels": {"tier": "batch"}, "annotations": {"note": "new"}},
    "spec": {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "schedulingGates": [{"name": "example.com/gate"}],
        "containers": [{"name": "main", "image": "local/none", "resources": {"requests": {"cpu": "2"}}}],
    },
}


def carries_template(pod: Object) -> bool:
    """Whether the Pod was made from ``TEMPLATE``."""
    spec = pod.field("spec")
    return (
        pod.labels["tier"] == "batch"
        and pod.annotations["note"] == "new"
        and spec["nodeSelector"] == {"disk": "fast"}
        and spec["schedulingGates"] == [{"name": "example.com/gate"}]
        and any(one.get("key") == "spot" for one in spec["tolerations"])
        and spec["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("has_run", [False, True])
async def test_a_suspended_jobs_template_may_change(jobs: Any, has_run: bool) -> None:
    """Scheduling directives, labels, annotations and resources; the Pods made on resume follow the new ones."""
    async with jobs() as j:
        await j.create(job_manifest("edit", suspend=not has_run, parallelism=2, completions=2))
        if has_run:
            await j.has_active("edit", 2)
            await j.patch(JOB, "edit", {"spec": {"suspend": True}})
        await j.ends("edit", "Suspended/JobSuspended")
        await j.reaches("edit", active=None, terminating=0, startTime=None)
        await j.patch(JOB, "edit", {"spec": {"template": TEMPLATE}})
        await j.patch(JOB, "edit", {"spec": {"suspend": False}})
        pods = await j.has_active("edit", 2)
        assert all(map(carries_template, pods))
        for pod in pods:
            await j.end(pod, "Succeeded")
        status = await j.ends("edit", *COMPLETE)
        assert (status["succeeded"], status.get("failed", 0)) == (2, 0)


@pytest.mark.asyncio
async def test_the_deadline_counts_from_the_resume(jobs: Any) -> None:
    """It does not pass while suspended, and the time before the suspension is forgotten."""
    async with jobs() as j:
        await j.create(job_manifest("pause", suspend=True, activeDeadlineSeconds=1))
        await j.create(job_manifest("late", activeDeadlineSeconds=1))
        await j.ends("pause", "Suspended/JobSuspended")
        await j.ends("late", "FailureTarget/DeadlineExceeded", "Failed/DeadlineExceeded")
        assert await j.conditions("pause") == ["Suspended"]
        await j.patch(JOB, "pause", {"spec": {"suspend": False}})
        await j.has_active("pause", 1)
        status = await j.ends("pause", "FailureTarget/DeadlineExceeded", "Failed/DeadlineExceeded")
        resumed = status["conditions"][0]
        assert (resumed["status"], resumed["message"]) == ("False", MESSAGES["JobResumed"])
        assert status["startTime"] == resumed["lastTransitionTime"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("edit", "reason"),
    [({"activeDeadlineSeconds": 1}, "DeadlineExceeded"), ({"backoffLimit": 0}, "BackoffLimitExceeded")],
)
async def test_a_limit_that_is_lowered_below_what_has_been_ends_the_job(
    jobs: Any, edit: dict[str, int], reason: str
) -> None:
    """A deadline that is over by then; fewer failures than there were."""
    async with jobs() as j:
        await j.create(job_manifest("limit", activeDeadlineSeconds=1000))
        [pod] = await j.has_active("limit", 1)
        await j.end(pod, "Failed")
        await j.reaches("limit", failed=1, active=1)
        await j.patch(JOB, "limit", {"spec": edit})
        status = await j.ends("limit", f"FailureTarget/{reason}", f"Failed/{reason}")
        assert status["failed"] == 2


@pytest.mark.asyncio
async def test_fewer_failed_indexes_are_allowed_than_there_are(jobs: Any) -> None:
    """maxFailedIndexes may be set later."""
    async with jobs() as j:
        await j.create(indexed("most", 3, backoffLimitPerIndex=0))
        pods = by_index(await j.has_active("most", 3))
        await j.end(pods[0], "Failed")
        await j.reaches("most", failedIndexes="0", active=2)
        await j.patch(JOB, "most", {"spec": {"maxFailedIndexes": 0}})
        await j.ends("most", "FailureTarget/MaxFailedIndexesExceeded", "Failed/MaxFailedIndexesExceeded")


@pytest.mark.asyncio
async def test_a_terminating_pod_is_made_up_for_once_the_policy_says_so(jobs: Any) -> None:
    """podReplacementPolicy from Failed to TerminatingOrFailed: the Pod on its way out counts now."""
    async with jobs() as j:
        await j.create(job_manifest("repl", podReplacementPolicy="Failed"))
        [pod] = await j.has_active("repl", 1)
        j.bind(pod)
        await j.run(pod)
        await j.delete(POD, pod.name)
        await j.reaches("repl", terminating=1, active=None, failed=None)
        # It was asked to go just now, which would be waited for.
        await j.patch(JOB, "repl", {"spec": {"podReplacementPolicy": "TerminatingOrFailed"}})
        status = await j.reaches("repl", failed=1)
        assert status["terminating"] == 1


@pytest.mark.asyncio
async def test_a_condition_that_somebody_added_as_false_is_taken_over(jobs: Any) -> None:
    """No second entry of its type is appended, which no reader of conditions expects."""
    async with jobs() as j:
        await j.create(job_manifest("odd", backoffLimit=0))
        [pod] = await j.has_active("odd", 1)
        await j.reaches("odd", active=1)
        added = {"type": "FailureTarget", "status": "False", "reason": "Mine", "message": "not yet"}
        await j.patch(JOB, "odd", {"status": {"conditions": [added]}}, "status")
        await j.end(pod, "Failed")
        status = await j.ends("odd", "FailureTarget/BackoffLimitExceeded", "Failed/BackoffLimitExceeded")
        assert [one["type"] for one in status["conditions"]] == ["FailureTarget", "Failed"]


@pytest.mark.asyncio
async def test_a_namespace_on_its_way_out_is_left_in_peace(jobs: Any) -> None:
    """Nothing can be made there any more: no Pod, no Event, and no reconcile that is tried again and again."""
    async with jobs() as j:
        await j.create(job_manifest("end", suspend=True))
        await j.ends("end", "Suspended/JobSuspended")
        await _terminate_namespace(j)
        await j.patch(JOB, "end", {"spec": {"suspend": False}})

        async def is_resumed() -> bool:
            return bool((await j.status("end")).get("startTime"))

        await eventually(is_resumed)
        assert await j.pods("end") == []
        assert [reason for reason, _ in await j.events("end")] == ["Suspended"]


async def _terminate_namespace(j: Jobs) -> None:
    j.rest.request("DELETE", f"/api/v1/namespaces/{j.namespace}")

    def is_terminating() -> bool:
        return bool(j.rest.request("GET", f"/api/v1/namespaces/{j.namespace}")["status"]["phase"] == "Terminating")

    await eventually(is_terminating)
