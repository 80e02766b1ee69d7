"""What a Job's Pods say on top of its status: who is active, what counts, which indexes are over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from job_builders import NOW, job, pod

from reconcile_job.plan.backoff import finished_at
from reconcile_job.plan.options import FINALIZER
from reconcile_job.plan.tally import Tally, tally
from reconcile_job.plan.tracking import count
from reconcile_job.plan.view import PodCondition

INDEXED = {"completionMode": "Indexed", "completions": 4, "parallelism": 4}


def counted(owner: Any, *pods: Any) -> Tally:
    return tally(owner, pods, FINALIZER)


def uids(pods: Any) -> list[str]:
    return [one.uid for one in pods]


def test_who_is_active_ready_and_terminating() -> None:
    """Ended Pods are neither; of those on their way out only the ones whose containers may still run."""
    pods = [
        pod("pending"),
        pod("ready", "Running", ready=0),
        pod("unready", "Running"),
        pod("leaving", "Running", ready=0, deleting=True),
        pod("left", "Failed", deleting=True),
        pod("done", "Succeeded"),
    ]
    found = counted(job(), *pods)
    assert uids(found.active) == ["pending", "ready", "unready"]
    assert uids(found.terminating) == ["leaving"]
    assert found.ready == 1


def test_only_a_pod_with_the_finalizer_is_news() -> None:
    """The others are in the counters already; those in the lists are counted once."""
    status = {"succeeded": 5, "failed": 2, "uncountedTerminatedPods": {"succeeded": ["b"], "failed": ["d"]}}
    pods = [
        pod("a", "Succeeded"),
        pod("b", "Succeeded"),
        pod("gone", "Succeeded", tracked=False),
        pod("c", "Failed"),
        pod("d", "Failed"),
        pod("old", "Failed", tracked=False),
    ]
    found = counted(job(status), *pods)
    assert (uids(found.new_succeeded), uids(found.new_failed)) == (["a"], ["c"])
    assert (found.succeeded, found.failed) == (7, 4)


@pytest.mark.parametrize(
    ("spec", "failed"),
    [
        ({}, ["leaving", "failed"]),
        ({"podReplacementPolicy": "TerminatingOrFailed"}, ["leaving", "failed"]),
        ({"podReplacementPolicy": "Failed"}, ["failed"]),
        ({"podFailurePolicy": {"rules": []}}, ["failed"]),
        ({"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed"}, ["leaving", "failed"]),
    ],
)
def test_a_pod_on_its_way_out_has_failed_unless_its_end_is_waited_for(spec: dict[str, Any], failed: list[str]) -> None:
    """The field says so; where nothing filled it in, a failure policy means Failed."""
    pods = [pod("leaving", "Running", deleting=True), pod("failed", "Failed"), pod("done", "Succeeded", deleting=True)]
    assert uids(counted(job(**spec), *pods).new_failed) == failed


def test_a_pod_without_a_place_counts_as_nothing() -> None:
    """No index, one outside, one that is no number; an index counts once."""
    pods = [
        pod("none", "Succeeded"),
        pod("outside", "Failed", index=4),
        pod("odd", "Succeeded", index="x"),
        pod("first", "Succeeded", index=1),
        pod("second", "Succeeded", index=1),
    ]
    found = counted(job(**INDEXED), *pods)
    assert (found.succeeded, found.failed, str(found.completed)) == (1, 0, "1")


def test_when_an_index_has_failed() -> None:
    """Its limit is reached by failures that count, or a rule says so; one that has succeeded cannot fail, or reverse."""
    rules = [
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]
    owner = job(
        {"failedIndexes": "3", "completedIndexes": "4"},
        **INDEXED | {"completions": 9},
        backoffLimitPerIndex=2,
        podFailurePolicy={"rules": rules},
    )
    pods = [
        pod("at the limit", "Failed", index=0, counts=(2, 0), codes={"main": 1}),
        pod("below it", "Failed", index=1, counts=(1, 5), codes={"main": 1}),
        pod("by rule", "Failed", index=2, counts=(0, 0), codes={"main": 42}),
        pod("ignored", "Failed", index=5, counts=(2, 0), codes={"main": 7}),
        pod("too late", "Succeeded", index=3),
        pod("succeeded before", "Failed", index=4, counts=(2, 0), codes={"main": 1}),
        pod("bad count", "Failed", index=6, counts=(-1, 0), codes={"main": 1}),
    ]
    found = counted(owner, *pods)
    assert (str(found.failed_indexes), str(found.completed)) == ("0,2,3", "4")
    assert sorted(found.delayed) == [1, 5, 6]


def test_no_index_fails_once_the_job_has() -> None:
    """Its Pods are being stopped, which says nothing about their indexes."""
    status = {"failedIndexes": "0", "conditions": [{"type": "FailureTarget", "status": "True"}]}
    owner = job(status, **INDEXED, backoffLimitPerIndex=0)
    assert str(counted(owner, pod("a", "Running", index=1, deleting=True)).failed_indexes) == "0"


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (((0, 0), 5), ((1, 0), 5), "second"),
        (((0, 0), 5), ((0, 0), 9), "second"),
        (((1, 0), 5), ((0, 1), 5), "second"),
        (((1, 0), 5), ((0, 0), 9), "first"),
        (((0, 0), 9), ((1, 0), 5), "first"),
    ],
)
def test_which_failed_pod_hands_its_count_on(first: Any, second: Any, kept: str) -> None:
    """A later one only if it has failed at least as often and ended no earlier; it keeps its finalizer, the other not."""
    owner = job({"startTime": None}, **INDEXED, backoffLimitPerIndex=5)
    pods = [
        pod(uid, "Failed", index=0, counts=counts, codes={"main": 1}, finished=finished)
        for uid, (counts, finished) in (("first", first), ("second", second))
    ]
    found = counted(owner, *pods)
    assert found.delayed[0].uid == kept
    released = count(owner, found, owner.status, FINALIZER, over=False, failed=False).release
    assert uids(released) == [uid for uid in ("first", "second") if uid != kept]


def test_a_replacement_ends_the_delay() -> None:
    """Once the next Pod of the index is active the failed one may go, and enters the status."""
    owner = job({"startTime": None}, **INDEXED, backoffLimitPerIndex=5)
    failed = pod("old", "Failed", index=0, counts=(0, 0), codes={"main": 1})
    waiting = counted(owner, failed)
    assert waiting.failed == 1
    assert count(owner, waiting, owner.status, FINALIZER, over=False, failed=False).release == ()
    replaced = counted(owner, failed, pod("new", index=0, counts=(1, 0)))
    released = count(owner, replaced, owner.status, FINALIZER, over=False, failed=False)
    assert uids(released.release) == ["old"]
    assert released.status.uncounted_terminated_pods.failed == ("old",)


def test_a_pod_that_stopped_being_ready_finished_then() -> None:
    """Where its containers do not say; one that never was ready finished when it was made."""
    never = pod("a", "Failed", created=1)
    condition = PodCondition("Ready", "False", NOW + timedelta(seconds=9))
    lost = msgspec.structs.replace(never, status=msgspec.structs.replace(never.status, conditions=(condition,)))
    assert finished_at(never) == NOW + timedelta(seconds=1)
    assert finished_at(lost) == NOW + timedelta(seconds=9)
