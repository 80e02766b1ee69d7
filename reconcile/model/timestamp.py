"""RFC 3339 times as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from reconcile.errors import DecodeError


def parse(text: str) -> datetime:
    """The time in UTC. Second, microsecond and nanosecond precision are read. Raises DecodeError."""
    try:
        value = datetime.fromisoformat(text)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"{text!r} is not an RFC 3339 time") from error


def render(value: datetime) -> str:
    """``meta/v1`` Time: UTC in whole seconds, ``2026-01-02T03:04:05Z``."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render_micro(value: datetime) -> str:
    """``meta/v1`` MicroTime: UTC in microseconds, as in Leases and Events."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
