"""The reference traces: what a Job's user and kubelet do, while the controller may crash at any write.

What a Pod comes to depends only on its index or ordinal and its attempt, so each run of a trace can end alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from job_crashes import JobRun
from job_history import controller, index_of, status_of
from pods import JOB, POD

from reconcile_job.plan.options import FINALIZER

LABEL = {"app": "m"}


async def non_indexed(run: JobRun) -> None:
    """Three completions, two at a time; the first Pod fails and is made up for."""
    await run.start()
    await run.create_job(completions=3, parallelism=2)
    await run.counted(active=2)
    await run.end(run.own()[0], "Failed")
    await run.counted(active=2, failed=1)
    await run.end(run.own()[1], "Succeeded")
    await run.counted(active=2, succeeded=1)
    await run.end(run.own()[2], "Succeeded")
    await run.counted(active=1, succeeded=2)
    await run.end(run.own()[3], "Succeeded")
    await run.over()


async def indexed(run: JobRun) -> None:
    """Three indexes, two at a time; index 1 fails once, and its count is carried on to its next Pod."""
    await run.start()
    await run.create_job(completions=3, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1)
    await run.counted(active=2)
    await _end_index(run, 1, "Failed")
    await run.counted(active=2, failed=1)
    await _end_index(run, 0, "Succeeded")
    await run.counted(active=2, completedIndexes="0")
    await _end_index(run, 1, "Succeeded")
    await run.counted(active=1, completedIndexes="0,1")
    await _end_index(run, 2, "Succeeded")
    await run.over()


async def _end_index(run: JobRun, index: int, wanted: str, *, code: int = 1) -> None:
    [pod] = [pod for pod in run.active() if index_of(pod) == index]
    await run.end(pod, wanted, code=code)


async def deleted(run: JobRun) -> None:
    """Deleted half-way, in the background: a Pod is counted, two still run."""
    await run.start()
    await run.create_job(completions=3, parallelism=2)
    await run.counted(active=2)
    await run.end(run.own()[0], "Succeeded")
    await run.counted(active=2, succeeded=1)
    await run.delete(JOB, run.name, propagation="Background")
    await run.until(lambda: run.job is None, "no Job")
    await run.stripped()


async def deleted_in_the_foreground(run: JobRun) -> None:
    """Deleted half-way, in the foreground: the Job stays until its Pods are let go; those that run count as nothing."""
    await run.start()
    await run.create_job(completions=3, parallelism=2)
    await run.counted(active=2)
    await run.end(run.own()[0], "Succeeded")
    await run.counted(active=2, succeeded=1)
    await run.delete(JOB, run.name, propagation="Foreground")
    await run.stripped()
    await run.patch(JOB, run.name, {"metadata": {"finalizers": None}})
    await run.until(lambda: run.job is None, "no Job")


async def failed(run: JobRun) -> None:
    """One failure past the limit: the Pods that run are deleted, and count as failed."""
    await run.start()
    await run.create_job(completions=4, parallelism=3, backoffLimit=0)
    await run.counted(active=3)
    await run.end(run.own()[0], "Succeeded")
    await run.counted(active=3, succeeded=1)
    await run.end(run.own()[1], "Failed")
    await run.over()


async def failed_alone(run: JobRun) -> None:
    """Nothing runs beside the Pods whose failures end the Job: they are counted by the write that ends it."""
    await run.start()
    await run.create_job(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=0)
    await run.counted(active=2)
    await _end_index(run, 1, "Failed")
    await run.counted(active=1, failed=1, failedIndexes="1")
    await _end_index(run, 0, "Failed")
    await run.over()
    await run.counted(active=0, failed=2, failedIndexes="0,1")


async def scaled_down(run: JobRun) -> None:
    """Fewer in parallel: the surplus is deleted and counts as nothing; later it is made up for."""
    await run.start()
    await run.create_job(completions=2, parallelism=2)
    await run.counted(active=2)
    await run.patch(JOB, run.name, {"spec": {"parallelism": 1}})
    await run.counted(active=1, terminating=0)
    await run.end(run.active()[0], "Succeeded")
    await run.counted(active=1, succeeded=1)
    await run.end(run.active()[0], "Succeeded")
    await run.over()


async def suspended(run: JobRun) -> None:
    """Suspended while two Pods run, which count as nothing; resumed, and run anew."""
    await run.start()
    await run.create_job(completions=2, parallelism=2)
    await run.counted(active=2)
    await run.patch(JOB, run.name, {"spec": {"suspend": True}})
    await run.counted(active=0, terminating=0, startTime=None)
    await run.patch(JOB, run.name, {"spec": {"suspend": False}})
    await run.counted(active=2)
    first, second = run.active()
    await run.end(first, "Succeeded")
    await run.counted(active=1, succeeded=1)
    await run.end(second, "Succeeded")
    await run.over()


async def adopted(run: JobRun) -> None:
    """A bare Pod that matches is adopted and counted; another is let go when its labels change, and made up for."""
    await run.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bare", "labels": LABEL},
            "spec": {"containers": [{"name": "main", "image": "local/none"}]},
        }
    )
    selector = {"matchLabels": LABEL}
    await run.create_job(completions=2, parallelism=2, labels=LABEL, manualSelector=True, selector=selector)
    await run.start()
    await run.counted(active=2)
    [other] = [pod for pod in run.active() if pod["metadata"]["name"] != "bare"]
    await run.patch(POD, other["metadata"]["name"], {"metadata": {"labels": {"app": "other"}}})
    await run.until(lambda: len(run.own()) == 3, "a Pod for the one that is let go")
    await run.counted(active=2)
    bare, replacement = sorted(run.active(), key=lambda pod: pod["metadata"]["name"] != "bare")
    await run.end(bare, "Succeeded")
    await run.counted(active=1, succeeded=1)
    await run.end(replacement, "Succeeded")
    await run.over()


async def deadline(run: JobRun) -> None:
    """The deadline passes after one success: the Pod that runs is deleted, and counts as failed."""
    await run.start()
    await run.create_job(completions=2, parallelism=2)
    await run.counted(active=2)
    await run.end(run.own()[0], "Succeeded")
    await run.counted(active=1, succeeded=1)
    start = datetime.fromisoformat(status_of(run.job)["startTime"])
    due = int((datetime.now(UTC) - start + timedelta(seconds=2)).total_seconds())
    await run.patch(JOB, run.name, {"spec": {"activeDeadlineSeconds": due}})
    await run.over()


def policy(action: str, code: int = 42) -> dict[str, Any]:
    return {"rules": [{"action": action, "onExitCodes": {"operator": "In", "values": [code]}}]}


async def fails_the_job(run: JobRun) -> None:
    """FailJob: one Pod ends with the code of the rule; another that runs is deleted, and counts as failed."""
    await run.start()
    await run.create_job(completions=3, parallelism=3, podFailurePolicy=policy("FailJob"))
    await run.counted(active=3)
    await run.end(run.own()[0], "Succeeded")
    await run.counted(active=2, succeeded=1)
    await run.end(run.own()[1], "Failed", code=42)
    await run.over()


async def fails_an_index(run: JobRun) -> None:
    """FailIndex: index 1 fails for good at once; index 0 fails by another code, and runs again."""
    await run.start()
    await run.create_job(
        completions=3,
        parallelism=3,
        completionMode="Indexed",
        backoffLimitPerIndex=1,
        podFailurePolicy=policy("FailIndex"),
    )
    await run.counted(active=3)
    await _end_index(run, 1, "Failed", code=42)
    await run.counted(active=2, failed=1, failedIndexes="1")
    await _end_index(run, 0, "Failed")
    await run.counted(active=2, failed=2)
    await _end_index(run, 0, "Succeeded")
    await run.counted(active=1, completedIndexes="0")
    await _end_index(run, 2, "Succeeded")
    await run.over()


async def too_many_indexes_fail(run: JobRun) -> None:
    """maxFailedIndexes: one failed index is too many; the Pods that run are deleted, and count as failed."""
    await run.start()
    await run.create_job(
        completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=0, maxFailedIndexes=0
    )
    await run.counted(active=3)
    await _end_index(run, 2, "Succeeded")
    await run.counted(active=2, completedIndexes="2")
    await _end_index(run, 1, "Failed")
    await run.over()


async def ignored(run: JobRun) -> None:
    """Ignore: a disrupted Pod counts as nothing, though no failure is allowed, and is made up for."""
    rules = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    await run.start()
    await run.create_job(completions=2, parallelism=2, backoffLimit=0, podFailurePolicy=rules)
    await run.counted(active=2)
    first, second = run.own()
    await run.end(first, "Failed", condition="DisruptionTarget")
    await run.until(lambda: len(run.own()) == 3, "a Pod for the one that is ignored")
    await run.counted(active=2, failed=None)
    await run.end(second, "Succeeded")
    await run.counted(active=1, succeeded=1)
    await run.end(run.active()[0], "Succeeded")
    await run.over()


async def enough(run: JobRun) -> None:
    """A success policy: index 0 is enough; the others are deleted, and count as nothing."""
    await run.start()
    success = {"rules": [{"succeededIndexes": "0"}]}
    await run.create_job(completions=3, parallelism=3, completionMode="Indexed", successPolicy=success)
    await run.counted(active=3)
    await _end_index(run, 0, "Succeeded")
    await run.over()


async def replaced_when_failed(run: JobRun) -> None:
    """podReplacementPolicy Failed: a Pod on its way out is neither a failure nor made up for before it has ended."""
    await run.start()
    await run.create_job(completions=1, parallelism=1, podReplacementPolicy="Failed")
    await run.counted(active=1)
    [leaving] = run.own()
    await run.run_on_a_node(leaving)
    await run.delete(POD, leaving["metadata"]["name"])
    await run.counted(active=0, terminating=1, failed=None)
    await run.end(leaving, "Failed")
    await run.counted(active=1, terminating=0, failed=1)
    await run.end(run.active()[0], "Succeeded")
    await run.over()


async def elastic(run: JobRun) -> None:
    """An Indexed Job shrinks, forgets the success of an index past its end, grows, and runs that again."""
    await run.start()
    await run.create_job(completions=3, parallelism=3, completionMode="Indexed")
    await run.counted(active=3)
    await _end_index(run, 2, "Succeeded")
    await run.counted(active=2, completedIndexes="2")
    await run.until(
        lambda: sum(FINALIZER in (pod["metadata"].get("finalizers") or ()) for pod in run.own()) == 2, "quiet"
    )
    await run.patch(JOB, run.name, {"spec": {"completions": 2, "parallelism": 2}})
    await run.counted(active=2, completedIndexes=None, succeeded=None)
    await run.patch(JOB, run.name, {"spec": {"completions": 3, "parallelism": 3}})
    await run.counted(active=3)
    for index in (2, 0, 1):
        await _end_index(run, index, "Succeeded")
    await run.over()


async def backing_off(run: JobRun) -> None:
    """A Pod fails now: the next one comes ten seconds later, whoever is the controller by then."""
    await run.start()
    await run.create_job(completions=1)
    await run.counted(active=1)
    await run.end(run.own()[0], "Failed", finished=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    await run.counted(active=0, failed=1)
    await run.counted(active=1, failed=1)
    await run.end(run.active()[0], "Succeeded")
    await run.over()


async def recreated(run: JobRun) -> None:
    """Deleted half-way, and made again at once under the same name: a Pod of the first was counted, one runs."""
    await run.start()
    await run.create_job(completions=2, parallelism=2)
    await run.counted(active=2)
    await run.end(run.own()[0], "Succeeded")
    await run.counted(active=1, succeeded=1)
    first = run.job
    await run.delete(JOB, run.name, propagation="Background")
    await run.create_job(completions=1)
    await run.until(lambda: run.job is not None and run.job != first, "the second Job")

    def second() -> list[Any]:
        uid = "" if run.job is None else run.job["metadata"]["uid"]
        return [pod for pod in run.active() if controller(pod) == uid]

    await run.until(lambda: len(second()) == status_of(run.job).get("active") == 1, "a Pod of the second Job")
    await run.end(second()[0], "Succeeded")
    await run.over()


@attrs.frozen
class Trace:
    """What is done, and the reason with which the Job ends, or None for one that is deleted."""

    play: Callable[[JobRun], Awaitable[None]]
    end: str | None


COMPLETE = "Complete/CompletionsReached"

TRACES: dict[str, Trace] = {
    "non-indexed": Trace(non_indexed, COMPLETE),
    "indexed": Trace(indexed, COMPLETE),
    "deleted": Trace(deleted, None),
    "foreground": Trace(deleted_in_the_foreground, None),
    "failed": Trace(failed, "Failed/BackoffLimitExceeded"),
    "scaled-down": Trace(scaled_down, COMPLETE),
    "suspended": Trace(suspended, COMPLETE),
    "adopted": Trace(adopted, COMPLETE),
    "deadline": Trace(deadline, "Failed/DeadlineExceeded"),
    "fail-job": Trace(fails_the_job, "Failed/PodFailurePolicy"),
    "fail-index": Trace(fails_an_index, "Failed/FailedIndexes"),
    "max-failed": Trace(too_many_indexes_fail, "Failed/MaxFailedIndexesExceeded"),
    "ignored": Trace(ignored, COMPLETE),
    "success-policy": Trace(enough, "Complete/SuccessPolicy"),
    "replaced": Trace(replaced_when_failed, COMPLETE),
    "elastic": Trace(elastic, COMPLETE),
    "backoff": Trace(backing_off, COMPLETE),
    "recreated": Trace(recreated, COMPLETE),
    "failed-alone": Trace(failed_alone, "Failed/FailedIndexes"),
}
