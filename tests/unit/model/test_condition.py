from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from reconcile.errors import UsageError
from reconcile.model.condition import find_condition, set_condition

THEN = "2025-01-01T00:00:00Z"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Condition(msgspec.Struct, rename="camel", omit_defaults=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_probe_time: str | None = None


READY = {"type": "Ready", "status": "True", "reason": "AllUp", "message": "", "lastTransitionTime": THEN}
OTHER = {"type": "Other", "status": "False", "reason": "X", "message": "m", "lastTransitionTime": THEN}


def test_a_new_condition_is_appended():
    """With the time in whole seconds, as meta/v1 Time has it."""
    assert set_condition(None, "Ready", "True", reason="AllUp", now=NOW, observed_generation=3) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "AllUp",
            "message": "",
            "observedGeneration": 3,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
    ]


def test_setting_a_condition_to_what_it_is_changes_nothing():
    """A reconcile at its fixed point writes nothing."""
    assert set_condition([OTHER, READY], "Ready", "True", reason="AllUp", now=NOW) == [OTHER, READY]


def test_the_transition_time_changes_only_with_the_status():
    """Another reason or message is no transition."""
    (same,) = set_condition([READY], "Ready", "True", reason="Most", message="2 of 3", now=NOW)
    assert (same["lastTransitionTime"], same["reason"], same["message"]) == (THEN, "Most", "2 of 3")
    (changed,) = set_condition([READY], "Ready", "Unknown", reason="Lost", now=NOW)
    assert changed["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_the_list_that_was_read_is_not_changed():
    """It may be the cache's."""
    conditions = [dict(READY)]
    set_condition(conditions, "Ready", "False", reason="Down", now=NOW)[0]["message"] = "x"
    assert conditions == [READY]


def test_structs_and_fields_that_are_not_named_survive():
    """Job conditions have a lastProbeTime."""
    struct = Condition("Ready", "True", "AllUp", last_transition_time=THEN, last_probe_time=THEN)
    (plain,) = set_condition([struct], "Ready", "True", reason="AllUp", now=NOW)
    assert plain == {**READY, "lastProbeTime": THEN}
    assert find_condition([struct], "Ready") == {
        key: value for key, value in {**READY, "lastProbeTime": THEN}.items() if value
    }
    assert find_condition([struct], "Missing") is None
    assert find_condition(None, "Ready") is None


def test_a_list_that_somebody_broke_is_put_right():
    """The type twice, and an entry that is no condition."""
    assert set_condition([READY, OTHER, READY, "junk", None], "Ready", "True", reason="AllUp", now=NOW) == [
        READY,
        OTHER,
    ]


@pytest.mark.parametrize(
    ("type", "status", "reason"), [("", "True", "R"), ("T", True, "R"), ("T", "true", "R"), ("T", "True", "")]
)
def test_what_is_no_condition_is_refused(type, status, reason):
    """The error says what is wanted."""
    with pytest.raises(UsageError, match="condition"):
        set_condition([], type, status, reason=reason, now=NOW)
