"""Index sets of Indexed Jobs, and their text: ``1,3-5,7``.

The text is increasing decimal numbers separated by commas; runs of three and more are written ``a-b`` (a run of two as
``a,b``). Reading is lenient, because a status may have been written by anybody: items that are no numbers are skipped,
reading stops at the first index outside the Job, and neighbours are glued together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import attrs

DIGITS_MAX = 10
RUN_LENGTH_MIN = 3
"""Shorter runs are written number by number."""


@attrs.frozen
class Indexes:
    """A set of indexes as ascending, disjoint, non-adjacent runs ``(first, last)``.

    Membership costs O(log runs), a union O(runs + added).
    """

    runs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, indexes: Iterable[int]) -> Indexes:
        """These indexes, in any order, repeated or not."""
        return cls(_glue((index, index) for index in sorted(set(indexes))))

    @classmethod
    def parse(cls, text: str, completions: int) -> Indexes:
        """The indexes below ``completions`` that ``text`` names. Never raises."""
        return cls(_glue(_read(text, completions)))

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self.runs, (index, index)) - 1
        if at >= 0 and self.runs[at][1] >= index:
            return True
        return at + 1 < len(self.runs) and self.runs[at + 1][0] == index

    def __iter__(self) -> Iterator[int]:
        for first, last in self.runs:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.runs)

    def __bool__(self) -> bool:
        return bool(self.runs)

    def __str__(self) -> str:
        return ",".join(_write(first, last) for first, last in self.runs)

    def union(self, indexes: Iterable[int]) -> Indexes:
        """These and those."""
        added = [(index, index) for index in set(indexes)]
        return Indexes(_glue(sorted([*self.runs, *added]))) if added else self

    def count_common(self, other: Indexes) -> int:
        """How many indexes are in both."""
        total, mine, theirs = 0, iter(self.runs), iter(other.runs)
        one, two = next(mine, None), next(theirs, None)
        while one is not None and two is not None:
            total += max(0, min(one[1], two[1]) - max(one[0], two[0]) + 1)
            if one[1] < two[1]:
                one = next(mine, None)
            else:
                two = next(theirs, None)
        return total


def _glue(runs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    glued: list[tuple[int, int]] = []
    for first, last in runs:
        if glued and first <= glued[-1][1] + 1:
            glued[-1] = (glued[-1][0], max(glued[-1][1], last))
        else:
            glued.append((first, last))
    return tuple(glued)


def _read(text: str, completions: int) -> Iterator[tuple[int, int]]:
    lowest = 0
    for item in text.split(","):
        head, dash, tail = item.partition("-")
        first, last = _number(head), _number(tail if dash else head)
        if first is None or last is None or last < first or first < lowest:
            continue
        if first >= completions:
            return
        lowest = first
        yield first, min(last, completions - 1)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _write(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first}-{last}" if last - first + 1 >= RUN_LENGTH_MIN else f"{first},{last}"
