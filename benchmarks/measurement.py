"""What one measured process reports: wall, CPU and resident memory of one stretch of work. Standard library only.

Each subject runs in a process of its own: imports first, then ``Measurement.begin`` just before the first request,
``end`` when the cache is complete. Memory is Linux's ``VmRSS`` and ``VmHWM`` (its high-water mark, reset at the
beginning), so that what the imports cost is not counted and what the work adds is, allocator slack included.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

SETTLE_SECONDS = 1.0
"""After the work, before the steady memory is read: decoders and sockets that are done let go of their buffers."""


def status_kib(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}: the benchmarks need Linux")


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Measurement:
    """One stretch of work."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        self._rss_kib = status_kib("VmRSS")
        self._cpu = cpu_seconds()
        self._started = time.perf_counter()
        self._wall = self._cpu_used = 0.0
        self._peak_kib = 0

    @classmethod
    def begin(cls) -> Measurement:
        """From now on."""
        return cls()

    def end(self) -> None:
        """The work is done."""
        self._wall = time.perf_counter() - self._started
        self._cpu_used = cpu_seconds() - self._cpu
        self._peak_kib = status_kib("VmHWM")

    def report(self, objects: int) -> None:
        """Print the figures as a line of JSON. Call it ``SETTLE_SECONDS`` after ``end``, with the cache still held."""
        print(
            json.dumps(
                {
                    "objects": objects,
                    "wall_seconds": round(self._wall, 4),
                    "cpu_seconds": round(self._cpu_used, 4),
                    "steady_mb": round((status_kib("VmRSS") - self._rss_kib) / 1024, 1),
                    "peak_mb": round((self._peak_kib - self._rss_kib) / 1024, 1),
                }
            ),
            flush=True,
        )
