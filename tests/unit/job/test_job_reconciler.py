"""The Job reconciler over a small world: whole lives of Jobs, status writes checked by the API server's rules."""

from __future__ import annotations

from typing import Any

import pytest
from job_world import JobWorld


def succeed(pod: dict[str, Any]) -> str:
    return "Succeeded"


def test_a_job_of_one_pod_runs_to_complete():
    """One Pod, five writes: create, start, count, release, finish."""
    world = JobWorld({"completions": 1})
    world.settle(succeed)
    assert world.conditions() == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert world.status["succeeded"] == 1
    assert world.broken == []
    kinds = [write.split()[0] for write in world.writes]
    assert kinds == ["create", "status", "status", "patch", "status"]
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
