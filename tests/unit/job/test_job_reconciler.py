"""The Job reconciler over a small world: whole lives of Jobs, status writes checked by the API server's rules."""

from __future__ import annotations

from typing import Any

import pytest
from job_world import START, JobWorld

from reconcile_job.plan.options import Options


def succeed(pod: dict[str, Any]) -> str:
    return "Succeeded"


def test_a_job_of_one_pod_runs_to_complete():
    """One Pod, four writes: create, start, finish, release."""
    world = JobWorld({"completions": 1})
    world.settle(succeed)
    assert world.conditions() == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert world.status["succeeded"] == 1
    assert world.broken == []
    kinds = [write.split()[0] for write in world.writes]
    assert kinds == ["create", "status", "status", "patch"]
    assert [reason for reason, _ in world.events] == ["SuccessfulCreate", "Completed"]


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
@pytest.mark.parametrize(("completions", "parallelism"), [(5, 2), (3, 3), (1, 4), (0, 2)])
def test_completions_and_parallelism(mode, completions, parallelism):
    """As many Pods as completions are made, never more than parallelism at a time."""
    world = JobWorld({"completions": completions, "parallelism": parallelism, "completionMode": mode})
    world.settle(succeed)
    assert world.conditions()[-1] == ("Complete", "CompletionsReached")
    assert world.status.get("succeeded", 0) == completions == len(world.created)
    assert world.broken == []


def phases(world: JobWorld) -> list[str]:
    return sorted(pod["status"]["phase"] for pod in world.pods.values())


def running(world: JobWorld) -> None:
    for name in list(world.pods):
        world.run_pod(name)


@pytest.mark.parametrize("managed_by", [None, "kubernetes.io/job-controller", "example.com/other"])
def test_jobs_of_others_are_never_written(managed_by):
    """J13: nothing at all is written for a Job with another managedBy."""
    world = JobWorld({"managedBy": managed_by})
    assert world.look() is None
    assert world.writes == []
    assert world.events == []


def test_in_place_of_the_built_in_controller():
    """--replace: Jobs without managedBy, and the reserved finalizer."""
    world = JobWorld({"managedBy": None, "completions": 1}, options=Options(replace=True))
    world.look()
    assert [pod["metadata"]["finalizers"] for pod in world.pods.values()] == [["batch.kubernetes.io/job-tracking"]]
    world.settle(succeed)
    assert world.conditions()[-1][0] == "Complete"
    assert world.broken == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [({"completionMode": "Odd"}, "UnknownCompletionMode"), ({"scheduling": {"gang": {}}}, "UnsupportedField")],
)
def test_what_cannot_be_run_is_refused(spec, reason):
    """An Event says why, and nothing is written."""
    world = JobWorld(spec)
    world.look()
    assert [event[0] for event in world.events] == [reason]
    assert world.writes == []


def test_the_deadline_is_waited_for_exactly():
    """The look says when to look again, and the Job is Failed then and not before; its Pods count as failed."""
    world = JobWorld({"activeDeadlineSeconds": 30, "parallelism": 2, "completions": 2})
    assert world.look() == 30
    running(world)
    world.advance(29.5)
    assert world.look() == 0.5
    assert world.conditions() == []
    world.advance(0.5)
    world.look()
    assert world.conditions() == [("FailureTarget", "DeadlineExceeded")]
    assert world.status["failed"] == 2
    world.settle(succeed)
    assert world.conditions()[-1] == ("Failed", "DeadlineExceeded")
    assert world.events[-1] == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert world.broken == []


def test_no_end_while_a_pod_is_terminating():
    """The interim condition comes at once, the terminal one when the last Pod has really ended (KEP-3939)."""
    world = JobWorld({"backoffLimit": 0, "parallelism": 2, "completions": 2})
    world.look()
    running(world)
    world.end_pod(min(world.pods), "Failed")
    world.look()
    assert world.conditions() == [("FailureTarget", "BackoffLimitExceeded")]
    assert (world.status["terminating"], world.status.get("active", 0)) == (1, 0)
    world.look()
    assert len(world.conditions()) == 1
    world.settle(succeed)
    assert world.conditions()[-1] == ("Failed", "BackoffLimitExceeded")


