"""A watch, waited for: the lines as they come, bookmarks in between, the end when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from reconcile.cluster.api_server.request import Stream
from reconcile.runtime.clock import Clock

BOOKMARK_SECONDS = 55.0
"""How long a quiet watch waits for its next bookmark: the real server's about a minute, within the client's 70 s."""


async def lines_of(stream: Stream, clock: Clock) -> AsyncGenerator[list[bytes], None]:
    """The lines of a watch, some at a time, until it ends. Closing the generator closes the watch."""
    watch = stream.watch
    deadline = clock.monotonic() + stream.timeout_seconds
    next_bookmark = clock.monotonic() + BOOKMARK_SECONDS
    woken = asyncio.Event()
    alarm: asyncio.Future[None] | None = None
    try:
        while not watch.ended:
            lines = watch.take()
            if lines:
                yield lines
                continue
            now = clock.monotonic()
            if now >= deadline:
                if watch.bookmarks:
                    yield [watch.bookmark()]
                return
            if now >= next_bookmark:
                next_bookmark = now + BOOKMARK_SECONDS
                if watch.bookmarks:
                    yield [watch.bookmark()]
                    continue
            woken.clear()
            watch.sleep(woken.set)
            if alarm is None or alarm.done():  # one for many events: a task for each would cost more than its event
                alarm = asyncio.ensure_future(clock.sleep(min(deadline, next_bookmark) - now))
                alarm.add_done_callback(lambda _alarm: woken.set())
            await woken.wait()
    finally:
        watch.close()
        if alarm is not None:
            alarm.cancel()
