"""The Event recorder against a small Events server in this process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from reconcile.client.api import Client
from reconcile.client.memory_transport import MemoryTransport
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import TransportError
from reconcile.instrumentation.hooks import EventDropped, Hooks
from reconcile.model import json
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.resource import Kind
from reconcile.runtime.recorder import EventRecorder

POD = Object(Kind("", "v1", "Pod"), ObjectMeta(name="web", namespace="default", uid="u"))


class HurriedClock:
    """Sleeping takes no time, and adds up."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tokens = 0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(1_700_000_000 + self.now, UTC)

    async def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)
        await asyncio.sleep(0)

    def random(self) -> float:
        return 0.5

    def token(self, length: int) -> str:
        self.tokens += 1
        return f"t{self.tokens}"


def answer(status: int, body: dict) -> HTTPResponse:
    return HTTPResponse(status, {"content-type": "application/json"}, json.encode(body))


def refusal(code: int, reason: str) -> HTTPResponse:
    return answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason})


class EventServer:
    def __init__(self) -> None:
        self.events: dict[str, dict] = {}
        self.requests: list[str] = []
        self.before = self.after = None

    async def __call__(self, request: HTTPRequest) -> HTTPResponse:
        self.requests.append(request.method)
        if self.before is not None and (early := await self.before(request)) is not None:
            return early
        body = json.decode(request.body)
        if request.method == "POST":
            name = body["metadata"]["name"]
            if name in self.events:
                return refusal(409, "AlreadyExists")
            self.events[name] = body
        else:
            name = request.path.rpartition("/")[2]
            if name not in self.events:
                return refusal(404, "NotFound")
            self.events[name] |= body
        done = answer(200, self.events[name])
        if self.after is not None:
            await self.after(request)
        return done

    def counts(self) -> list[int]:
        return [event["count"] for event in self.events.values()]


class Recording:
    """A recorder that runs."""

    def __init__(self, server: EventServer) -> None:
        self.facts: list = []
        hooks, clock = Hooks(), HurriedClock()
        hooks.add(self.facts.append)
        client = Client(MemoryTransport(server), clock=clock)
        self.recorder = EventRecorder(client, "test", clock=clock, hooks=hooks)

    async def __aenter__(self) -> EventRecorder:
        self.task = asyncio.create_task(self.recorder.run())
        await asyncio.sleep(0)
        return self.recorder

    async def __aexit__(self, *_) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def dropped(self) -> list[str]:
        return [fact.reason for fact in self.facts if isinstance(fact, EventDropped)]


@pytest.mark.asyncio
async def test_events_are_written_and_equal_ones_counted():
    """One create, then one patch for all that came meanwhile."""
    server = EventServer()
    async with Recording(server) as recorder:
        recorder.event(POD, "Created", "made it")
        await recorder.flush()
        for _ in range(3):
            recorder.event(POD, "Created", "made it")
        await recorder.flush()
    assert (server.counts(), server.requests) == ([4], ["POST", "PATCH"])
    assert recorder.written_total == 2


@pytest.mark.asyncio
async def test_an_event_whose_answer_was_lost_is_written_once():
    """The same name is sent again; that it exists is success, and the count is put right."""
    server, lost = EventServer(), []

    async def lose(request) -> None:
        if not lost:
            lost.append(request)
            raise TransportError("cut")

    server.after = lose
    async with Recording(server) as recorder:
        recorder.event(POD, "Created", "made it")
        recorder.event(POD, "Created", "made it")
        await recorder.flush()
    assert server.counts() == [2]


@pytest.mark.asyncio
async def test_an_event_that_the_server_forgot_is_created_anew():
    """Events live for an hour."""
    server = EventServer()
    async with Recording(server) as recorder:
        recorder.event(POD, "Created", "made it")
        await recorder.flush()
        server.events.clear()
        recorder.event(POD, "Created", "made it")
        await recorder.flush()
    assert server.counts() == [1]


@pytest.mark.asyncio
async def test_a_refused_event_is_dropped_and_the_next_one_is_written():
    """A terminating namespace, a missing right: counted, told, over."""
    server = EventServer()

    async def forbid(request) -> HTTPResponse | None:
        return refusal(403, "Forbidden") if b"secret" in request.body else None

    server.before = forbid
    recording = Recording(server)
    async with recording as recorder:
        recorder.event(POD, "Bad", "secret")
        recorder.event(POD, "Good", "open")
        await recorder.flush()
    assert [event["reason"] for event in server.events.values()] == ["Good"]
    assert (recorder.dropped_total, recording.dropped) == (1, ["refused with 403"])


@pytest.mark.asyncio
async def test_a_server_that_does_not_answer_costs_a_bounded_time_for_each_event():
    """A few tries with growing delays, then the next."""
    server = EventServer()

    async def cut(_request) -> None:
        raise TransportError("down")

    server.before = cut
    recording = Recording(server)
    async with recording as recorder:
        recorder.event(POD, "One", "x")
        recorder.event(POD, "Two", "x")
        await recorder.flush()
    assert recording.dropped == ["the server does not answer"] * 2
    assert recorder._clock.now < 2 * 15.0


@pytest.mark.asyncio
@pytest.mark.parametrize("obj", [None, "web", 3])
async def test_reporting_never_raises(obj):
    """What is no object is dropped and counted."""
    recording = Recording(EventServer())
    async with recording as recorder:
        recorder.event(obj, "Reason", "message")
    assert len(recording.dropped) == 1
    assert recording.dropped[0].startswith("malformed")


@pytest.mark.asyncio
async def test_reporting_works_before_and_after_the_recorder_runs():
    """What was reported before is written once it runs; afterwards it is only kept, bounded; flush does not hang."""
    server = EventServer()
    recording = Recording(server)
    recording.recorder.event(POD, "Early", "x")
    async with recording as recorder:
        await recorder.flush()
    recorder.event(POD, "Late", "x")
    await recorder.flush()
    assert [event["reason"] for event in server.events.values()] == ["Early"]


@pytest.mark.asyncio
async def test_flush_is_bounded():
    """A server that hangs does not keep a process from stopping."""
    server = EventServer()
    stuck = asyncio.Event()
    server.before = lambda _request: stuck.wait()
    async with Recording(server) as recorder, asyncio.timeout(5):
        recorder.event(POD, "One", "x")
        await recorder.flush(0.05)
    assert server.events == {}
