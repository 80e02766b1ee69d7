"""The read-your-writes gate: a parked key is let go by what it waits for, and by nothing else before its bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from informer_conversation import (
    HOLD,
    PODS,
    Conversation,
    Facts,
    VirtualClock,
    bookmark,
    client_of,
    deleted,
    modified,
    page,
    pod,
    run_virtual,
    stream,
)

from reconcile.core.freshness import Freshness
from reconcile.instrumentation.hooks import Parked
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.write import Applied, Verb, Write
from reconcile.runtime.informer import Informer
from reconcile.runtime.own_writes import OwnWrites
from reconcile.runtime.workqueue import WorkQueue

KEY = ObjectKey("default", "job")
TARGET = ObjectKey("default", "a")
BOUND = 15.0


def patched(version: int) -> Applied:
    metadata = ObjectMeta(name="a", namespace="default", uid="uid-a", resource_version=str(version))
    return Applied(Write(Verb.PATCH, PODS, TARGET, "/"), Object(PODS.kind, metadata))


def vanished() -> Applied:
    """Deleted, and answered without an object: what is waited for is that it goes."""
    return Applied(Write(Verb.DELETE, PODS, TARGET, "/"), None)


def let_go_after(write: Applied, *events: Any) -> tuple[float, list[Parked]]:
    """When a key that made this write runs again, and what was told. Pod ``a`` is cached at version 10."""

    async def main() -> tuple[float, list[Parked]]:
        clock, facts = VirtualClock(), Facts()
        server = Conversation([("LIST", page(10, pod("a", 10))), ("WATCH 10", stream(*events, HOLD))])
        informer = Informer(client_of(server), PODS, clock=clock)
        queue: WorkQueue[ObjectKey] = WorkQueue("job", clock=clock)
        freshness: Freshness[ObjectKey] = Freshness()
        gate = OwnWrites(
            "job", freshness, queue, {PODS: [informer]}, settle_seconds_max=BOUND, clock=clock, hooks=facts.hooks
        )
        async with anyio.create_task_group() as group:
            group.start_soon(informer.run)
            await informer.wait_synced()
            gate.start()
            freshness.record(KEY, write, uid="uid-a")
            queue.add(KEY)
            assert gate.must_wait(await queue.get())
            queue.done(KEY)

            async def watch_the_bound() -> None:
                while True:
                    await clock.sleep(0.25)
                    gate.let_overdue_go()

            group.start_soon(watch_the_bound)
            key = await queue.get()
            assert not gate.must_wait(key)
            group.cancel_scope.cancel()
        return clock.monotonic(), facts.of(Parked)

    return run_virtual(main)


@pytest.mark.parametrize(
    ("write", "events", "seconds"),
    [
        (patched(12), [1, modified(pod("a", 12))], 1),
        (patched(12), [1, modified(pod("b", 11)), 1, modified(pod("b", 13))], 2),
        (patched(12), [1, bookmark(11), 1, bookmark(12)], 2),
        (vanished(), [1, bookmark(50), 1, modified(pod("a", 51)), 1, deleted(pod("a", 52))], 3),
    ],
    ids=["its change", "a later change of another object", "a bookmark", "its departure"],
)
def test_a_key_runs_as_soon_as_the_cache_shows_its_write(write: Applied, events: Sequence[Any], seconds: float) -> None:
    """At that moment, not when somebody next looks."""
    at, told = let_go_after(write, *events)
    assert at == pytest.approx(seconds)
    assert told == [Parked("job", KEY, "pods", pytest.approx(seconds), timed_out=False)]


@pytest.mark.parametrize("write", [lambda: patched(12), vanished])
def test_a_key_whose_write_never_shows_runs_at_the_bound(write: Callable[[], Applied]) -> None:
    """A cache that is stuck delays, and stops nothing."""
    at, told = let_go_after(write(), 1, bookmark(11))
    assert BOUND <= at <= BOUND + 0.25
    assert [(one.resource, one.timed_out) for one in told] == [("pods", True)]
