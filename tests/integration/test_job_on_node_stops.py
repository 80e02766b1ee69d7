"""Pods that are stopped while they run: by the Job, by its user, with and without grace."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from job_history import Json, is_true, moments, phase, status_of, uncounted
from job_node import FOR_EVER, STUBBORN, JobCluster, NodeJob, at_once
from pods import JOB, POD

pytestmark = [pytest.mark.nodes, pytest.mark.asyncio(loop_scope="session")]

GENTLE = f"trap 'exit 0' TERM; {FOR_EVER}"
"""A script that succeeds when it is told to stop."""

ROUGH = f"trap 'exit 7' TERM; {FOR_EVER}"
"""A script that fails when it is told to stop."""


def condition(status: Json, wanted: str) -> Json:
    [found] = [one for one in status["conditions"] if one["type"] == wanted]
    return found


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def when_first(job: NodeJob, wanted: str) -> list[str]:
    """The phases of the Job's Pods that were there when the condition came; nothing if it never did."""
    for moment in moments(job.history()):
        if moment.seen.kind == "Job" and is_true(status_of(moment.after), wanted):
            return [phase(pod) for pod in moment.pods.values()]
    return []


async def test_a_deadline_stops_what_runs(jobs_on_nodes: JobCluster) -> None:
    """FailureTarget comes at the deadline, Failed once the last container is really gone; how it ended is no matter."""

    async def ignores_sigterm() -> None:
        job = await jobs_on_nodes.job("deadline-stubborn")
        pod = {"terminationGracePeriodSeconds": 5}
        await job.start(STUBBORN, pod=pod, parallelism=2, completions=2)
        await job.runs(2)
        await job.deadline_in(2)
        await job.reaches(active=0, terminating=2)
        status = await job.fails("DeadlineExceeded", failed=2, succeeded=0, terminating=0)
        told, over = (condition(status, wanted)["lastTransitionTime"] for wanted in ("FailureTarget", "Failed"))
        assert seconds_between(told, over) >= 4, status
        assert "Running" in when_first(job, "FailureTarget")
        assert "Running" not in when_first(job, "Failed")
        await job.told("DeadlineExceeded", "SuccessfulDelete")
        await job.is_sound()

    async def succeeds_at_sigterm() -> None:
        """The Pod was stopped because the Job had failed: it counts as failed, whatever its container says then."""
        job = await jobs_on_nodes.job("deadline-gentle")
        await job.start(GENTLE, pod={"terminationGracePeriodSeconds": 30})
        [pod] = await job.runs()
        await job.deadline_in(2)
        await job.fails("DeadlineExceeded", failed=1, succeeded=0)
        await job.ended(pod, "Succeeded")
        await job.is_sound()

    await at_once(ignores_sigterm, succeeds_at_sigterm)


