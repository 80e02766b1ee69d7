"""What this floor asks of time: ``reconcile.runtime.clock`` satisfies it, and so does the running loop itself."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, waiting, and chance for jitter."""

    def monotonic(self) -> float:
        """Seconds; only differences mean anything."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class LoopClock:
    """The clock of the running event loop: virtual where the loop's time is virtual."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float, /) -> None:
        loop = asyncio.get_running_loop()
        elapsed = loop.create_future()
        handle = loop.call_later(max(0.0, seconds), elapsed.set_result, None)
        try:
            await elapsed
        finally:
            handle.cancel()

    def random(self) -> float:
        """The digits below the tenth of a millisecond: enough to keep processes from retrying in step."""
        return math.modf(self.monotonic() * 1e4)[0]


LOOP_CLOCK = LoopClock()
