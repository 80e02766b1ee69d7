"""Times in objects: RFC 3339, to the second (``Time``) or to the microsecond (``MicroTime``), written in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["canonical_micro_time", "canonical_time", "time_text"]

_PATTERN = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-](?:[01]\d|2[0-4]):[0-5]\d)", re.ASCII
)


def canonical_time(text: str) -> str | None:
    """A time as the server writes it; Go's zero time is no time. Raises ValueError with the server's words."""
    parsed = _parse(text, "2006-01-02T15:04:05Z07:00")
    return None if parsed is None else parsed.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def canonical_micro_time(text: str) -> str | None:
    """A time with six digits of a second's fraction. Raises ValueError."""
    parsed = _parse(text, "2006-01-02T15:04:05.000000Z07:00")
    return None if parsed is None else parsed.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def time_text(moment: datetime) -> str:
    """``moment`` as the server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse(text: str, layout: str) -> datetime | None:
    match = _PATTERN.fullmatch(text)
    if match is not None and ".000000" in layout and len(match[7] or "") != 6:
        rest = text[19:]
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as ".000000"')
    if match is None:
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        micros = int((fraction or "")[:6].ljust(6, "0"))
        parsed = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros)  # noqa: DTZ001 - the zone comes next
        if zone != "Z":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
            parsed += -offset if zone[0] == "+" else offset
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": out of range') from None
    return None if parsed == datetime.min else parsed  # noqa: DTZ901 - Go's zero time
