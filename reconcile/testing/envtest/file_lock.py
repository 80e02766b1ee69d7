"""One process at a time, by a lock on a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.testing.envtest.progress import report

_POLL_SECONDS = 0.1


@contextlib.asynccontextmanager
async def exclusive_lock(path: Path, holder: str) -> AsyncIterator[None]:
    """Hold the lock on ``path``; ``holder`` says who else can have it. The kernel frees that of a dead process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_waiting = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not is_waiting:
                    report(f"{holder}: waiting for it")
                is_waiting = True
                await SYSTEM_CLOCK.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
