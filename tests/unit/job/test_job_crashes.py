"""A crash before or after any write, or a lost answer, changes nothing in how a Job ends (J-L3, J-L5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from job_world import JobWorld

INDEX = "batch.kubernetes.io/job-completion-index"


def always_succeeds(pod: dict[str, Any]) -> str:
    return "Succeeded"


def fails_once(world: JobWorld) -> Callable[[dict[str, Any]], str]:
    """The first Pod to end fails, the others succeed."""

    def outcome(pod: dict[str, Any]) -> str:
        return "Succeeded" if "Failed" in world.ended.values() else "Failed"

    return outcome


def odd_indexes_fail_once(world: JobWorld) -> Callable[[dict[str, Any]], str]:
    """Each odd index fails once and then succeeds: a function of index and attempt."""

    def outcome(pod: dict[str, Any]) -> str:
        index = pod["metadata"]["annotations"][INDEX]
        earlier = [
            one
            for one in world.created
            if one["metadata"]["annotations"][INDEX] == index and one["metadata"]["uid"] in world.ended
        ]
        return "Failed" if int(index) % 2 and not earlier else "Succeeded"

    return outcome


def only_the_leader_ends(pod: dict[str, Any]) -> str:
    """Index 0 succeeds; the others run until they are stopped."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Failed"
    return "Succeeded" if pod["metadata"]["annotations"][INDEX] == "0" else ""


def the_second_index_fails(pod: dict[str, Any]) -> str:
    """Index 1 fails; the others run until they are stopped."""
    return "Failed" if pod["metadata"].get("deletionTimestamp") or pod["metadata"]["annotations"][INDEX] == "1" else ""


def always_fails(pod: dict[str, Any]) -> str:
    return "Failed"


SCENARIOS: dict[str, tuple[dict[str, Any], Callable[[JobWorld], Callable[[dict[str, Any]], str]]]] = {
    "one": ({"completions": 1}, lambda _world: always_succeeds),
    "parallel": ({"completions": 4, "parallelism": 2}, lambda _world: always_succeeds),
    "work queue": ({"parallelism": 3}, lambda _world: always_succeeds),
    "one failure": ({"completions": 2, "parallelism": 2}, fails_once),
    "indexed": ({"completions": 4, "parallelism": 2, "completionMode": "Indexed"}, lambda _world: always_succeeds),
    "indexed, failures": ({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}, odd_indexes_fail_once),
    "backoff limit": ({"completions": 2, "parallelism": 2, "backoffLimit": 0}, lambda _world: always_fails),
    "per index": (
        {
            "completions": 3,
            "parallelism": 3,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": 1,
            "backoffLimit": 99,
        },
        odd_indexes_fail_once,
    ),
    "index fails": (
        {
            "completions": 2,
            "parallelism": 2,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": 0,
            "backoffLimit": 99,
        },
        odd_indexes_fail_once,
    ),
    "one fails, the others run": (
        {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimit": 0},
        lambda _world: the_second_index_fails,
    ),
    "one index too many fails, the others run": (
        {
            "completions": 3,
            "parallelism": 3,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": 0,
            "maxFailedIndexes": 0,
        },
        lambda _world: the_second_index_fails,
    ),
    "success policy": (
        {
            "completions": 3,
            "parallelism": 3,
            "completionMode": "Indexed",
            "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
        },
        lambda _world: only_the_leader_ends,
    ),
}


def run(spec: dict[str, Any], outcome: Any, crash: tuple[int, str] | None = None) -> JobWorld:
    world = JobWorld(dict(spec))
    world.crash = crash
    world.settle(outcome(world))
    return world


def result(world: JobWorld) -> dict[str, Any]:
    kept = (
        "active",
        "ready",
        "terminating",
        "succeeded",
        "failed",
        "completedIndexes",
        "failedIndexes",
        "uncountedTerminatedPods",
    )
    return {key: world.status.get(key) for key in kept} | {"conditions": world.conditions()}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_crash_point_ends_the_same(name):
    """Crash before, crash after, lost answer, refusal: at each write of the undisturbed run."""
    spec, outcome = SCENARIOS[name]
    reference = run(spec, outcome)
    assert reference.broken == []
    assert reference.conditions()[-1][0] in ("Complete", "Failed")
    for number in range(len(reference.writes)):
        for mode in ("before", "after", "lost", "refused"):
            world = run(spec, outcome, (number, mode))
            where = f"{mode} write {number} ({reference.writes[number]})"
            assert world.crashed, where
            assert world.broken == [], where
            assert result(world) == result(reference), where
            assert len(world.created) == len(reference.created), where
            finalizers = [pod["metadata"]["name"] for pod in world.pods.values() if pod["metadata"].get("finalizers")]
            assert finalizers == [], where
