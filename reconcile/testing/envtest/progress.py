"""Lines for a person who waits: a build takes minutes."""

from __future__ import annotations

import sys

from reconcile.runtime.clock import SYSTEM_CLOCK


def report(text: str) -> None:
    """One line on standard error, with the time of day."""
    print(f"{SYSTEM_CLOCK.wall().astimezone():%H:%M:%S} envtest: {text}", file=sys.stderr, flush=True)  # noqa: T201
