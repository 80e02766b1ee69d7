"""The comparison of the differential test can fail, and does not fail over names, uids and times."""

from __future__ import annotations

from typing import Any

import pytest
from job_normal_form import Words, differences


def pod(name: str, uid: str, created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": uid, "creationTimestamp": created, "resourceVersion": uid, "generateName": "j-"}
    return {"metadata": meta, "spec": {"hostname": "j-0"}, "status": {"phase": "Pending", **status}}


def side(*pods: dict[str, Any], message: str = "", started: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    """Everything of one server, seen in step 1."""
    words = Words(step=1)
    for one in pods:
        words.learn("Pod", one["metadata"])
    job = {"metadata": {"name": "j", "uid": "u"}, "status": {"message": message, "startTime": started}}
    return {"job": words.normal(job), "pods": [words.normal(one) for one in pods], "told": []}


def paths(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    return [one.path for one in differences(theirs, ours)]


def test_names_uids_times_and_the_order_of_pods_do_not_count() -> None:
    """Two runs of the same thing are alike."""
    theirs = side(pod("j-abc", "1"), pod("j-def", "2", phase="Running"), message="Pod ns/j-abc failed")
    later = "2026-01-01T01:00:00Z"
    ours = side(
        pod("j-0-x", "4", later, phase="Running"),
        pod("j-1-y", "3", later),
        message="Pod ns/j-1-y failed",
        started=later,
    )
    assert paths(theirs, ours) == []


@pytest.mark.parametrize(
    ("ours", "path"),
    [
        (side(pod("j-abc", "1"), pod("j-def", "2")), "pods"),
        (side(pod("j-abc", "1", phase="Failed")), "pods[0].status.phase"),
        (side(pod("j-abc", "1", ready=None)), ""),
        (side(pod("j-abc", "1"), message="other"), "job.status.message"),
        ({**side(pod("j-abc", "1")), "job": None}, "job"),
        ({**side(pod("j-abc", "1")), "told": [["Complete", "True", "x"]]}, "told"),
    ],
)
def test_anything_else_does(ours: dict[str, Any], path: str) -> None:
    """The place of a difference is said; a field that is null is one that is not there."""
    found = paths(side(pod("j-abc", "1")), ours)
    assert (path in found) if path else (found == [])


def test_a_time_is_known_by_the_step_in_which_it_came() -> None:
    """A start time that is set anew shows, one that stays does not."""
    words = Words(step=1)
    job = {"metadata": {"uid": "u"}, "startTime": "2026-01-01T00:00:00Z"}
    assert words.normal(job)["startTime"] == "since step 1"
    words.step = 2
    assert words.normal(job)["startTime"] == "since step 1"
    assert words.normal({**job, "startTime": "2026-01-01T00:00:01Z"})["startTime"] == "since step 2"
