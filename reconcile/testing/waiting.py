"""Waiting for what another process does: ask until it is so, with a deadline."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")

ASK_SECONDS = 0.02
"""How often is asked: a request costs the API server a millisecond."""


async def eventually(condition: Callable[[], T | Awaitable[T]], *, seconds: float = 30.0, why: str = "") -> T:
    """The first true value of ``condition``, which may be async. Raises TimeoutError that names the condition.

    For the state of another process, which nobody signals. Inside one process wait for an event instead.
    """
    last: T | None = None
    with anyio.move_on_after(seconds):
        while True:
            found = condition()
            last = await found if inspect.isawaitable(found) else found
            if last:
                return last
            await anyio.sleep(ASK_SECONDS)  # noqa: TID251  another process's time is never virtual
    name = why or getattr(condition, "__qualname__", repr(condition))
    raise TimeoutError(f"not within {seconds:g} s: {name}; last seen: {last!r}")
