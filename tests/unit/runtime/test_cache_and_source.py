"""The cache shares and supervises informers; a source turns their changes into keys."""

from __future__ import annotations

import anyio
import pytest
from informer_conversation import (
    HOLD,
    NODES,
    PODS,
    Conversation,
    Facts,
    VirtualClock,
    added,
    bookmark,
    client_of,
    deleted,
    modified,
    page,
    pod,
    refusal,
    run_virtual,
    settled,
    stream,
)

from reconcile import Counter, Measured
from reconcile.core.enqueue import itself, mapped
from reconcile.core.predicate import labels_changed
from reconcile.errors import NotSyncedError, UsageError
from reconcile.instrumentation.hooks import ComponentFailed
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.scope import Scope
from reconcile.runtime.cache import Cache
from reconcile.runtime.informer import Informer
from reconcile.runtime.source import PRIORITY_LOW, Source


def names(obj: Object) -> list[str]:
    return [obj.name]


def test_an_informer_is_shared_where_everything_about_it_agrees() -> None:
    """Another scope or selector is another informer; a further index is added."""

    async def main() -> None:
        cache = Cache(client_of(Conversation([])))
        pods = cache.informer(PODS)
        assert cache.informer(PODS, indexes={"names": names}) is pods
        assert pods.store.indexed("names", "x") == ()
        assert cache.informer(PODS, label_selector="a=b") is not pods
        assert cache.informer(PODS, scope=Scope(("a",))) is not pods
        assert cache.informer(PODS, metadata_only=True) is not pods
        assert len(cache.informers) == 4
        with pytest.raises(UsageError, match="declared twice"):
            cache.informer(PODS, indexes={"names": lambda obj: [obj.uid]})
        with pytest.raises(UsageError, match="resync_seconds"):
            cache.informer(PODS, resync_seconds=5.0)

    run_virtual(main)


def test_an_undeclared_kind_is_refused_with_the_way_out() -> None:
    """No informer is started behind anybody's back."""

    async def main() -> None:
        cache = Cache(client_of(Conversation([])))
        cache.informer(PODS)
        assert cache.get(PODS, ObjectKey("default", "a")) is None
        with pytest.raises(
            UsageError, match=r"nodes n is read from the cache, which holds pods: declare it.*Client\.get"
        ):
            cache.get(NODES, ObjectKey("", "n"))

    run_virtual(main)


def test_waiting_names_only_the_stuck_resource() -> None:
    """One synced, one refused: the error is about the second, and so is readiness."""

    async def main() -> None:
        server = Conversation(
            [
                ("LIST in blue", page(10, pod("a", 1, namespace="blue"))),
                ("WATCH 10 in blue", stream(HOLD)),
                *[("LIST in red", refusal(403, "Forbidden", "pods in red are forbidden"))] * 9,
            ]
        )
        cache = Cache(client_of(server), clock=VirtualClock())
        cache.informer(PODS, scope=Scope(("blue",)))
        cache.informer(PODS, scope=Scope(("red",)))
        async with anyio.create_task_group() as group:
            group.start_soon(cache.run)
            with pytest.raises(NotSyncedError, match="pods in red are forbidden") as caught:
                await cache.wait_synced(20.0)
            assert "namespace blue" not in str(caught.value)
            (reason,) = cache.unready()
            assert "namespace red" in reason
            found = cache.get(PODS, ObjectKey("blue", "a"))
            assert found is not None
            group.cancel_scope.cancel()

    run_virtual(main)


def test_an_informer_that_dies_is_restarted_and_shows() -> None:
    """It is reported, unready while it waits, and lists again."""
    broken = [True]

    async def main() -> None:
        facts = Facts()
        server = Conversation(
            [
                ("LIST", page(10, pod("a", 1))),
                ("LIST", page(20, pod("a", 1), pod("b", 15))),
                ("WATCH 20", stream(HOLD)),
            ]
        )
        cache = Cache(client_of(server), clock=VirtualClock(), hooks=facts.hooks)
        pods = cache.informer(PODS)

        def progress() -> None:
            if broken.pop():
                broken.append(False)
                raise RuntimeError("a fault of the framework's own")
            broken.append(False)

        pods.on_progress(progress)
        async with anyio.create_task_group() as group:
            group.start_soon(cache.run)
            await settled(lambda: bool(facts.of(ComponentFailed)), "the failure")
            assert cache.unready() == [f"{pods}: failed: RuntimeError: a fault of the framework's own"]
            await settled(server.over.is_set, "the restart")
            await anyio.sleep(0.01)
            assert sorted(obj.name for obj in pods.store.list()) == ["a", "b"]
            assert cache.unready() == []
            group.cancel_scope.cancel()
        assert [fact.component for fact in facts.of(ComponentFailed)] == ["informer pods"]

    run_virtual(main)


