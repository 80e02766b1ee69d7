"""The informer, conversation by conversation, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from informer_conversation import (
    HOLD,
    NODES,
    PODS,
    Conversation,
    Facts,
    VirtualClock,
    added,
    asked,
    bookmark,
    client_of,
    deleted,
    event,
    modified,
    page,
    play,
    pod,
    refusal,
    run_virtual,
    settled,
    status,
    stream,
)

from reconcile.client.api import Client
from reconcile.client.memory_transport import MemoryTransport, StreamedResponse
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import NotSyncedError, TransportError, UsageError
from reconcile.instrumentation.hooks import ComponentFailed, Quarantined, Relisted, WatchEnded
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.scope import Scope
from reconcile.model.watch_event import Deleted, Upserted
from reconcile.runtime.informer import Informer

TOO_DEEP = (
    b'{"metadata":{"name":"bad","namespace":"default","uid":"uid-bad","resourceVersion":"7"},"spec":' + b"[" * 5000
)


def decoded(value: dict[str, Any]) -> Object:
    return from_plain(value, PODS.kind)


class Run:
    """One informer against one script, with what it told."""

    def __init__(self, script: Sequence[tuple[str, Any]], **options: Any) -> None:
        self.facts = Facts()
        self.server = Conversation(script)
        self.informer = Informer(
            client_of(self.server),
            options.pop("resource", PODS),
            clock=VirtualClock(),
            hooks=self.facts.hooks,
            **options,
        )
        self.statistics = self.informer.statistics()
        self.told: list[tuple[str, str | None, str | None, bool]] = []
        self.informer.subscribe(self._hear)

    def _hear(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            self.told.append(
                (
                    delta.key.name,
                    delta.old.resource_version if delta.old is not None else None,
                    delta.new.resource_version if delta.new is not None else None,
                    self.informer.in_initial_sync,
                )
            )

    @property
    def names(self) -> list[str]:
        return sorted(obj.name for obj in self.informer.store.list())

    @property
    def questions(self) -> list[str]:
        return [text for _, text in self.server.asked]


def converse(
    script: Sequence[tuple[str, Any]], body: Callable[[Run], Awaitable[None]] | None = None, **options: Any
) -> Run:
    """Run an informer through the script, then ``body``, then stop it."""

    async def main() -> Run:
        run = Run(script, **options)
        async with anyio.create_task_group() as group:
            group.start_soon(run.informer.run)
            if body is not None:
                await body(run)
            await settled(run.server.over.is_set, "the end of the script")
            await anyio.sleep(0.01)
            run.statistics = run.informer.statistics()
            group.cancel_scope.cancel()
        assert not run.server.left
        return run

    return run_virtual(main)


# -- the initial state -------------------------------------------------------------------------------------------------


def test_pages_become_one_state() -> None:
    """Nothing is told before the last page has come; then everything, as the first state."""

    async def body(run: Run) -> None:
        await run.informer.wait_synced(10)
        assert run.questions[:3] == ["LIST", "LIST next=c1", "LIST next=c2"]

    run = converse(
        [
            ("LIST", page(10, pod("a", 1), more="c1")),
            ("LIST next=c1", page(10, pod("b", 2), more="c2")),
            ("LIST next=c2", page(10, pod("c", 3))),
            ("WATCH 10", stream(modified(pod("a", 11)), deleted(pod("b", 12)), HOLD)),
        ],
        body,
    )
    assert run.told == [
        ("a", None, "1", True),
        ("b", None, "2", True),
        ("c", None, "3", True),
        ("a", "1", "11", False),
        ("b", "2", None, False),
    ]
    assert run.names == ["a", "c"]
    assert [(fact.objects, fact.mode) for fact in run.facts.of(Relisted)] == [(3, "list")]
    assert run.informer.version_of("default", {}) == 12


def test_selectors_and_timeouts_reach_the_server() -> None:
    """Every list and watch carries both selectors; every watch asks for bookmarks and a bounded life."""
    run = converse(
        [("LIST", page(10)), ("WATCH 10", stream(HOLD))], label_selector="app=web", field_selector="spec.nodeName=n"
    )
    for request in run.server.requests:
        query = dict(request.query)
        assert query["labelSelector"] == "app=web"
        assert query["fieldSelector"] == "spec.nodeName=n"
    assert query["allowWatchBookmarks"] == "true"
    assert 300 <= int(query["timeoutSeconds"]) <= 600


def test_an_expired_token_restarts_the_list() -> None:
    """What the first pages said is forgotten: the half list never shows."""
    run = converse(
        [
            ("LIST", page(10, pod("gone", 1), more="c1")),
            ("LIST next=c1", refusal(410, "Expired")),
            ("LIST", page(20, pod("a", 15))),
            ("WATCH 20", stream(HOLD)),
        ]
    )
    assert run.told == [("a", None, "15", True)]


def test_a_kind_that_may_not_be_listed_is_named_and_recovers_alone() -> None:
    """The error of the bounded wait says which verb on what was refused; no restart is needed once it is allowed."""
    message = 'pods is forbidden: User "x" cannot list resource "pods" in API group "" at the cluster scope'

    async def body(run: Run) -> None:
        with pytest.raises(NotSyncedError) as caught:
            await run.informer.wait_synced(1.0)
        assert message in str(caught.value)
        assert "pods" in str(caught.value)
        assert run.informer.problems
        await run.informer.wait_synced(60.0)
        assert run.informer.problems == []

    run = converse(
        [
            ("LIST", refusal(403, "Forbidden", message)),
            ("LIST", refusal(403, "Forbidden", message)),
            ("LIST", page(10, pod("a", 1))),
            ("WATCH 10", stream(HOLD)),
        ],
        body,
    )
    assert run.names == ["a"]


def test_a_body_that_is_no_list_is_not_the_end() -> None:
    """A cut or foreign page is asked for again."""
    run = converse(
        [
            ("LIST", HTTPResponse(200, {"content-type": "application/json"}, b'{"kind":"PodList","items":[{"meta')),
            ("LIST", page(10, pod("a", 1))),
            ("WATCH 10", stream(HOLD)),
        ]
    )
    assert run.names == ["a"]


def test_a_last_page_that_is_cut_is_not_taken_for_the_whole() -> None:
    """Its head tells a version, its items cannot be read: nothing is promoted, nothing watched."""
    whole = page(10, pod("a", 1), pod("b", 2))
    run = converse(
        [
            ("LIST", HTTPResponse(200, whole.headers, whole.body[:-40])),
            ("LIST", page(10, pod("a", 1), more="c1")),
            ("LIST next=c1", HTTPResponse(200, whole.headers, whole.body[:-40])),
            ("LIST", page(10, pod("a", 1), more="c1")),
            ("LIST next=c1", page(10, pod("b", 2))),
            ("WATCH 10", stream(HOLD)),
        ]
    )
    assert run.names == ["a", "b"]
    assert len(run.told) == 2


def test_a_problem_is_over_when_the_server_answers_again() -> None:
    """Not only when the next bookmark comes: readiness follows this."""

    async def body(run: Run) -> None:
        await settled(lambda: bool(run.informer.problems), "the problem")
        assert "cut" in run.informer.problems[0]
        await run.server.over.wait()
        await anyio.sleep(0.01)
        assert run.informer.problems == []
        assert "watching" in run.informer.state

    converse([("LIST", page(10)), ("WATCH 10", stream(100, TransportError("cut"))), ("WATCH 10", stream(HOLD))], body)


def test_an_initial_stream_becomes_one_state_and_goes_on() -> None:
    """Nothing is told before the end bookmark, and no list is ever asked for."""
    run = converse(
        [
            (
                "WATCH initial",
                stream(added(pod("a", 1)), 3, added(pod("b", 2)) + bookmark(10, end=True) + added(pod("c", 11)), HOLD),
            ),
        ],
        lambda run: run.informer.wait_synced(20),
        watch_list=True,
    )
    assert run.told == [("a", None, "1", True), ("b", None, "2", True), ("c", None, "11", False)]
    assert [(fact.objects, fact.mode) for fact in run.facts.of(Relisted)] == [(2, "watchlist")]
    assert dict(run.server.requests[0].query)["resourceVersionMatch"] == "NotOlderThan"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(422, "Invalid"),
        refusal(400, "BadRequest"),
        stream(added(pod("a", 1)), HOLD),
        stream(*[added(pod("a", 1)), 9] * 20),
    ],
    ids=["refused", "unknown", "silent", "never ending"],
)
def test_a_server_that_does_not_stream_its_state_is_listed(answer: Any) -> None:
    """Whether it says so, falls silent, or goes on without an end; within two minutes, and for good."""

    async def body(run: Run) -> None:
        await run.informer.wait_synced(150)

    run = converse(
        [
            ("WATCH initial", answer),
            ("LIST", page(10, pod("a", 1))),
            ("WATCH 10", stream(100)),
            ("WATCH 10", refusal(410, "Expired")),
            ("LIST", page(20, pod("a", 1))),
            ("WATCH 20", stream(HOLD)),
        ],
        body,
        watch_list=True,
    )
    assert run.told == [("a", None, "1", True)]
    assert {fact.mode for fact in run.facts.of(Relisted)} == {"list"}


def test_a_server_that_is_away_when_its_state_is_streamed_is_asked_for_the_stream_again() -> None:
    """Refused connections are no answer to the question whether it can stream."""
    away = TransportError("connection refused", may_have_arrived=False)
    run = converse(
        [
            *[("WATCH initial", away)] * 4,
            ("WATCH initial", stream(added(pod("a", 1)), bookmark(10, end=True), HOLD)),
        ],
        watch_list=True,
    )
    assert run.told == [("a", None, "1", True)]
    assert {fact.mode for fact in run.facts.of(Relisted)} == {"watchlist"}


# -- the stream --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expired",
    [
        [("WATCH 10", stream(100)), ("WATCH 10", refusal(410, "Expired"))],
        [("WATCH 10", stream(100, event("ERROR", status(410, "Expired"))))],
    ],
    ids=["as a status", "as an event"],
)
def test_an_expired_version_is_listed_again_and_the_gap_is_told(expired: list[tuple[str, Any]]) -> None:
    """Deletions, creations, changes and a namesake in the gap all become deltas."""
    run = converse(
        [
            ("LIST", page(10, pod("gone", 1), pod("same", 2), pod("changed", 3), pod("again", 4, uid="first"))),
            *expired,
            ("LIST", page(99, pod("same", 2), pod("changed", 33), pod("new", 40), pod("again", 44, uid="second"))),
            ("WATCH 99", stream(HOLD)),
        ]
    )
    assert sorted(run.told[4:], key=str) == sorted(
        [
            ("gone", "1", None, False),
            ("changed", "3", "33", False),
            ("new", None, "40", False),
            ("again", "4", None, False),
            ("again", None, "44", False),
        ],
        key=str,
    )
    assert run.names == ["again", "changed", "new", "same"]


def test_a_silent_stream_is_given_up() -> None:
    """After 230 s without any bookmark; after 70 s once one has been seen."""
    run = converse(
        [
            ("LIST", page(10)),
            ("WATCH 10", stream(HOLD)),
            ("WATCH 10", stream(60, bookmark(15), HOLD)),
            ("WATCH 15", stream(60, bookmark(16), 60, bookmark(17), HOLD)),
            ("WATCH 17", stream(HOLD)),
        ]
    )
    times = [at for at, text in run.server.asked if text.startswith("WATCH")]
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [230, 130, 190]
    assert {fact.reason for fact in run.facts.of(WatchEnded)} == {"idle"}


def test_a_cut_stream_is_resumed_where_it_was() -> None:
    """From the last version seen, without a new list."""
    run = converse(
        [
            ("LIST", page(10)),
            ("WATCH 10", stream(added(pod("a", 11)), 100, TransportError("cut"))),
            ("WATCH 11", stream(added(pod("a", 11)), added(pod("b", 12)), HOLD)),
        ]
    )
    assert run.told == [("a", None, "11", False), ("b", None, "12", False)]
    assert run.statistics.ignored_events == 1


def test_a_server_that_ends_every_watch_at_once_is_not_pressed() -> None:
    """The waits double; there is no loop."""
    run = converse([("LIST", page(10)), *[("WATCH 10", stream())] * 7, ("WATCH 10", stream(HOLD))])
    times = [at for at, text in run.server.asked if text.startswith("WATCH")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0], abs=0.1)


def test_bookmarks_advance_the_version_and_tell_those_who_wait() -> None:
    """The read-your-writes gate hears of progress that brings no change."""
    versions: list[int | None] = []

    async def body(run: Run) -> None:
        run.informer.on_progress(lambda: versions.append(run.informer.version_of("default", {})))
        assert run.informer.version_of("default", {}) == 0
        await settled(lambda: 42 in versions, "the bookmark's version")

    converse([("LIST", page(10)), ("WATCH 10", stream(5, bookmark(42), HOLD))], body)
    assert versions == [10, 42]


@pytest.mark.parametrize(("version", "watch"), [("x", "WATCH x"), ("", "WATCH ")])
def test_opaque_versions_are_not_compared(version: str, watch: str) -> None:
    """A version that is no number, or not told at all, gives None: the gate fails open."""
    listed = page(0, pod("a", 1))
    told = listed.body.replace(b'"resourceVersion": "0"', f'"resourceVersion": "{version}"'.encode())
    run = converse([("LIST", type(listed)(200, listed.headers, told)), (watch, stream(HOLD))])
    assert run.informer.version_of("default", {}) is None


def test_a_server_that_is_away_for_ten_minutes_is_not_pressed_and_soon_caught_up_with() -> None:
    """Few requests while it is away; within a minute of its return one list, and the gap is told."""

    async def body() -> None:
        asked_at: list[tuple[float, str]] = []
        clock = VirtualClock()

        async def answer(request: HTTPRequest) -> HTTPResponse | StreamedResponse:
            now, text = clock.monotonic(), asked(request)
            asked_at.append((now, text))
            if 100 <= now < 700:
                raise TransportError("connection refused", may_have_arrived=False)
            if text == "LIST":
                return page(10, pod("a", 1)) if now < 100 else page(900, pod("b", 800))
            if text == "WATCH 10" and now >= 700:
                return refusal(410, "Expired")
            return StreamedResponse(play([100 - now, TransportError("cut")] if now < 100 else [HOLD]))

        informer = Informer(Client(MemoryTransport(answer), clock=clock), PODS, clock=clock)
        gone: list[str] = []
        informer.subscribe(lambda deltas: gone.extend(delta.key.name for delta in deltas if delta.new is None))
        async with anyio.create_task_group() as group:
            group.start_soon(informer.run)
            await clock.sleep(699)
            assert informer.has_synced
            assert "connection refused" in informer.problems[0]
            assert [obj.name for obj in informer.store.list()] == ["a"]
            await settled(lambda: asked_at[-1][1] == "WATCH 900", "the new list", 60.0)
            group.cancel_scope.cancel()
        assert [obj.name for obj in informer.store.list()] == ["b"]
        assert gone == ["a"]
        while_away = [text for at, text in asked_at if 100 <= at < 700]
        assert set(while_away) == {"WATCH 10"}
        assert len(while_away) < 40
        assert [text for at, text in asked_at if at >= 700] == ["WATCH 10", "LIST", "WATCH 900"]

    run_virtual(body)


# -- objects that cannot be decoded ---------------------------------------------------------------------------------------


def test_what_cannot_be_decoded_is_quarantined_and_the_rest_goes_on() -> None:
    """In a page and in the stream; the last good version stays readable."""
    wrong = {"metadata": {"name": "bad", "namespace": "default", "resourceVersion": "6", "labels": "none"}}
    key = ObjectKey("default", "bad")

    async def body(run: Run) -> None:
        await run.informer.wait_synced(10)
        assert run.informer.store.quarantined.keys() == {key}
        await settled(lambda: key in run.informer.store, "a good version")
        await settled(lambda: bool(run.informer.store.quarantined), "the second bad version")
        kept = run.informer.store.get(key)
        assert kept is not None
        assert kept.resource_version == "11"

    run = converse(
        [
            ("LIST", page(10, pod("a", 1), wrong)),
            ("WATCH 10", stream(5, added(pod("bad", 11)), 5, modified(TOO_DEEP), 5, added(pod("b", 13)), HOLD)),
        ],
        body,
    )
    assert [fact.key for fact in run.facts.of(Quarantined)] == [key, key]
    assert run.statistics.quarantined == 1


@pytest.mark.parametrize(
    ("found", "names"), [([], ["a"]), ([pod("bad", 1)], ["a", "bad"])], ids=["confirmed", "not confirmed"]
)
def test_a_deletion_that_cannot_be_decoded_is_confirmed_by_the_server(found: list[Any], names: list[str]) -> None:
    """Nobody would tell of it again; and a scan of foreign bytes alone must not remove anything."""
    run = converse(
        [
            ("LIST", page(10, pod("a", 1), pod("bad", 2))),
            ("WATCH 10", stream(5, modified(TOO_DEEP), 5, deleted(TOO_DEEP), HOLD)),
            ("LIST in default", page(20, *found)),
        ],
        label_selector="app=web",
        field_selector="spec.nodeName=n",
    )
    query = dict(run.server.requests[-1].query)
    assert query["fieldSelector"] == "spec.nodeName=n,metadata.name=bad"
    assert query["labelSelector"] == "app=web"
    assert run.names == names
    assert bool(run.statistics.quarantined) is bool(found)
    assert (("bad", "2", None, False) in run.told) is not bool(found)


@pytest.mark.parametrize("chunks", [1, 2], ids=["in one chunk", "in two"])
def test_a_deletion_in_the_initial_stream_that_cannot_be_decoded_is_confirmed_too(chunks: int) -> None:
    """What the stream had said of the object before is not taken for the present state."""
    events = [added(pod("bad", 5)), event("DELETED", TOO_DEEP)]
    sent = events if chunks == 2 else [b"".join(events)]
    run = converse(
        [
            ("WATCH initial", stream(*sent, added(pod("a", 1)), bookmark(10, end=True), HOLD)),
            ("LIST in default", page(9)),
        ],
        watch_list=True,
    )
    assert run.names == ["a"]
    assert run.statistics.quarantined == 0


def test_an_unknown_event_type_is_passed_over() -> None:
    """A server of the future does not stop us."""
    run = converse(
        [("LIST", page(10)), ("WATCH 10", stream(event("SPLINE", pod("x", 11)), added(pod("a", 12)), HOLD))],
        lambda run: settled(lambda: run.names == ["a"], "the event after it"),
    )
    assert run.names == ["a"]


# -- subscribers -----------------------------------------------------------------------------------------------------------


def test_a_late_subscriber_first_gets_the_present_state() -> None:
    """As new objects that may wait, then the changes."""
    heard: list[tuple[str, str | None, bool]] = []

    async def body(run: Run) -> None:
        await run.informer.wait_synced(10)

        def hear(deltas: Sequence[Delta]) -> None:
            for delta in deltas:
                version = delta.new.resource_version if delta.new is not None else None
                heard.append((delta.key.name, version, run.informer.in_initial_sync))

        run.informer.subscribe(hear)
        await settled(lambda: len(heard) > 1, "the change")

    converse([("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(5, modified(pod("a", 11)), HOLD))], body)
    assert heard == [("a", "1", True), ("a", "11", False)]


def test_a_late_subscriber_of_many_objects_is_told_in_portions() -> None:
    """The loop runs between them, and what changes or goes meanwhile is told once, as it is when its turn comes."""
    names = [f"p{number:04}" for number in range(1200)]
    sizes: list[int] = []
    view: dict[str, str] = {}

    async def body(run: Run) -> None:
        await run.informer.wait_synced(10)

        def hear(deltas: Sequence[Delta]) -> None:
            sizes.append(len(deltas))
            for delta in deltas:
                assert view.get(delta.key.name) == (delta.old.resource_version if delta.old is not None else None)
                if delta.new is None:
                    del view[delta.key.name]
                else:
                    view[delta.key.name] = delta.new.resource_version
            if len(sizes) == 1:
                # As if these had come in the loop's next turn, before the second portion.
                told = run.informer._store.apply(
                    [
                        Upserted(decoded(pod("p0000", 2000))),
                        Upserted(decoded(pod("p1100", 2001))),
                        Deleted(decoded(pod("p1101", 2002))),
                    ]
                )
                run.informer.deltas_arrived(told, initial=False)

        run.informer.subscribe(hear)
        assert sizes == [500, 1]
        await settled(lambda: len(view) == 1199, "the rest")

    run = converse(
        [
            ("LIST", page(1500, *[pod(name, number + 1) for number, name in enumerate(names)])),
            ("WATCH 1500", stream(5, added(pod("new", 3000)), deleted(pod("p0001", 3001)), HOLD)),
        ],
        body,
    )
    assert max(sizes) == 500
    assert (view["p0000"], view["p1100"]) == ("2000", "2001")
    assert "p1101" not in view
    assert view == {obj.name: obj.resource_version for obj in run.informer.store.list()}


def test_a_subscriber_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported; the others are told, the informer goes on."""

    async def body(run: Run) -> None:
        def raises(_deltas: Sequence[Delta]) -> None:
            raise RuntimeError("mine")

        run.informer.subscribe(raises)

    run = converse([("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(added(pod("b", 11)), HOLD))], body)
    assert run.names == ["a", "b"]
    assert [fact.component for fact in run.facts.of(ComponentFailed)] == ["subscriber of pods"] * 2
    assert "mine" in caplog.text


def test_a_resync_tells_everything_again() -> None:
    """Unchanged objects, at the interval asked for."""

    async def body(run: Run) -> None:
        await settled(lambda: len(run.told) == 3, "two resyncs")
        assert round(VirtualClock().monotonic()) == 200

    run = converse(
        [("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(60, bookmark(10), 60, bookmark(10), 60, HOLD))],
        body,
        resync_seconds=100.0,
    )
    assert run.told[1:] == [("a", "1", "1", False)] * 2


def test_an_informer_has_synced_when_all_its_namespaces_have() -> None:
    """One that is listed does not stand for one that is refused."""

    async def body(run: Run) -> None:
        await settled(lambda: run.names == ["a"], "the first namespace")
        assert not run.informer.has_synced
        await run.informer.wait_synced(10)
        assert run.names == ["a", "b"]

    converse(
        [
            ("LIST in blue", page(10, pod("a", 1, namespace="blue"))),
            ("LIST in green", refusal(403, "Forbidden")),
            ("WATCH 10 in blue", stream(HOLD)),
            ("LIST in green", page(20, pod("b", 2, namespace="green"))),
            ("WATCH 20 in green", stream(HOLD)),
        ],
        body,
        scope=Scope(("green", "blue")),
    )


@pytest.mark.parametrize("watch_list", [False, True], ids=["pages", "stream"])
def test_a_cancelled_informer_can_be_run_again(watch_list: bool) -> None:
    """Cancelled after each number of turns of the loop: the store holds its invariants, a second run ends right."""

    async def body(turns: int) -> None:
        async def answer(request: HTTPRequest) -> HTTPResponse | StreamedResponse:
            match asked(request):
                case "LIST":
                    return page(10, pod("a", 1), pod("b", 2), more="c1")
                case "LIST next=c1":
                    return page(10, pod("c", 3))
                case "WATCH initial":
                    parts = [added(pod("a", 1)), added(pod("b", 2)) + added(pod("c", 3)) + bookmark(10, end=True)]
                case _:
                    parts = []
            return StreamedResponse(play([*parts, modified(pod("a", 11)), deleted(pod("b", 12)), HOLD]))

        client = Client(MemoryTransport(answer), clock=VirtualClock())
        informer = Informer(
            client, PODS, clock=VirtualClock(), watch_list=watch_list, indexes={"name": lambda o: [o.name]}
        )
        view: dict[str, str] = {}
        informer.subscribe(
            lambda deltas: [
                view.pop(delta.key.name)
                if delta.new is None
                else view.update({delta.key.name: delta.new.resource_version})
                for delta in deltas
            ]
        )
        async with anyio.create_task_group() as group:
            group.start_soon(informer.run)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        informer._store.check()
        assert len(informer.store) in (0, 2, 3)
        async with anyio.create_task_group() as group:
            group.start_soon(informer.run)
            await settled(lambda: view == {"a": "11", "c": "3"}, "the end state")
            group.cancel_scope.cancel()
        informer._store.check()
        assert {obj.name: obj.resource_version for obj in informer.store.list()} == view

    for turns in range(40):
        run_virtual(lambda turns=turns: body(turns))


# -- scope -------------------------------------------------------------------------------------------------------------------


def test_several_namespaces_are_watched_one_by_one_into_one_store() -> None:
    """Each with its own version; synced when all are; never a request across all namespaces."""

    async def body(run: Run) -> None:
        await run.informer.wait_synced(10)
        assert run.informer.version_of("blue", {}) == 10
        await settled(lambda: run.informer.version_of("green", {}) == 21, "the event in green")
        assert run.informer.version_of("blue", {}) == 10
        assert run.informer.version_of("red", {}) is None
        assert not run.informer.covers("red", {})

    run = converse(
        [
            ("LIST in blue", page(10, pod("a", 1, namespace="blue"))),
            ("LIST in green", page(20, pod("a", 2, namespace="green"))),
            ("WATCH 10 in blue", stream(HOLD)),
            ("WATCH 20 in green", stream(5, added(pod("b", 21, namespace="green")), HOLD)),
        ],
        body,
        scope=Scope(("green", "blue")),
    )
    assert all(" in " in question for question in run.questions)
    assert [str(obj.key) for obj in run.informer.store.list("green")] == ["green/a", "green/b"]


def test_an_object_that_is_cached_is_heard_of_whatever_the_selectors_say() -> None:
    """Whether a field selector admits an object cannot be told here, but of one that it did admit the server tells."""
    run = converse([("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(HOLD))], field_selector="spec.nodeName=a")
    cached = run.informer.store.list()[0]
    assert run.informer.version_of("default", {}) is None
    assert run.informer.version_for(cached.key, cached.uid, {}) == 10
    assert run.informer.version_for(cached.key, "uid-of-a-namesake", {}) is None
    assert run.informer.version_for(ObjectKey("default", "b"), cached.uid, {}) is None


def test_an_informer_covers_what_its_selectors_certainly_admit() -> None:
    """A label selector is decided here; a field selector only the server can decide, so nothing is claimed."""

    async def main() -> None:
        server = client_of(Conversation([]))
        labelled = Informer(server, PODS, label_selector="app=web")
        assert labelled.covers("default", {"app": "web"})
        assert not labelled.covers("default", {})
        assert not Informer(server, PODS, field_selector="spec.nodeName=n").covers("default", {})

    run_virtual(main)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"resource": NODES, "scope": Scope(("a",))}, "nodes has no namespaces"),
        ({"label_selector": "a b"}, "'a b'"),
        ({"field_selector": "node"}, "'node'"),
        ({"resync_seconds": 0.0}, "resync_seconds=0.0"),
    ],
)
def test_what_cannot_be_watched_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    """At construction, not at run time."""

    async def main() -> None:
        with pytest.raises(UsageError) as caught:
            Informer(client_of(Conversation([])), options.pop("resource", PODS), **options)
        assert named in str(caught.value)

    run_virtual(main)


def test_a_transform_shrinks_what_is_stored() -> None:
    """Before it is stored, in lists and streams."""

    def bare(obj: Object) -> Object:
        return Object(obj.kind, obj.metadata)

    run = converse(
        [("LIST", page(10, pod("a", 1))), ("WATCH 10", stream(added(pod("b", 11)), HOLD))],
        lambda run: settled(lambda: len(run.informer.store) == 2, "both"),
        transform=bare,
    )
    assert [obj.rest for obj in run.informer.store.list()] == [b"", b""]


def test_a_transform_or_an_index_that_raises_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """For its object alone; the informer goes on."""

    def transform(obj: Object) -> Object:
        if obj.name == "bad":
            raise ValueError("transform")
        return obj

    def index(obj: Object) -> list[str]:
        if obj.name == "odd":
            raise ValueError("index")
        return [obj.name]

    run = converse(
        [("LIST", page(10, pod("bad", 1), pod("odd", 2))), ("WATCH 10", stream(added(pod("good", 11)), HOLD))],
        lambda run: settled(lambda: "good" in run.names, "the good one"),
        transform=transform,
        indexes={"mine": index},
    )
    assert run.names == ["good", "odd"]
    assert [fact.key.name for fact in run.facts.of(Quarantined)] == ["bad"]
    assert [fact.component for fact in run.facts.of(ComponentFailed)] == ["index mine of pods"]
    assert "default/odd" in caplog.text


def test_the_age_of_the_last_event_is_known() -> None:
    """None before the server's first word."""

    async def body(run: Run) -> None:
        clock = VirtualClock()
        assert run.informer.last_event_age_seconds(clock.monotonic()) is None
        await run.informer.wait_synced(10)
        at = clock.monotonic()
        await clock.sleep(33)
        assert run.informer.last_event_age_seconds(clock.monotonic()) == pytest.approx(clock.monotonic() - at)

    converse([("LIST", page(10)), ("WATCH 10", stream(HOLD))], body)
