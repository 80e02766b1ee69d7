"""The indexes of an Indexed Job as text: ``0,2-4,7``."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["overlap", "parse_indexes"]


def parse_indexes(text: str, completions: int) -> list[tuple[int, int]]:
    """First and last of each run, in increasing order and below ``completions``. Raises ValueError."""
    found: list[tuple[int, int]] = []
    for run in text.split(",") if text else ():
        first, last = _parse_run(run, completions)
        if found and found[-1][1] >= first:
            raise ValueError(f"non-increasing order, previous: {found[-1][1]}, current: {first}")
        found.append((first, last))
    return found


def _parse_run(run: str, completions: int) -> tuple[int, int]:
    parts = run.split("-")
    if len(parts) > 2:
        raise ValueError(
            f'the fragment "{run}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    first = _number(parts[0], completions)
    if len(parts) == 1:
        return first, first
    last = _number(parts[1], completions)
    if first >= last:
        raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
    return first, last


def _number(text: str, completions: int) -> int:
    if not re.fullmatch(r"\+?\d+", text, re.ASCII):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    number = int(text)
    if number >= completions:
        raise ValueError(f'too large index: "{text}"')
    return number


def overlap(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> int | None:
    """The first index in runs of both, or None."""
    left = right = 0
    while left < len(one) and right < len(other):
        (first, last), (start, end) = one[left], other[right]
        if first <= end and start <= last:
            return max(first, start)
        if first <= start:
            left += 1
        else:
            right += 1
    return None
