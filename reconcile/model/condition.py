"""Conditions: the ``status.conditions`` list of most kinds (API conventions: "Typical status properties"). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from reconcile.errors import UsageError
from reconcile.model import json, timestamp

ConditionStatus: TypeAlias = Literal["True", "False", "Unknown"]


def set_condition(
    conditions: Iterable[Any] | None,
    type: str,
    status: ConditionStatus,
    *,
    reason: str,
    message: str = "",
    now: datetime,
    observed_generation: int | None = None,
) -> list[dict[str, Any]]:
    """A new list of plain conditions, in which the one of ``type`` says this.

    ``lastTransitionTime`` becomes ``now`` only if the status changes, so that setting a condition again to what it is
    changes nothing. The order, the other conditions, and fields of this one that are not named here stay.

    Args:
        conditions: the present list, of plain dicts, Structs, attrs classes or dataclasses; None for no list.
        type: which condition, such as ``Ready``.
        status: whether it holds.
        reason: one CamelCase word for programs; the API conventions require one.
        message: for people.
        now: the wall clock (``Context.now()``).
        observed_generation: the ``metadata.generation`` that this was judged from.

    Raises:
        UsageError: no type, no reason, or a status that is none.
    """
    if not type or not reason:
        raise UsageError(f"condition {type!r} with reason {reason!r}: both must be given")
    if status not in ("True", "False", "Unknown"):
        raise UsageError(f"condition {type}: status is {status!r}: want 'True', 'False' or 'Unknown'")
    known = _plain(conditions)
    before = next((condition for condition in known if condition.get("type") == type), {})
    after = {**before, "type": type, "status": status, "reason": reason, "message": message}
    if observed_generation is not None:
        after["observedGeneration"] = observed_generation
    if before.get("status") != status or not before.get("lastTransitionTime"):
        after["lastTransitionTime"] = timestamp.render(now)
    if not before:
        return [*known, after]
    # A list with the type twice (which servers refuse in typed kinds, but not in others) is put right by the way.
    return [
        after if condition is before else condition
        for condition in known
        if condition is before or condition.get("type") != type
    ]


def find_condition(conditions: Iterable[Any] | None, type: str) -> dict[str, Any] | None:
    """The condition of this type as plain values, or None."""
    return next((condition for condition in _plain(conditions) if condition.get("type") == type), None)


def _plain(conditions: Iterable[Any] | None) -> list[dict[str, Any]]:
    """Fresh dicts; entries that are no conditions (a hand-edited status) are left out."""
    plain = json.to_plain(list(conditions or ()))
    return [dict(condition) for condition in plain if isinstance(condition, Mapping)]
