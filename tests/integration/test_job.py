"""The Job controller on the real API server: whole lives of Jobs, and statuses that the server accepts.

The kubelet is played by patches of Pod status. Each test fails if any reconcile ended in an error that it did not ask
for: a status that the server refuses (422) shows there.
"""

from __future__ import annotations

from typing import Any

import pytest
from job_cluster import INDEX, Jobs, by_index, indexed
from pods import JOB, POD, job_manifest

from reconcile import Kind, controller_of
from reconcile.testing.waiting import eventually
from reconcile_job.plan.options import FINALIZER


@pytest.mark.asyncio
async def test_a_job_runs_to_complete(jobs: Any) -> None:
    """Three Pods, two at a time: conditions in order, counts, times, events, finalizers, and the user's metadata."""
    async with jobs() as j:
        manifest = job_manifest("plain", completions=3, parallelism=2)
        manifest["metadata"] |= {"labels": {"mine": "yes"}, "annotations": {"note": "kept"}}
        await j.create(manifest)
        first = await j.has_active("plain", 2)
        assert all(pod.finalizers == (FINALIZER,) for pod in first)
        await j.run(first[0])
        await j.reaches("plain", active=2, ready=1, terminating=0)
        for pod in first:
            await j.end(pod, "Succeeded")
        [last] = await j.has_active("plain", 1)
        await j.end(last, "Succeeded")
        status = await j.ends("plain", "SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")
        assert status["succeeded"] == 3
        assert status["startTime"] <= status["completionTime"] <= status["conditions"][-1]["lastTransitionTime"]
        assert status["conditions"][-1]["message"] == "Reached expected number of succeeded pods"
        assert status["uncountedTerminatedPods"] == {}
        job = await j.get(JOB, "plain")
        assert job.labels["mine"] == "yes"
        assert job.annotations["note"] == "kept"
        assert await eventually(lambda: _are_let_go(j, "plain"))
        wanted = {"SuccessfulCreate": 2, "Completed": 1}
        found = await eventually(lambda: _events(j, "plain", 3))
        assert {reason: sum(one[0] == reason for one in found) for reason in wanted} == wanted
        assert ("Completed", "Job completed") in found


async def _are_let_go(j: Jobs, job: str) -> bool:
    """Whether the finalizers are off: they go after the status that ends the Job."""
    return not any(pod.finalizers for pod in await j.pods(job))


async def _events(j: Jobs, job: str, count: int) -> list[tuple[str, str]] | None:
    found = await j.events(job)
    return found if len(found) >= count else None


@pytest.mark.asyncio
async def test_an_indexed_job_knows_its_indexes(jobs: Any) -> None:
    """Label, annotation, hostname and environment carry the index; a failed index runs again."""
    async with jobs() as j:
        await j.create(indexed("idx", 4))
        pods = by_index(await j.has_active("idx", 4))
        assert sorted(pods) == [0, 1, 2, 3]
        for index, pod in pods.items():
            spec = pod.field("spec")
            assert pod.labels[INDEX] == str(index)
            assert spec["hostname"] == f"idx-{index}"
            assert [variable["name"] for variable in spec["containers"][0]["env"]] == ["JOB_COMPLETION_INDEX"]
        for index in (0, 1, 3):
            await j.end(pods[index], "Succeeded")
        await j.reaches("idx", completedIndexes="0,1,3", succeeded=3, active=1)
        await j.end(pods[2], "Failed")
        await j.reaches("idx", failed=1)
        again = await j.has_active("idx", 1)
        assert sorted(by_index(again)) == [2]
        await j.end(again[0], "Succeeded")
        status = await j.ends("idx", "SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")
        assert status["completedIndexes"] == "0-3"


@pytest.mark.asyncio
async def test_too_many_failures_fail_the_job(jobs: Any) -> None:
    """One failure past backoffLimit: the running Pods are deleted, and the Job is Failed."""
    async with jobs() as j:
        await j.create(job_manifest("bad", backoffLimit=0, parallelism=2, completions=2))
        pods = await j.has_active("bad", 2)
        await j.end(pods[0], "Failed")
        status = await j.ends("bad", "FailureTarget/BackoffLimitExceeded", "Failed/BackoffLimitExceeded")
        assert status["failed"] == 2
        assert status["conditions"][-1]["message"] == "Job has reached the specified backoff limit"
        assert [pod.name for pod in await j.pods("bad")] == [pods[0].name]
        assert ("BackoffLimitExceeded", status["conditions"][-1]["message"]) in await eventually(
            lambda: _events(j, "bad", 3)
        )


