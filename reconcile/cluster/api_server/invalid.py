"""What is wrong with a field, in the API server's words: the causes of a 422."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from reconcile.model import json

__all__ = [
    "IMMUTABLE",
    "Invalid",
    "at_least_zero",
    "duplicate",
    "forbidden",
    "immutable",
    "invalid",
    "not_found",
    "not_supported",
    "required",
    "too_long",
    "too_many",
]

IMMUTABLE = "field is immutable"
_OMITTED: Any = object()


@attrs.frozen
class Invalid:
    """One cause.

    Attributes:
        reason: the cause's reason, such as ``FieldValueRequired``.
        field: the path of the field, such as ``spec.containers[0].name``.
        message: what is wrong, with the value where it helps.
    """

    reason: str
    field: str
    message: str

    def cause(self) -> dict[str, str]:
        """As an entry of ``Status.details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


def required(field: str, detail: str = "") -> Invalid:
    return Invalid("FieldValueRequired", field, _text("Required value", _OMITTED, detail))


def invalid(field: str, value: Any = _OMITTED, detail: str = "") -> Invalid:
    """A value of the right type that breaks a rule; without ``value`` it is not shown."""
    return Invalid("FieldValueInvalid", field, _text("Invalid value", value, detail))


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Invalid:
    """A value that is none of the few allowed."""
    allowed = ", ".join(json.encode(one).decode() for one in supported)
    return Invalid("FieldValueNotSupported", field, _text("Unsupported value", value, f"supported values: {allowed}"))


def forbidden(field: str, detail: str) -> Invalid:
    return Invalid("FieldValueForbidden", field, _text("Forbidden", _OMITTED, detail))


def duplicate(field: str, value: Any) -> Invalid:
    return Invalid("FieldValueDuplicate", field, _text("Duplicate value", value, ""))


def not_found(field: str, value: Any) -> Invalid:
    """A reference to something that the object does not have."""
    return Invalid("FieldValueNotFound", field, _text("Not found", value, ""))


def too_long(field: str, bytes_max: int) -> Invalid:
    return Invalid("FieldValueTooLong", field, f"Too long: may not be more than {bytes_max} bytes")


def too_many(field: str, count: int, items_max: int) -> Invalid:
    detail = f"must have at most {items_max} item{'' if items_max == 1 else 's'}"
    return Invalid("FieldValueTooMany", field, _text("Too many", count, detail))


def at_least_zero(field: str, value: int | None) -> list[Invalid]:
    """The problem of a negative number, if it is one."""
    if value is None or value >= 0:
        return []
    return [invalid(field, value, "must be greater than or equal to 0")]


def immutable(field: str, old: Any, new: Any) -> list[Invalid]:
    """The problem of a field that changed and must not; nothing and empty are the same."""
    if old == new or (not old and not new and not isinstance(old, int) and not isinstance(new, int)):
        return []
    return [invalid(field, new, IMMUTABLE)]


def _text(kind: str, value: Any, detail: str) -> str:
    parts: Sequence[str] = [kind]
    if value is not _OMITTED:
        parts = [kind, json.encode(value).decode()]
    return ": ".join([*parts, detail] if detail else parts)
