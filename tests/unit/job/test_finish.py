"""Which rule ends a Job: the first that holds, in a fixed order; and what its rules look at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from job_builders import NOW, at, job, pod

from reconcile_job.plan.finish import completion, verdict
from reconcile_job.plan.options import FINALIZER
from reconcile_job.plan.tally import tally

INTERIM = [
    {"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy"},
    {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"},
]

RULES = ["SuccessPolicy", "DeadlineExceeded", "PodFailurePolicy", "BackoffLimitExceeded", "DeadlineExceeded"]


def decided(owner: Any, *pods: Any) -> str | None:
    """The reason of the interim condition, a minute after the start."""
    later = NOW + timedelta(seconds=60)
    found = verdict(owner, tally(owner, pods, FINALIZER), owner.status.start_time, later)
    return None if found is None else found.reason


@pytest.mark.parametrize("dropped", range(len(RULES)))
def test_the_first_rule_that_holds_decides(dropped: int) -> None:
    """What was decided before, success ahead of failure; then FailJob, backoffLimit, the deadline."""
    holds = [position >= dropped for position in range(len(RULES))]
    conditions = [one for one, is_there in zip(INTERIM, holds, strict=False) if is_there]
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42 if holds[2] else 43]}}]
    owner = job(
        {"startTime": at(0), "conditions": conditions},
        podFailurePolicy={"rules": rules},
        backoffLimit=0 if holds[3] else 6,
        activeDeadlineSeconds=60,
    )
    assert decided(owner, pod("a", "Failed", codes={"main": 42})) == RULES[dropped]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"backoffLimit": 0}, "BackoffLimitExceeded"),
        ({"activeDeadlineSeconds": 60}, "DeadlineExceeded"),
        ({"maxFailedIndexes": 0}, "MaxFailedIndexesExceeded"),
        ({}, "FailedIndexes"),
        ({"completions": 3}, "SuccessPolicy"),
        ({"completions": 3, "successPolicy": None}, None),
    ],
)
def test_indexes_that_fail_end_a_job_before_a_success_policy(changed: dict[str, Any], reason: str | None) -> None:
    """The whole Job's limits first, then the indexes', then success."""
    spec = {
        "completions": 2,
        "parallelism": 2,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 0,
        "successPolicy": {"rules": [{"succeededCount": 1}]},
    }
    owner = job({"startTime": at(0)}, **spec | changed)
    assert decided(owner, pod("a", "Failed", index=0, codes={"main": 1}), pod("b", "Succeeded", index=1)) == reason


@pytest.mark.parametrize(
    ("seconds", "suspend", "reason"),
    [(61, False, None), (60, False, "DeadlineExceeded"), (60, True, None), (0, False, "DeadlineExceeded")],
)
def test_the_deadline_is_reached_and_not_while_suspended(seconds: int, suspend: bool, reason: str | None) -> None:
    """At the deadline, not after it."""
    assert decided(job({"startTime": at(0)}, activeDeadlineSeconds=seconds, suspend=suspend)) == reason


@pytest.mark.parametrize(
    ("limit", "policy", "pods", "is_over"),
    [
        (3, "OnFailure", [pod("a", "Running", restarts=3)], True),
        (3, "OnFailure", [pod("a", "Running", restarts=2)], False),
        (3, "OnFailure", [pod("a", "Running", restarts=2), pod("b", "Pending", restarts=1)], True),
        (3, "OnFailure", [pod("a", "Failed", codes={"main": 1}, restarts=3)], False),
        (0, "OnFailure", [pod("a", "Running")], False),
        (0, "OnFailure", [pod("a", "Running", restarts=1)], True),
        (3, "Never", [pod("a", "Running", restarts=9)], False),
        (3, "OnFailure", [pod("a", "Running", restarts=1, init_codes={"i": 1, "j": 1})], True),
    ],
)
def test_restarts_in_place_reach_the_limit(limit: int, policy: str, pods: list[Any], is_over: bool) -> None:
    """Of all containers of the Pods that are not over, init containers included; only with OnFailure."""
    owner = job(backoffLimit=limit, pod={"restartPolicy": policy})
    assert (decided(owner, *pods) == "BackoffLimitExceeded") is is_over


@pytest.mark.parametrize(
    ("completions", "succeeded", "active", "is_complete"),
    [(None, 1, 0, True), (None, 0, 0, False), (None, 1, 1, False), (2, 2, 0, True), (2, 1, 0, False), (2, 3, 1, False)],
)
def test_a_job_is_complete_once_nothing_is_active(
    completions: int | None,
    succeeded: int,
    active: int,
    is_complete: bool,
) -> None:
    """One success is enough for a work queue; else as many as there are completions."""
    owner = job({"succeeded": succeeded}, completions=completions)
    assert (completion(owner, tally(owner, (), FINALIZER), active, NOW) is not None) is is_complete