def test_an_informer_declared_late_runs_too() -> None:
    """While the cache runs already."""

    async def main() -> None:
        server = Conversation([("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(HOLD))])
        cache = Cache(client_of(server), clock=VirtualClock())
        async with anyio.create_task_group() as group:
            group.start_soon(cache.run)
            await anyio.sleep(1)
            await cache.informer(PODS).wait_synced(10)
            with pytest.raises(UsageError, match="runs already"):
                await cache.run()
            group.cancel_scope.cancel()

    run_virtual(main)


class Queue:
    """What a source put in, in order."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, int]] = []

    def add(self, key: ObjectKey, /, *, priority: int = 0) -> None:
        self.keys.append((key.name, priority))


def feed(source_options: dict[str, object], *events: bytes) -> tuple[Queue, Facts]:
    """What ends up in the queue of one list of Pod ``a`` and these events."""

    async def main() -> tuple[Queue, Facts]:
        queue, facts = Queue(), Facts()
        server = Conversation([("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(*events, HOLD))])
        informer = Informer(client_of(server), PODS, clock=VirtualClock(), hooks=facts.hooks)
        options = {"enqueue": itself, **source_options}
        enqueue = options.pop("enqueue")
        Source(informer, enqueue, queue, hooks=facts.hooks, **options).start()  # type: ignore[arg-type]  # a test's shorthand
        async with anyio.create_task_group() as group:
            group.start_soon(informer.run)
            await server.over.wait()
            await anyio.sleep(1)
            group.cancel_scope.cancel()
        return queue, facts

    return run_virtual(main)


def test_keys_of_the_first_list_wait_behind_those_of_changes() -> None:
    """Nothing has happened to them."""
    queue, _ = feed({}, added(pod("b", 11)), deleted(pod("a", 12)))
    assert queue.keys == [("a", PRIORITY_LOW), ("b", 0), ("a", 0)]


def test_a_watch_may_give_its_changes_a_priority() -> None:
    """Of the first list the keys wait behind all others nonetheless."""
    queue, _ = feed({"priority": 7}, added(pod("b", 11)))
    assert queue.keys == [("a", PRIORITY_LOW), ("b", 7)]


def test_a_predicate_keeps_changes_out() -> None:
    """Only what it lets pass is enqueued."""
    queue, _ = feed({"predicate": labels_changed}, modified(pod("a", 11)), modified(pod("a", 12, labels={"x": "y"})))
    assert queue.keys == [("a", PRIORITY_LOW), ("a", 0)]


def test_a_resync_passes_every_predicate() -> None:
    """It is asked for because nothing changes in the cluster, so a predicate over changes must not swallow it."""

    async def main() -> list[tuple[str, int]]:
        queue = Queue()
        quiet = stream(60, bookmark(10), 60, bookmark(10), HOLD)
        server = Conversation([("LIST", page(10, pod("a", 1))), ("WATCH 10", quiet)])
        informer = Informer(client_of(server), PODS, clock=VirtualClock(), resync_seconds=50.0)
        Source(informer, itself, queue, predicate=labels_changed).start()
        async with anyio.create_task_group() as group:
            group.start_soon(informer.run)
            await settled(lambda: len(queue.keys) == 3, "two resyncs")
            group.cancel_scope.cancel()
        return queue.keys

    assert run_virtual(main) == [("a", PRIORITY_LOW)] * 3


def test_every_change_is_measured_whatever_the_predicate_says() -> None:
    """Metrics tell what there is, not what wakes a reconcile."""
    seen = Counter("seen_total", "Changes", labels=("name", "is_new"))

    def measure(delta: Delta) -> list[Measured]:
        return [Measured(seen, 1, (delta.key.name, str(delta.old is None)))]

    reported: list[Measured] = []
    options = {"predicate": lambda _delta: False, "measure": measure, "report": reported.append}
    queue, facts = feed(options, modified(pod("a", 11)), added(pod("b", 12)))
    assert queue.keys == []
    assert [measured.labels for measured in reported] == [("a", "True"), ("a", "False"), ("b", "True")]
    assert not facts.of(ComponentFailed)


def test_a_measure_that_raises_costs_its_own_report_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The change still wakes its key, and what raised is told."""

    def measure(delta: Delta) -> list[Measured]:
        raise RuntimeError(f"boom {delta.key}")

    queue, facts = feed({"measure": measure, "report": [].append}, modified(pod("a", 11)))
    assert queue.keys == [("a", PRIORITY_LOW), ("a", 0)]
    assert [fact.component for fact in facts.of(ComponentFailed)] == ["measure on pods"] * 2
    assert "boom" in caplog.text


def test_a_predicate_that_raises_lets_pass(caplog: pytest.LogCaptureFixture) -> None:
    """A needless reconcile does no harm, a missing one may."""

    def raises(_delta: Delta) -> bool:
        raise RuntimeError("mine")

    queue, facts = feed({"predicate": raises}, added(pod("b", 11)))
    assert queue.keys == [("a", PRIORITY_LOW), ("b", 0)]
    assert {fact.component for fact in facts.of(ComponentFailed)} == {"predicate on pods"}
    assert "mine" in caplog.text


def test_a_mapping_that_raises_on_one_object_costs_only_that_one(caplog: pytest.LogCaptureFixture) -> None:
    """The others of its batch are enqueued."""

    def picky(obj: Object) -> list[ObjectKey]:
        if obj.name == "bad":
            raise RuntimeError("mine")
        return [obj.key]

    queue, facts = feed({"enqueue": mapped(picky)}, added(pod("bad", 11)) + added(pod("good", 12)))
    assert queue.keys == [("a", PRIORITY_LOW), ("good", 0)]
    assert {fact.component for fact in facts.of(ComponentFailed)} == {"enqueue on pods"}
    assert "default/bad" in caplog.text
