"""Where the built-in controller is odd or wrong: what this one does, over a small world."""

from __future__ import annotations

from typing import Any

from job_world import JobWorld


def succeed(pod: dict[str, Any]) -> str:
    return "Succeeded"


def test_the_backoff_outlives_a_restart():
    """Another process takes the count of failures from the Pods that are there, and waits as long."""
    world = JobWorld({"completions": 1})
    for failures in (1, 2):
        world.look()
        [active] = world.active()
        world.end_pod(active["metadata"]["name"], "Failed")
        world.advance(1)
        assert world.look() == 10 * failures - 1
        world.restart()
        assert world.look() == 10 * failures - 1
        world.advance(10 * failures - 1)
    world.look()
    assert len(world.created) == 3
    assert world.broken == []


def test_pods_that_were_stopped_delay_nothing_after_a_restart():
    """A suspended Job's Pods end as failed, and may stay for a while: another process resumes the Job at once."""
    world = JobWorld({"completions": 2, "parallelism": 2})
    world.look()
    stopped = list(world.pods)
    for name in stopped:
        world.run_pod(name)
    world.edit_job(suspend=True)
    world.look()
    for name in stopped:
        world.pods[name]["metadata"]["finalizers"] = ["example.com/keep"]
        world.end_pod(name, "Failed")
    world.edit_job(suspend=False)
    world.restart()
    world.look()
    assert len(world.active()) == 2
    assert world.broken == []


def test_the_backoff_is_kept_if_the_answer_to_the_count_is_lost():
    """The status lists the failure, so it is not new; the replacement waits nevertheless."""
    world = JobWorld({"completions": 1})
    world.look()
    [name] = world.pods
    world.end_pod(name, "Failed")
    world.advance(2)
    world.crash = (len(world.writes), "lost")
    world.look()
    assert world.status["uncountedTerminatedPods"] == {"failed": [world.pods[name]["metadata"]["uid"]]}
    assert world.look() == 8
    assert len(world.created) == 1


def test_a_pod_counted_as_failed_that_still_ends_well_stays_a_failure():
    """It was on its way out, and its finalizer could not be taken off; the work it stood for is done by another."""
    world = JobWorld({"completions": 1})
    world.look()
    [first] = world.pods
    world.run_pod(first)
    world.delete_pod(first)
    world.refuse = lambda what: what.startswith("patch")
    world.advance(2)
    world.look()
    assert world.status["uncountedTerminatedPods"] == {"failed": [world.pods[first]["metadata"]["uid"]]}
    world.end_pod(first, "Succeeded")
    world.refuse = lambda _what: False
    world.advance(20)
    world.look()
    world.advance(20)
    assert world.conditions() == []
    world.settle(succeed)
    assert (world.status["failed"], world.status["succeeded"]) == (1, 1)
    assert world.conditions()[-1][0] == "Complete"
    assert world.broken == []


def test_more_successes_than_completions_are_told():
    """Adopted Pods may have succeeded too: a Warning says so just before the end."""
    world = JobWorld({"completions": 1})
    for name in ("one", "two"):
        world.add_pod(name, labels={"batch.kubernetes.io/controller-uid": "job-uid"})
        world.end_pod(name, "Succeeded")
    world.settle(succeed)
    assert world.status["succeeded"] == 2
    message = "Too many succeeded pods running after completion count reached"
    assert world.events[-2:] == [("TooManySucceededPods", message), ("Completed", "Job completed")]


def test_suspending_and_resuming_are_told_once():
    """Before the status that says so; the Pods that are stopped are named, and a resumed Job never says it anew."""
    world = JobWorld({"completions": 1})
    world.look()
    [name] = world.pods
    world.edit_job(suspend=True)
    world.look()
    world.look()
    world.edit_job(suspend=False)
    world.look()
    world.look()
    told = [event for event in world.events if event[0] != "SuccessfulCreate"]
    assert told == [
        ("SuccessfulDelete", f"Deleted pod: {name}"),
        ("Suspended", "Job suspended"),
        ("Resumed", "Job resumed"),
    ]
