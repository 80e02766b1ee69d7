"""What the demo shows: Jobs as rows, live in a terminal, as lines of what changed elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import attrs

EXPECT = "demo.reconcile.dev/expect"
_HEADERS = ("JOB", "STATE", "ACTIVE", "SUCCEEDED", "FAILED", "PODS")
_END_STATES = ("Complete", "Failed")
_WIDTHS = (10, 35, 6, 9, 6, 0)


@attrs.frozen
class Row:
    """One Job as it stands."""

    name: str
    state: str
    reason: str
    active: int
    succeeded: int
    completions: int
    failed: int
    pods: str
    expected: str

    @classmethod
    def of(cls, job: Mapping[str, Any], pod_states: Sequence[str]) -> Row:
        """From the Job and the states of its Pods."""
        metadata, spec, status = job["metadata"], job["spec"], job.get("status", {})
        true = {one["type"]: one for one in status.get("conditions", ()) if one["status"] == "True"}
        ended = next((true[name] for name in (*_END_STATES, "FailureTarget", "Suspended") if name in true), None)
        counts = Counter(pod_states)
        return cls(
            name=metadata["name"],
            state=ended["type"] if ended else ("Running" if status.get("startTime") else "Waiting"),
            reason=ended.get("reason", "") if ended else "",
            active=status.get("active", 0),
            succeeded=status.get("succeeded", 0),
            completions=spec.get("completions", 1),
            failed=status.get("failed", 0),
            pods=" ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "-",
            expected=metadata.get("annotations", {}).get(EXPECT, ""),
        )

    @property
    def outcome(self) -> str:
        """State, and the reason of a failure."""
        return (
            f"{self.state} {self.reason}" if self.reason and self.state in {"Failed", "FailureTarget"} else self.state
        )

    @property
    def has_ended(self) -> bool:
        return self.state in _END_STATES

    @property
    def is_as_expected(self) -> bool:
        """Whether the Job ended, and so that a Complete one did all its work."""
        complete = self.state != "Complete" or self.succeeded == self.completions
        return self.has_ended and self.outcome == self.expected and complete

    def cells(self) -> tuple[str, ...]:
        succeeded = f"{self.succeeded}/{self.completions}"
        return (self.name, self.outcome, str(self.active), succeeded, str(self.failed), self.pods)


def columns(cells: Sequence[str]) -> str:
    """Cells below each other."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


class Screen:
    """Where progress goes: redrawn in place in a terminal, else a line whenever a row has changed."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._live = self._stream.isatty() and os.environ.get("TERM", "") != "dumb"
        self._colors = self._live and "NO_COLOR" not in os.environ
        self._drawn = 0
        self._told: dict[str, str] = {}

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def update(self, rows: Sequence[Row], footer: str) -> None:
        """Show the rows as they are now."""
        if not self._live:
            for row in rows:
                text = columns(row.cells())
                if self._told.get(row.name) != text:
                    self._told[row.name] = text
                    self.say(text)
            return
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be redrawn
        lines = [columns(_HEADERS), *(columns(row.cells()) for row in rows), footer]
        self._clear()
        self._stream.write("".join(line[:width] + "\n" for line in lines))
        self._drawn = len(lines)
        self._stream.flush()

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")  # up to the first drawn line, and erase from there
            self._drawn = 0

    def summary(self, rows: Sequence[Row]) -> None:
        """The last word on each Job."""
        self.say(columns(_HEADERS))
        for row in rows:
            mark, color = ("ok", "32") if row.is_as_expected else (f"NOT AS IT SHOULD: want {row.expected}", "31")
            colored = f"\x1b[{color}m{mark}\x1b[0m" if self._colors else mark
            self.say(f"{columns(row.cells())}  {colored}")