@pytest.mark.asyncio
async def test_a_replacement_waits_for_the_backoff(jobs: Any) -> None:
    """A Pod that failed just now is not replaced at once; the status says active 0 meanwhile, and is accepted."""
    async with jobs() as j:
        await j.create(job_manifest("slow"))
        [pod] = await j.has_active("slow", 1)
        await j.run(pod)
        await j.reaches("slow", ready=1)
        await j.patch(POD, pod.name, {"status": {"phase": "Failed", "conditions": None}}, "status")
        status = await j.reaches("slow", failed=1, ready=0)
        assert status.get("active", 0) == 0


@pytest.mark.asyncio
async def test_the_deadline_fails_the_job(jobs: Any) -> None:
    """Not before the deadline, and soon after it, with nothing else happening."""
    async with jobs() as j:
        await j.create(job_manifest("late", activeDeadlineSeconds=1))
        await j.has_active("late", 1)
        status = await j.ends("late", "FailureTarget/DeadlineExceeded", "Failed/DeadlineExceeded")
        assert status["conditions"][-1]["message"] == "Job was active longer than specified deadline"
        assert status["conditions"][-1]["lastTransitionTime"] > status["startTime"]


@pytest.mark.asyncio
async def test_suspend_and_resume(jobs: Any) -> None:
    """Suspending deletes the Pods without counting them and clears the start; resuming starts anew."""
    async with jobs() as j:
        await j.create(job_manifest("pause", parallelism=2, completions=2))
        await j.has_active("pause", 2)
        await j.patch(JOB, "pause", {"spec": {"suspend": True}})
        await j.ends("pause", "Suspended/JobSuspended")
        status = await j.reaches("pause", terminating=0, startTime=None)
        assert not status.get("active")
        assert not status.get("failed")
        await j.patch(JOB, "pause", {"spec": {"suspend": False}})
        pods = await j.has_active("pause", 2)
        status = await j.reaches("pause", active=2)
        assert [(one["status"], one["reason"]) for one in status["conditions"]] == [("False", "JobResumed")]
        assert status["startTime"]
        for pod in pods:
            await j.end(pod, "Succeeded")
        await j.ends("pause", "SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")


@pytest.mark.asyncio
async def test_a_suspended_job_without_completions_completes(jobs: Any) -> None:
    """completions 0 and suspend: Complete, without a start."""
    async with jobs() as j:
        await j.create(job_manifest("empty", suspend=True, completions=0, parallelism=1))
        await j.ends("empty", "SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")


@pytest.mark.asyncio
async def test_scaling_down_deletes_surplus_uncounted(jobs: Any) -> None:
    """Fewer parallelism: the Pods that have come least far go, and count as nothing."""
    async with jobs() as j:
        await j.create(job_manifest("wide", parallelism=3, completions=5))
        pods = await j.has_active("wide", 3)
        await j.run(pods[0])
        await j.patch(JOB, "wide", {"spec": {"parallelism": 1}})
        [kept] = await j.has_active("wide", 1)
        assert kept.uid == pods[0].uid
        status = await j.reaches("wide", active=1, terminating=0)
        assert not status.get("failed")


