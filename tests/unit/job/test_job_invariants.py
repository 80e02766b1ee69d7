"""The checkers of the invariants: good histories pass all of them, and each finds the history that breaks it."""

from __future__ import annotations

import job_bad_counts  # noqa: F401  its stories register themselves
import job_bad_ends  # noqa: F401  the same
import pytest
from job_history import outcome
from job_invariants import CHECKS, broken, extra_pods
from job_story import BAD, GOOD, Story, deleted, plain


@pytest.mark.parametrize("tale", GOOD)
def test_a_good_history_breaks_nothing(tale: str) -> None:
    """All checkers pass it."""
    assert broken(GOOD[tale]().history()) == []


@pytest.mark.parametrize("tale", BAD)
def test_a_bad_history_is_found(tale: str) -> None:
    """The checker of the invariant that it breaks says so."""
    name, tell = BAD[tale]
    assert list(CHECKS[name](tell().history())) != []


def test_each_checker_is_shown_a_bad_history() -> None:
    """Or nobody would know that it can fail."""
    assert {name for name, _tell in BAD.values()} == set(CHECKS)


def test_more_pods_than_without_the_fault_are_found() -> None:
    """J-L5 compares with the run that had no fault."""
    more = plain()
    more.make("d")
    assert extra_pods(plain().history(), plain().history()) == []
    assert extra_pods(more.history(), plain().history()) != []


def test_how_a_job_ended_is_compared_whole() -> None:
    """Counts, indexes and conditions in order; times are no part of it."""
    other = plain()
    other.condition("SuccessCriteriaMet")
    assert outcome(plain().history()) == outcome(plain().history())
    assert outcome(plain().history()) != outcome(other.history())
    assert outcome(deleted().history())["gone"]
    counted = Story()
    counted.count(counted.make("a"))
    counted.tell("Job", "DELETED", counted.object)
    assert outcome(counted.history())["succeeded"] == 1
