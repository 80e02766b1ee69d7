"""The Job's status: conditions, and how the API server wants it written.

The API server checks every status that is written (KEP-4368): interim before terminal conditions, a completion time
only with Complete, no terminal condition while a Pod is active, terminating or uncounted, and more. Times have whole
seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reconcile.model import json
from reconcile_job.plan.view import Condition, JobStatus

_NAMES = (
    "conditions",
    "startTime",
    "completionTime",
    "active",
    "succeeded",
    "failed",
    "terminating",
    "completedIndexes",
    "failedIndexes",
    "uncountedTerminatedPods",
    "ready",
)


def condition(type: str, reason: str, message: str, now: datetime, *, status: str = "True") -> Condition:
    """A condition that changes now."""
    time = now.replace(microsecond=0)
    return Condition(type, status, time, time, reason, message)


def with_condition(conditions: tuple[Condition, ...] | None, wanted: Condition) -> tuple[Condition, ...]:
    """The conditions with ``wanted`` in its type's place, or at the end.

    One that says the same already keeps its times. One that is not True is never appended.
    """
    present = conditions or ()
    for position, item in enumerate(present):
        if item.type == wanted.type:
            if (item.status, item.reason, item.message) == (wanted.status, wanted.reason, wanted.message):
                return present
            return (*present[:position], wanted, *present[position + 1 :])
    return (*present, wanted) if wanted.is_true else present


def terminal_of(interim: Condition, now: datetime) -> Condition:
    """The terminal condition that an interim one announces, with its reason and message."""
    terminal = "Failed" if interim.type == "FailureTarget" else "Complete"
    return condition(terminal, interim.reason, interim.message, now)


def render(status: JobStatus, previous: dict[str, Any] | None) -> dict[str, Any]:
    """The status to write: ours over what stood there, so that fields nobody here knows survive."""
    kept = {name: value for name, value in (previous or {}).items() if name not in _NAMES}
    plain: dict[str, Any] = json.to_plain(status)
    return kept | plain
