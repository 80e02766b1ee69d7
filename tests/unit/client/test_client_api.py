"""The client over an in-memory transport: who has answered, lists, watches, discovery, facts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from client_conversation import CREATE, KEY, LOST, POD, PODS, answer, conversation, refusal

from reconcile.client.api import Client
from reconcile.client.memory_transport import JSON_HEADERS, MemoryTransport, StreamedResponse
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import ExpiredError, TransportError, UnknownKindError
from reconcile.instrumentation.hooks import RequestSent
from reconcile.model.resource import Kind
from reconcile.model.watch_event import Bookmark, Upserted

# -- who has answered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.asyncio
async def test_redirects_are_not_followed_and_name_the_url(code: int) -> None:
    """Credentials would leave for another host; the write was not executed."""
    talk = conversation(answer(code, b"", "text/html", location="https://evil.example/?token=x"))
    with pytest.raises(TransportError, match=r"GET /api/v1/namespaces/ns/pods/web.*https://evil.example/'") as caught:
        await talk.client.get(PODS, KEY)
    assert not caught.value.may_have_arrived
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("code", [200, 403, 404])
@pytest.mark.asyncio
async def test_an_html_page_is_no_answer_of_an_api_server(code: int) -> None:
    """A proxy's 404 must not be taken for a missing object."""
    with pytest.raises(TransportError, match="instead of JSON"):
        await conversation(answer(code, b"<html>", "text/html; charset=utf-8")).client.get(PODS, KEY)


# -- reads ----------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_lists_say_what_was_asked_and_nothing_else() -> None:
    """Empty arguments are not sent."""
    listed = answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "c"}, "items": [POD]})
    talk = conversation(listed)
    page = await talk.client.list_page(PODS)
    assert (page.continue_token, len(page.decode()[0])) == ("c", 1)
    await talk.client.list_page(
        PODS, namespace="ns", label_selector="a=b", limit=0, continue_token="c", metadata_only=True
    )
    assert talk.asked[0].query == (("limit", "500"),)
    assert talk.asked[1].path == "/api/v1/namespaces/ns/pods"
    assert dict(talk.asked[1].query) == {"labelSelector": "a=b", "continue": "c"}
    assert "PartialObjectMetadataList" in talk.asked[1].accept


async def lines(*events: dict[str, Any]) -> AsyncIterator[bytes]:
    data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    yield data[:10]
    yield data[10:-5]
    yield data[-5:]


@pytest.mark.asyncio
async def test_a_watch_gives_the_events_of_each_chunk_and_ends_with_the_stream() -> None:
    """Bookmarks are always asked for; further parameters pass through."""
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    talk = conversation(StreamedResponse(lines({"type": "ADDED", "object": POD}, bookmark)))
    async with talk.client.watch(
        PODS, send_initial_events=True, resource_version_match="NotOlderThan", extra_query=(("shardSelector", "s"),)
    ) as stream:
        events = [event async for batch in stream for event in batch]
    assert [type(event) for event in events] == [Upserted, Bookmark]
    assert dict(talk.asked[0].query) == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": "300",
        "shardSelector": "s",
    }


@pytest.mark.asyncio
async def test_a_watch_that_is_refused_raises_on_entering() -> None:
    """410 as an HTTP status; a proxy's page."""
    with pytest.raises(ExpiredError):
        async with conversation(refusal(410, "Expired")).client.watch(PODS):
            pass
    with pytest.raises(TransportError, match="instead of JSON"):
        async with conversation(answer(200, b"<html>", "text/html")).client.watch(PODS):
            pass


@pytest.mark.asyncio
async def test_a_silent_watch_is_given_up() -> None:
    """The idle deadline can be set while the stream runs."""

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with conversation(StreamedResponse(silence())).client.watch(PODS) as stream:
        stream.set_idle_deadline(0.01)
        with pytest.raises(TransportError, match=r"silent for 0\.01 s"):
            await anext(stream)


# -- discovery, facts, warnings -------------------------------------------------------------------------------------

V1 = {
    "kind": "APIResourceList",
    "resources": [
        {"name": "pods", "kind": "Pod", "namespaced": True},
        {"name": "pods/status", "kind": "Pod", "namespaced": True},
        {"name": "pods/eviction", "kind": "Eviction", "namespaced": True},
        {"name": "nodes", "kind": "Node", "namespaced": False},
    ],
}


@pytest.mark.asyncio
async def test_a_kind_is_asked_for_once() -> None:
    """Where it is served does not change while it is; its neighbours are known too."""
    talk = conversation(answer(200, V1))
    assert await talk.client.resource(Kind.parse("v1/Pod")) == PODS
    assert (await talk.client.resource(Kind.parse("v1/Node"))).namespaced is False
    assert [request.path for request in talk.asked] == ["/api/v1"]


@pytest.mark.asyncio
async def test_an_unknown_kind_names_itself_and_its_neighbours_and_may_come_yet() -> None:
    """A CustomResourceDefinition may be installed later: unknown is not remembered."""
    talk = conversation(answer(200, V1), answer(200, {"resources": [{"name": "pods", "kind": "Pot"}]}))
    with pytest.raises(UnknownKindError, match=r"v1/Pot; in v1 it has: Node, Pod$"):
        await talk.client.resource(Kind.parse("v1/Pot"))
    assert (await talk.client.resource(Kind.parse("v1/Pot"))).plural == "pods"
    missing = conversation(answer(404, b"404 page not found", "text/plain"))
    with pytest.raises(UnknownKindError, match=r"does not serve example.com/v1.*CustomResourceDefinition"):
        await missing.client.resource(Kind.parse("example.com/v1/Widget"))


@pytest.mark.asyncio
async def test_every_attempt_is_a_fact() -> None:
    """For rest_client_requests_total: method, host, resource and code; 0 where no answer came."""
    talk = conversation(LOST, answer(200, POD))
    await talk.client.get(PODS, KEY)
    sent = [fact for fact in talk.facts if isinstance(fact, RequestSent)]
    assert [(fact.method, fact.host, fact.resource, fact.code) for fact in sent] == [
        ("GET", "host:1", "pods", 0),
        ("GET", "host:1", "pods", 200),
    ]


@pytest.mark.asyncio
async def test_the_servers_warnings_are_logged_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of them does not fill the log."""
    caplog.set_level(logging.WARNING, "reconcile.client")
    talk = conversation(answer(200, POD, warning='299 - "v1 Pod is old"'))
    for _ in range(5):
        await talk.client.get(PODS, KEY)
    assert len(caplog.records) == 1
    talk.clock.now += 3601
    await talk.client.get(PODS, KEY)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get(PODS, KEY),
        lambda client: client.send(CREATE),
        lambda client: client.list_page(PODS),
        lambda client: client.resource(PODS.kind),
    ],
    ids=["get", "send", "list_page", "resource"],
)
@pytest.mark.asyncio
async def test_a_cancelled_call_ends_at_once_and_the_client_stays_usable(
    call: Callable[[Client], Awaitable[object]],
) -> None:
    """Cancellation at the await reaches the caller; nothing is sent again."""
    asked = asyncio.Event()
    count = 0

    async def hang(request: HTTPRequest) -> HTTPResponse:
        nonlocal count
        count += 1
        if count > 1:
            return HTTPResponse(200, JSON_HEADERS, json.dumps({**POD, "resources": V1["resources"]}).encode())
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    client = Client(MemoryTransport(hang))
    task = asyncio.ensure_future(call(client))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert count == 1
    await call(client)
    assert count == 2
