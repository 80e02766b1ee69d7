"""Watchdog: notices that the event loop does not run, and which code holds it.

A thread asks the loop for a sign of life and waits. When none comes in time it looks at what the loop's thread does.
The fact (``LoopStalled``) is told by the loop itself, once it runs again; a stall that lasts is logged by the thread
meanwhile, because the loop may never run again.

Caveats:
    A stall shorter than twice the threshold can fall between two signs of life and go unseen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback

import anyio

from reconcile.instrumentation.hooks import Hooks, LoopStalled
from reconcile.runtime.clock import Clock

_log = logging.getLogger("reconcile.watchdog")

STALL_SECONDS = 0.1
"""Leases, watches and probes wait for the loop; a tenth of a second is still far from hurting any of them."""

STUCK_SECONDS = 5.0
"""A stall this long is logged while it lasts: half of the lease's usual renew deadline."""

FRAMES_MAX = 30
"""Innermost frames of the stack that are told."""


class LoopWatchdog:
    """Watches the loop that ``run`` is awaited in.

    Args:
        threshold_seconds: a loop that gives no sign of life for so long has stalled.
        stuck_seconds: a stall this long is logged while it lasts.
    """

    def __init__(
        self,
        hooks: Hooks,
        clock: Clock,
        *,
        threshold_seconds: float = STALL_SECONDS,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        self._hooks = hooks
        self._clock = clock
        self._threshold_seconds = threshold_seconds
        self._stuck_seconds = stuck_seconds
        self._stopped = threading.Event()

    async def run(self) -> None:
        """Watch until cancelled. The thread ends within the threshold after that."""
        loop, thread_id = asyncio.get_running_loop(), threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(loop, thread_id), name="reconcile-watchdog", daemon=True)
        thread.start()
        try:
            await anyio.sleep_forever()
        finally:
            self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        monotonic = self._clock.monotonic
        try:
            while not self._stopped.is_set():
                alive = threading.Event()
                asked, used = monotonic(), _cpu_seconds()
                loop.call_soon_threadsafe(alive.set)
                answered = alive.wait(self._threshold_seconds)
                if answered:
                    self._stopped.wait(self._threshold_seconds)
                late_seconds = monotonic() - asked - self._threshold_seconds
                if answered and late_seconds <= self._threshold_seconds:
                    continue
                # This thread came late itself. Either code held the interpreter's lock, which uses the CPU, or no
                # thread of this process ran (suspended, starved), and then no code is to blame.
                paused = late_seconds > self._threshold_seconds and _cpu_seconds() - used < self._threshold_seconds
                stack = "" if paused else _stack_of(thread_id)
                if not answered:
                    self._outlast(alive, thread_id, asked)
                loop.call_soon_threadsafe(self._hooks.emit, LoopStalled(monotonic() - asked, stack))
        except RuntimeError:
            return  # call_soon_threadsafe on a loop that is closed: nothing is left to watch

    def _outlast(self, alive: threading.Event, thread_id: int, asked: float) -> None:
        """Wait until the loop runs again; say once that it has not for long."""
        told = False
        while not alive.wait(self._threshold_seconds) and not self._stopped.is_set():
            stalled_seconds = self._clock.monotonic() - asked
            if stalled_seconds >= self._stuck_seconds and not told:
                told = True
                text = "the event loop has stood still for %.0f s; leases, watches and probes wait for it"
                _log.error(text, stalled_seconds, extra={"trace": _stack_of(thread_id)})


def _cpu_seconds() -> float:
    """What all threads of this process have used."""
    used = os.times()
    return used.user + used.system


def _stack_of(thread_id: int) -> str:
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  documented for exactly this use
    return "" if frame is None else "".join(traceback.format_stack(frame)[-FRAMES_MAX:]).rstrip("\n")