@pytest.mark.asyncio
async def test_pods_are_adopted_and_released(jobs: Any) -> None:
    """A bare Pod that matches becomes the Job's own; one whose labels no longer match is let go."""
    async with jobs() as j:
        job = await j.create(
            job_manifest(
                "manual",
                parallelism=2,
                completions=2,
                labels={"app": "m"},
                manualSelector=True,
                selector={"matchLabels": {"app": "m"}},
            )
        )
        await j.has_active("manual", 2)
        await j.patch(JOB, "manual", {"spec": {"parallelism": 3, "suspend": False}})
        containers = [{"name": "main", "image": "x"}]
        await j.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "bare", "labels": {"app": "m"}},
                "spec": {"containers": containers},
            }
        )

        async def adopted() -> bool:
            pod = await j.get(POD, "bare")
            ref = None if pod is None else controller_of(pod)
            return pod is None or (ref is not None and ref.uid == job.uid and FINALIZER in pod.finalizers)

        await eventually(adopted)
        await j.has_active("manual", 2)
        victim = (await j.active("manual"))[0]
        await j.patch(POD, victim.name, {"metadata": {"labels": {"app": "other"}}})

        async def released() -> bool:
            pod = await j.get(POD, victim.name)
            return pod is not None and controller_of(pod) is None and not pod.finalizers

        await eventually(released)
        await j.has_active("manual", 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("propagation", ["Background", "Orphan"])
async def test_a_deleted_job_leaves_no_finalizer(jobs: Any, propagation: str) -> None:
    """Pods of a Job that is gone, or is on its way out, lose the finalizer, so that they can go too."""
    async with jobs() as j:
        await j.create(job_manifest("gone", parallelism=2))
        pods = await j.has_active("gone", 2)
        await j.delete(JOB, "gone", propagation=propagation)

        async def stripped() -> bool:
            found = [await j.get(POD, pod.name) for pod in pods]
            return all(pod is None or not pod.finalizers for pod in found)

        await eventually(stripped)


@pytest.mark.asyncio
async def test_a_pod_without_a_job_loses_the_finalizer(jobs: Any) -> None:
    """Nobody would count it: the finalizer goes, and others stay."""
    async with jobs() as j:
        meta = {"name": "stray", "finalizers": [FINALIZER, "example.com/theirs"]}
        spec = {"containers": [{"name": "main", "image": "x"}]}
        await j.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

        async def stripped() -> bool:
            pod = await j.get(POD, "stray")
            return pod is not None and pod.finalizers == ("example.com/theirs",)

        await eventually(stripped)
        await j.patch(POD, "stray", {"metadata": {"finalizers": None}})


@pytest.mark.asyncio
async def test_a_pod_deleted_by_somebody_is_replaced_and_counted(jobs: Any) -> None:
    """A Pod that vanishes before it ends counts as failed, once."""
    async with jobs() as j:
        await j.create(job_manifest("hit", backoffLimit=3))
        [pod] = await j.has_active("hit", 1)
        await j.delete(POD, pod.name)
        await j.reaches("hit", failed=1)

        async def is_gone() -> bool:
            return await j.get(POD, pod.name) is None

        await eventually(is_gone)


@pytest.mark.asyncio
async def test_jobs_of_others_are_left_alone(jobs: Any) -> None:
    """Another managedBy, or none: nothing is written."""
    async with jobs() as j:
        await j.create(job_manifest("others", managed_by="example.com/theirs"))
        await j.create(job_manifest("builtin", managed_by=None))
        await j.create(job_manifest("ours"))
        await j.has_active("ours", 1)
        for name in ("others", "builtin"):
            assert await j.status(name) == {}
            assert await j.pods(name) == []


@pytest.mark.asyncio
async def test_a_job_of_the_same_name_starts_anew(jobs: Any) -> None:
    """A Job deleted and made again: its Pods are new ones, and the old ones are let go."""
    async with jobs() as j:
        await j.create(job_manifest("twin"))
        [old] = await j.has_active("twin", 1)
        await j.delete(JOB, "twin", propagation="Background")
        await j.create(job_manifest("twin"))

        async def both() -> bool:
            before = await j.get(POD, old.name)
            active = [pod for pod in await j.active("twin") if pod.uid != old.uid]
            return len(active) == 1 and (before is None or not before.finalizers)

        await eventually(both)


@pytest.mark.asyncio
async def test_a_quota_is_told_and_the_job_goes_on(jobs: Any) -> None:
    """A refused create is an Event, and is tried again."""
    async with jobs() as j:
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": {"pods": "0"}},
        }
        await j.create(quota)
        await j.patch(
            Kind.parse("v1/ResourceQuota"), "q", {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}, "status"
        )
        await j.create(job_manifest("quota"))

        async def is_told() -> bool:
            return any(
                reason == "FailedCreate" and "exceeded quota" in text for reason, text in await j.events("quota")
            )

        await eventually(is_told)
        await j.delete(Kind.parse("v1/ResourceQuota"), "q")
        await j.has_active("quota", 1)
        j.failures.clear()