def test_a_pod_that_ends_while_it_is_being_suspended_is_counted():
    """The finalizer goes only from the Pod that the cache showed: one that has succeeded since is kept, and counts."""
    world = JobWorld({"parallelism": 1, "completions": 1})
    world.look()
    running(world)
    name = next(iter(world.pods))
    world.edit_job(suspend=True)
    world.before_write = lambda: world.end_pod(name, "Succeeded")
    assert world.look() == 1.0
    world.before_write = lambda: None
    world.settle(succeed)
    assert world.status["succeeded"] == 1
    assert world.conditions() == [
        ("Suspended", "JobSuspended"),
        ("SuccessCriteriaMet", "CompletionsReached"),
        ("Complete", "CompletionsReached"),
    ]
    assert world.broken == []


def test_a_half_deleted_pod_gets_its_finalizer_back():
    """A crash between taking the finalizer off and deleting, then the Job is resumed: the Pod stays and is counted."""
    world = JobWorld({"completions": 1})
    world.look()
    running(world)
    world.edit_job(suspend=True)
    world.crash = (len(world.writes), "after")
    world.look()
    world.edit_job(suspend=False)
    world.settle(succeed)
    assert len(world.created) == 1
    assert world.status["succeeded"] == 1
    assert world.broken == []


def test_listed_pods_are_not_listed_or_counted_again():
    """After a crash between the status and the finalizers, a Pod in uncountedTerminatedPods counts once."""
    world = JobWorld({"completions": 2, "parallelism": 2})
    world.look()
    running(world)
    world.end_pod(min(world.pods), "Succeeded")
    world.advance(2)
    world.crash = (len(world.writes), "after")
    world.look()
    assert len(world.status["uncountedTerminatedPods"]["succeeded"]) == 1
    world.look()
    assert world.status["succeeded"] == 1
    assert world.conditions() == []
    assert len(world.created) == 2


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
def test_a_job_that_ends_is_written_once_and_lets_its_pods_go_then(mode):
    """The status that counts the last Pods ends the Job; a finalizer that could not be taken off goes in a later look."""
    world = JobWorld({"completions": 2, "parallelism": 2, "completionMode": mode})
    world.look()
    for name in list(world.pods):
        world.end_pod(name, "Succeeded")
    before = len(world.writes)
    world.crash = (before + 1, "refused")
    world.look()
    assert [write.split()[0] for write in world.writes[before:]] == ["status", "patch", "patch"]
    assert world.conditions() == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert world.status["succeeded"] == 2
    assert sum(bool(pod["metadata"]["finalizers"]) for pod in world.pods.values()) == 1
    world.look()
    assert [write.split()[0] for write in world.writes[before:]] == ["status", "patch", "patch", "patch"]
    assert [pod["metadata"]["finalizers"] for pod in world.pods.values()] == [[], []]
    assert world.broken == []


def test_a_busy_job_is_counted_in_batches():
    """Within a second of a write, single Pods wait for company; the last one, and a big batch, do not."""
    world = JobWorld({"completions": 8, "parallelism": 8})
    world.look()
    running(world)
    written = world.writes.count("status")
    for name in sorted(world.pods)[:7]:
        world.advance(0.1)
        world.end_pod(name, "Succeeded")
        assert world.look() == pytest.approx(1.0 - (world.now - START).total_seconds())
    assert world.writes.count("status") == written
    world.advance(0.3)
    world.look()
    assert world.status["succeeded"] == 7
    assert world.writes.count("status") == written + 2
    world.end_pod(sorted(world.pods)[7], "Succeeded")
    world.look()
    assert world.conditions()[-1][0] == "Complete"


def test_at_most_500_pods_are_counted_in_one_look():
    """J5: the status stays small; the rest follows in the next looks."""
    world = JobWorld({"completions": 700, "parallelism": 700})
    world.look()
    world.look()
    assert len(world.pods) == 700
    for name in list(world.pods):
        world.end_pod(name, "Succeeded")
    world.look()
    assert world.status["succeeded"] == 500
    assert len(world.conditions()) == 1
    world.look()
    assert world.status["succeeded"] == 700
    assert world.conditions()[-1][0] == "Complete"
    assert world.broken == []


def test_refused_creates_stop_the_batch():
    """1, 2, 4, …: the second batch is refused, and the rest is not asked; one Event says why."""
    world = JobWorld({"completions": 20, "parallelism": 20})
    world.refuse = lambda what: what.startswith("create") and len(world.created) >= 1
    assert world.look() == 1.0
    assert [write.split()[0] for write in world.writes] == ["create"] * 3 + ["status"]
    assert world.status["active"] == 1
    assert world.events == [
        ("FailedCreate", "Error creating: no"),
        ("SuccessfulCreate", f"Created pod: {next(iter(world.pods))}"),
    ]
    world.refuse = lambda _what: False
    world.look()
    assert len(world.pods) == 20