async def test_suspending_stops_what_runs_and_counts_nothing(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """Whether the container succeeds, fails or is killed then: the work begins anew when the Job is resumed."""

    async def stops(name: str, script: str) -> None:
        job = await jobs_on_nodes.job(name)
        scratch = tmp_path / name
        scratch.mkdir()
        script = f"[ -e /scratch/resumed ] && exit 0; {script}"
        spec = {"parallelism": 2, "completions": 2, "backoffLimit": 0}
        await job.start(script, scratch=scratch, pod={"terminationGracePeriodSeconds": 2}, **spec)
        first = await job.runs(2)
        await job.suspend(True)
        await job.until(lambda: all("gone" in pod for pod in job.own()), "both Pods gone")
        status = await job.reaches(active=0, terminating=0, failed=0, succeeded=0, startTime=None)
        assert condition(status, "Suspended")["reason"] == "JobSuspended"
        (scratch / "resumed").touch()
        await job.suspend(False)
        status = await job.completes(succeeded=2, failed=0)
        assert condition(status, "Suspended")["reason"] == "JobResumed"
        assert len(job.own()) == 2 + len(first)
        await job.told("Suspended", "Resumed", "SuccessfulDelete", "Completed")
        await job.is_sound()

    async def gently() -> None:
        await stops("suspend-gentle", GENTLE)

    async def roughly() -> None:
        await stops("suspend-rough", ROUGH)

    async def stubbornly() -> None:
        await stops("suspend-stubborn", STUBBORN)

    await at_once(gently, roughly, stubbornly)


async def test_a_deleted_pod_is_replaced_when_the_policy_says(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """TerminatingOrFailed: beside the one that still stops. Failed: once that has ended; and its end counts then."""
    slow_stop = {"terminationGracePeriodSeconds": 16}  # longer than the backoff of 10 s, which begins at the deletion
    indexed = {"completionMode": "Indexed", "completions": 1, "parallelism": 1}

    async def at_once_beside_it() -> None:
        job = await jobs_on_nodes.job("replace-at-once")
        await job.start(STUBBORN, pod=slow_stop, podReplacementPolicy="TerminatingOrFailed", backoffLimit=1, **indexed)
        [old] = await job.runs()
        await job.delete_pod(old)
        await job.reaches(active=0, terminating=1, failed=1)
        await job.reaches(active=1, terminating=1, failed=1)
        [new] = await job.runs()
        assert new["metadata"]["uid"] != old["metadata"]["uid"]
        await job.delete_pod(new, grace_period_seconds=1)
        await job.fails("BackoffLimitExceeded", failed=2)
        await job.is_sound()

    async def once_it_has_ended() -> None:
        job = await jobs_on_nodes.job("replace-when-ended")
        script = f"[ -e /scratch/first ] && exit 0; touch /scratch/first; {STUBBORN}"
        pod = {"terminationGracePeriodSeconds": 4}
        await job.start(script, pod=pod, scratch=tmp_path, podReplacementPolicy="Failed", backoffLimit=1, **indexed)
        [old] = await job.runs()
        await job.delete_pod(old)
        await job.reaches(active=0, terminating=1, failed=0)
        await job.ended(old, "Failed")
        await job.reaches(terminating=0, failed=1)
        await job.completes(failed=1, succeeded=1)
        assert len(job.own()) == 2
        for moment in moments(job.history()):
            running = {pod["metadata"]["uid"] for pod in moment.pods.values() if phase(pod) == "Running"}
            if old["metadata"]["uid"] in running:
                status = status_of(moment.job)
                assert (status.get("failed"), uncounted(status, "failed"), len(moment.pods)) == (None, [], 1)
        await job.is_sound()

    async def it_succeeds_after_all() -> None:
        """With the policy Failed a Pod that is told to stop, and succeeds, has succeeded."""
        job = await jobs_on_nodes.job("deleted-succeeds")
        await job.start(GENTLE, podReplacementPolicy="Failed", backoffLimit=0)
        [old] = await job.runs()
        await job.delete_pod(old)
        await job.completes(succeeded=1, failed=0)
        assert len(job.own()) == 1
        await job.is_sound()

    async def it_has_failed_already() -> None:
        """With TerminatingOrFailed a Pod that is told to stop has failed by that, and succeeds in vain."""
        job = await jobs_on_nodes.job("deleted-in-vain")
        gentle_and_slow = f"trap 'sleep 2; exit 0' TERM; {FOR_EVER}"
        pod = {"terminationGracePeriodSeconds": 30}
        await job.start(gentle_and_slow, pod=pod, podReplacementPolicy="TerminatingOrFailed", backoffLimit=0)
        [old] = await job.runs()
        await job.delete_pod(old)
        await job.fails("BackoffLimitExceeded", failed=1, succeeded=0)
        await job.is_sound()

    async def by_force(policy: str) -> None:
        """Without grace the Pod stays for its finalizer, until it is counted; the kubelet kills at once."""
        job = await jobs_on_nodes.job(f"force-{policy.lower()}")
        await job.start(STUBBORN, pod=slow_stop, podReplacementPolicy=policy, backoffLimit=0)
        [old] = await job.runs()
        await job.delete_pod(old, grace_period_seconds=0)
        await job.fails("BackoffLimitExceeded", failed=1)
        assert len(job.own()) == 1
        await job.is_sound()

    async def by_force_terminating() -> None:
        await by_force("TerminatingOrFailed")

    async def by_force_failed() -> None:
        await by_force("Failed")

    await at_once(
        at_once_beside_it,
        once_it_has_ended,
        it_succeeds_after_all,
        it_has_failed_already,
        by_force_terminating,
        by_force_failed,
    )


async def test_a_deleted_job_lets_its_pods_go(jobs_on_nodes: JobCluster, tmp_path: Path) -> None:
    """Background and Foreground: the Pods stop and go; Orphan: they run on, without finalizer, to their own end."""
    pod = {"terminationGracePeriodSeconds": 3}
    both = {"parallelism": 2, "completions": 2}

    async def with_its_pods(propagation: str) -> None:
        job = await jobs_on_nodes.job(f"delete-{propagation.lower()}")
        await job.start(STUBBORN, pod=pod, **both)
        await job.runs(2)
        await job.delete(JOB, job.name, propagation=propagation)
        if propagation == "Foreground":
            await job.reaches(active=0, terminating=2)
        await job.until(lambda: job.job is None, "the Job gone")
        await job.until(lambda: all("gone" in one for one in job.own()), "its Pods gone")
        assert len(job.own()) == 2
        await job.is_sound()

    async def background() -> None:
        await with_its_pods("Background")

    async def foreground() -> None:
        await with_its_pods("Foreground")

    async def orphan() -> None:
        job = await jobs_on_nodes.job("delete-orphan")
        script = "until [ -e /scratch/end ]; do sleep 0.1; done"
        await job.start(script, scratch=tmp_path, **both)
        await job.runs(2)
        await job.delete(JOB, job.name, propagation="Orphan")
        await job.until(lambda: job.job is None, "the Job gone")
        await job.until(lambda: not any(one["metadata"].get("finalizers") for one in job.own()), "no finalizers")
        left = await job.list(POD)
        assert [(one.field("status")["phase"], one.is_deleting) for one in left] == [("Running", False)] * 2
        (tmp_path / "end").touch()
        for one in job.own():
            await job.ended(one, "Succeeded")
        await job.is_sound()

    await at_once(background, foreground, orphan)
