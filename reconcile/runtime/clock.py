"""The clock and the random source: the only place that reads either.

Two clocks: monotonic seconds for waiting and for deadlines, the wall clock for what is written into objects.
A simulation replaces both, and the randomness, by one value.
"""

from __future__ import annotations

import random  # noqa: TID251  the one place
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """Time and chance."""

    def monotonic(self) -> float:
        """Seconds; only differences mean anything."""
        ...

    def wall(self) -> datetime:
        """Now, in UTC."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait. Zero or less still lets others run."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for jitter."""
        ...

    def token(self, length: int, /) -> str:
        """Random lower-case letters and digits that an attacker need not guess but a neighbour must not repeat."""
        ...


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Runs on while the machine is suspended, where the system has such a clock: a leader that slept must know it."""


class SystemClock:
    """The machine's clocks and the interpreter's random source."""

    def monotonic(self) -> float:
        return time.clock_gettime(_STEADY)

    def wall(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  the one place

    async def sleep(self, seconds: float, /) -> None:
        await anyio.sleep(max(0.0, seconds))  # noqa: TID251  the one place

    def random(self) -> float:
        return random.random()  # noqa: S311  jitter, not a secret

    def token(self, length: int, /) -> str:
        return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=length))  # noqa: S311  uniqueness, not a secret


SYSTEM_CLOCK = SystemClock()