def test_one_event_tells_of_many_pods():
    """At most ten names, and the number."""
    world = JobWorld({"completions": 12, "parallelism": 12})
    world.look()
    [(reason, message)] = world.events
    assert reason == "SuccessfulCreate"
    assert message.startswith("Created pods: j-")
    assert message.endswith(", … (12)")
    assert message.count("j-") == 10


def test_a_bare_pod_that_matches_is_adopted():
    """It gets the controller reference and the finalizer, and counts as one of the Job's own."""
    world = JobWorld({"completions": 1})
    world.add_pod("bare", labels={"batch.kubernetes.io/controller-uid": "job-uid"})
    world.add_pod("other", labels={"app": "other"})
    world.look()
    assert world.created == []
    assert world.pods["bare"]["metadata"]["finalizers"] == [world.finalizer]
    assert world.pods["bare"]["metadata"]["ownerReferences"][0]["uid"] == "job-uid"
    assert "ownerReferences" not in world.pods["other"]["metadata"]
    world.settle(succeed)
    assert world.status["succeeded"] == 1


def test_a_deleted_job_lets_its_pods_go():
    """While it is being deleted: finalizers go and nothing else; once it is gone: those of leftovers."""
    world = JobWorld({"completions": 3, "parallelism": 3})
    world.look()
    running(world)
    world.end_pod(min(world.pods), "Succeeded")
    world.job["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}
    world.look()
    assert world.status["succeeded"] == 1
    assert len(world.pods) == 3
    assert not any(pod["metadata"]["finalizers"] for pod in world.pods.values())
    assert world.broken == []

    world = JobWorld({"completions": 3, "parallelism": 3})
    world.look()
    world.job = None
    world.look()
    assert not any(pod["metadata"]["finalizers"] for pod in world.pods.values())


def test_a_namesake_gets_none_of_the_old_ones_pods():
    """The old Job's Pods lose the finalizer; the new Job makes its own, under other names."""
    world = JobWorld({"completions": 1})
    world.look()
    [old] = world.pods
    world.job["metadata"] |= {"uid": "second"}
    world.job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": "second"}}
    world.look()
    assert world.pods[old]["metadata"]["finalizers"] == []
    [new] = [name for name in world.pods if name != old]
    assert world.pods[new]["metadata"]["ownerReferences"][0]["uid"] == "second"


def test_a_second_look_writes_nothing():
    """The fixed point: nothing has changed, nothing is written."""
    world = JobWorld({"completions": 3, "parallelism": 2})
    world.look()
    before = list(world.writes)
    world.look()
    assert world.writes == before


def test_a_job_that_goes_while_leftovers_are_let_go_makes_no_pods():
    """Its Pods are not shown without it, and must not be made again."""
    world = JobWorld({"completions": 1})
    world.look()
    world.job["metadata"] |= {"uid": "second"}
    world.before_write = lambda: setattr(world, "job", None)
    world.look()
    assert len(world.created) == 1
    assert not any(pod["metadata"]["finalizers"] for pod in world.pods.values())


def test_while_all_lanes_are_busy_a_start_is_not_written_by_itself():
    """It waits for something to count, a second at most, or until a lane is free."""
    world = JobWorld({"completions": 2, "parallelism": 0})
    lanes = world.reconciler._lanes
    lanes._free = 0
    assert world.look() == 1.0
    world.advance(0.6)
    assert world.look() == pytest.approx(0.4)
    assert world.writes == []
    lanes._free = 1
    world.look()
    assert world.writes == ["status"]
    assert world.status["startTime"]


def test_a_job_of_20_pods_costs_43_writes():
    """20 creates, 20 finalizers, three statuses: the start, what became ready, the end. And two Events."""
    world = JobWorld({"completions": 20, "parallelism": 20})
    world.look()
    running(world)
    world.advance(2)
    world.look()
    for name in sorted(world.pods):
        world.end_pod(name, "Succeeded")
    world.look()
    kinds = [write.split()[0] for write in world.writes]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"create": 20, "status": 3, "patch": 20}
    assert world.conditions()[-1][0] == "Complete"
    assert len(world.events) == 2
