"""What the differential test takes for meant is no more than that."""

from __future__ import annotations

from typing import Any

import pytest
from job_decided_differences import decided
from job_differential import Finding
from job_normal_form import Difference
from job_traces import Trace


def status(*types: str, started: bool = False) -> dict[str, Any]:
    """A status with these conditions, all of which say the same."""
    conditions = [{"type": one, "status": "True", "reason": "R", "message": "m"} for one in types]
    return {"conditions": conditions} | ({"startTime": "since step 1"} if started else {})


def finding(theirs: dict[str, Any] | None, ours: dict[str, Any] | None, path: str) -> Finding:
    """A difference in the statuses of a suspended Job; None for no Job at all."""
    sides = [
        {"job": None if one is None else {"spec": {"suspend": True}, "status": one}, "pods": []}
        for one in (theirs, ours)
    ]
    return Finding(Trace({}, ()), 1, Difference(path, None, None), *sides)


THEIRS = status("Suspended", "FailureTarget")
OURS = status("Suspended", "FailureTarget", "Failed", started=True)


def test_a_suspended_job_that_only_ours_finishes_is_meant() -> None:
    """The terminal condition follows the interim one, and says the same."""
    assert decided(finding(THEIRS, OURS, "job.status.conditions")) is not None


@pytest.mark.parametrize(
    "ours",
    [
        status("Suspended", "FailureTarget", "Complete", started=True),
        status("Suspended", "SuccessCriteriaMet", "Complete", started=True),
        status("FailureTarget", "Suspended", "Failed", started=True),
        {**OURS, "conditions": [*OURS["conditions"][:2], {**OURS["conditions"][2], "reason": "Other"}]},
        THEIRS,
    ],
)
def test_another_end_is_not(ours: dict[str, Any]) -> None:
    """It is a bug if ours decides otherwise, in another order, or for another reason."""
    assert decided(finding(THEIRS, ours, "job.status.conditions")) is None


@pytest.mark.parametrize(("theirs", "ours"), [(THEIRS, None), (None, OURS), (None, None)])
def test_a_job_that_one_side_lacks_is_a_bug(theirs: dict[str, Any] | None, ours: dict[str, Any] | None) -> None:
    """A controller that is wrong gets a report, no traceback."""
    assert decided(finding(theirs, ours, "job")) is None
