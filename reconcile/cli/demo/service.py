"""The Job controller as a service of its own: the very command that one would run against any cluster."""

from __future__ import annotations

import asyncio
import collections
import ctypes
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import anyio
import anyio.to_thread
from prometheus_client.parser import text_string_to_metric_families

STOP_SECONDS_MAX = 30.0
"""The service's own bound for a drain is 20 s."""

LOG_LINES = 40
"""The end of its log, kept for the case that it fails."""

_METRICS = re.compile(r"serving metrics on (http://\S+)")
_PR_SET_PDEATHSIG = 1


class Service:
    """A child process; it gets SIGTERM when this one ends, however that comes about."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._metrics_url = ""
        self.queue = "queue: starting"

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.returncode

    @property
    def log_tail(self) -> str:
        return "".join(self._log)

    async def start(self, kubeconfig: Path) -> None:
        """Start it."""
        libc = ctypes.CDLL(None)
        command = [sys.executable, "-m", "reconcile", "run", "job", "--kubeconfig", str(kubeconfig)]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            "--metrics-bind-address=127.0.0.1:0",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
        )

    async def follow_log(self) -> None:
        """Keep the end of its log until it closes it."""
        assert self._process is not None and self._process.stderr is not None  # noqa: PT018, S101  after start
        async for line in self._process.stderr:
            text = line.decode(errors="replace")
            self._log.append(text)
            found = _METRICS.search(text)
            if found:
                self._metrics_url = f"{found[1]}/metrics"

    async def read_queue(self) -> None:
        """Ask its metrics for the state of the queue of Jobs."""
        if not self._metrics_url:
            return
        try:
            text = await anyio.to_thread.run_sync(_fetch, self._metrics_url)
        except (URLError, OSError):
            return  # it is about to end; `exit_status` tells
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("controller") == "job":
                    values[sample.name] = values.get(sample.name, 0.0) + sample.value
        depth, active = values.get("workqueue_depth", 0), values.get("controller_runtime_active_workers", 0)
        runs, errors = (values.get(f"controller_runtime_reconcile{name}_total", 0) for name in ("", "_errors"))
        self.queue = f"queue: {depth:g} waiting, {active:g} at work, {runs:g} reconciles, {errors:g} errors"

    async def stop(self) -> int | None:
        """SIGTERM, then its exit status; SIGKILL and None if it does not end."""
        process = self._process
        if process is None:
            return None
        if process.returncode is None:
            process.terminate()
        with anyio.move_on_after(STOP_SECONDS_MAX, shield=True):
            return await process.wait()
        process.kill()
        return None


def _fetch(url: str) -> str:
    with urlopen(url, timeout=5) as response:  # noqa: S310  the URL that our own child has logged
        return str(response.read().decode())
