"""The elector against a small Lease server in this process, with a clock that only the test moves."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import anyio
import pytest

from reconcile.client.api import Client
from reconcile.client.memory_transport import MemoryTransport
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.core.leader_election import LeaderElectionConfig
from reconcile.core.lease_record import RELEASED_ANNOTATION
from reconcile.errors import LeaseLostError, TransportError
from reconcile.instrumentation.hooks import Hooks, LeaderChanged
from reconcile.model import json
from reconcile.runtime.leader_election import LeaderElector


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.sleepers: list[tuple[float, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(1_700_000_000 + self.now, UTC)

    async def sleep(self, seconds: float) -> None:
        entry = (self.now + seconds, anyio.Event())
        if seconds > 0:
            self.sleepers.append(entry)
            try:
                await entry[1].wait()
            finally:
                self.sleepers.remove(entry)

    def random(self) -> float:
        return 0.5

    def token(self, length: int) -> str:
        return "x" * length

    async def advance(self, seconds: float) -> None:
        """Step by step, letting everybody run at each moment that somebody waits for."""
        end = self.now + seconds
        while True:
            due = [when for when, _ in self.sleepers if when <= end]
            self.now = max(self.now, min(due, default=end))
            for when, event in self.sleepers:
                if when <= self.now:
                    event.set()
            await settle()
            if not due:
                return


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def answer(status: int, body: dict) -> HTTPResponse:
    return HTTPResponse(status, {"content-type": "application/json"}, json.encode(body))


def refusal(code: int, reason: str) -> HTTPResponse:
    return answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason})


class LeaseServer:
    """One Lease. ``fault`` may raise, wait or answer in its place."""

    def __init__(self) -> None:
        self.lease: dict | None = None
        self.version = 0
        self.requests: list[str] = []
        self.busy = 0
        self.fault = None
        self.fault_after = None

    async def __call__(self, request: HTTPRequest) -> HTTPResponse:
        self.requests.append(request.method)
        self.busy += 1
        try:
            assert self.busy == 1, "requests of one elector overlap"
            if self.fault is not None and (early := await self.fault(request)) is not None:
                return early
            done = self.execute(request)
            if self.fault_after is not None:
                await self.fault_after(request)
            return done
        finally:
            self.busy -= 1

    def execute(self, request: HTTPRequest) -> HTTPResponse:
        if request.method == "GET":
            return answer(200, self.lease) if self.lease else refusal(404, "NotFound")
        body = json.decode(request.body)
        if request.method == "POST":
            if self.lease:
                return refusal(409, "AlreadyExists")
            body["metadata"]["uid"] = "u"
        elif not self.lease:
            return refusal(404, "NotFound")
        elif body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            return refusal(409, "Conflict")
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.lease = body
        return answer(200, body)

    def elector(self, identity: str, clock, hooks: Hooks | None = None, **numbers) -> LeaderElector:
        config = LeaderElectionConfig("lease", "default", identity, **numbers)
        return LeaderElector(Client(MemoryTransport(self), clock=clock), config, clock=clock, hooks=hooks)


class Running:
    """Runs an elector as a task."""

    def __init__(self, elector: LeaderElector) -> None:
        self.task = asyncio.create_task(elector.run())

    async def __aenter__(self) -> asyncio.Task:
        await settle()
        return self.task

    async def __aexit__(self, *_) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_namespace_that_does_not_exist_is_told_and_asked_for_at_leisure(caplog):
    """The server answers 404 to the read and to the create: that is no race with another candidate, to be tried again
    at once and in silence."""
    clock, server = ManualClock(), LeaseServer()

    async def no_namespace(request: HTTPRequest) -> HTTPResponse:
        return refusal(404, "NotFound")

    server.fault = no_namespace
    with caplog.at_level(logging.WARNING, logger="reconcile.leader_election"):
        async with Running(server.elector("a", clock)):
            await clock.advance(60.0)
    assert "a Lease needs a namespace that exists" in caplog.text
    assert 10 <= len(server.requests) <= 90, "one look every retry_seconds or a little later, and a create for each"


@pytest.mark.asyncio
async def test_one_leads_and_a_release_hands_over_without_waiting_for_the_lease_to_end():
    """The first leads after one lease; the second within one look after the release; the token grows."""
    server, clock, facts, hooks = LeaseServer(), ManualClock(), [], Hooks()
    hooks.add(facts.append)
    one, two = server.elector("one", clock, hooks), server.elector("two", clock)
    async with Running(one) as first:
        waiting = asyncio.create_task(one.wait_leading())
        await clock.advance(14.0)
        assert not one.is_leading
        await clock.advance(4.0)
        await waiting
        assert (one.is_leading, one.fencing_token, one.holder) == (True, 1, "one")
        one.check()
        async with Running(two):
            await clock.advance(120.0)
            assert (one.is_leading, two.is_leading) == (True, False)
            with pytest.raises(LeaseLostError, match="two does not lead"):
                two.check()
            await one.release()
            assert not one.is_leading
            await first
            assert RELEASED_ANNOTATION in server.lease["metadata"]["annotations"]
            await clock.advance(3.0)
            assert (two.is_leading, two.fencing_token) == (True, 2)
            assert RELEASED_ANNOTATION not in server.lease["metadata"]["annotations"]
    assert [(fact.lease, fact.leading) for fact in facts if isinstance(fact, LeaderChanged)] == [
        ("default/lease", True),
        ("default/lease", False),
    ]


@pytest.mark.asyncio
async def test_a_paused_process_knows_at_its_first_look_that_it_may_not_write():
    """No task has run since; the clock alone says so."""
    server, clock = LeaseServer(), ManualClock()
    elector = server.elector("one", clock)
    async with Running(elector) as task:
        await clock.advance(20.0)
        assert elector.is_leading
        clock.now += 60.0
        assert not elector.is_leading
        with pytest.raises(LeaseLostError, match="not renewed in time"):
            elector.check()
        await clock.advance(0.1)
        with pytest.raises(LeaseLostError, match="default/lease lost"):
            await task


@pytest.mark.asyncio
@pytest.mark.parametrize("lost", ["request", "answer", "refused 500"])
async def test_a_leader_that_is_not_confirmed_ends_at_its_deadline(lost):
    """Ten seconds after the last confirmed renewal was sent, not later, whatever the requests do."""
    server, clock = LeaseServer(), ManualClock()
    elector = server.elector("one", clock)

    async def fail(_request) -> HTTPResponse | None:
        if lost == "refused 500":
            return refusal(500, "InternalError")
        raise TransportError("cut")

    async with Running(elector) as task:
        await clock.advance(20.0)
        deadline = elector._election.deadline
        if lost == "answer":
            server.fault_after = fail
        else:
            server.fault = fail
        await clock.advance(deadline - clock.now - 0.01)
        assert elector.is_leading
        assert not task.done()
        await clock.advance(0.02)
        with pytest.raises(LeaseLostError, match="not renewed in 10 s"):
            await task


@pytest.mark.asyncio
async def test_lost_answers_for_a_while_do_not_end_leading():
    """Three lost answers in a row, then it reads, finds its own writing, and renews."""
    server, clock, lost = LeaseServer(), ManualClock(), []

    async def lose(request) -> None:
        if request.method == "PUT" and len(lost) < 3:
            lost.append(request)
            raise TransportError("cut after it was executed")

    elector = server.elector("one", clock)
    async with Running(elector):
        await clock.advance(20.0)
        server.fault_after = lose
        await clock.advance(60.0)
        assert len(lost) == 3
        assert (elector.is_leading, elector.fencing_token) == (True, 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("change", ["another holder", "deleted", "holder cleared"])
async def test_a_leader_that_sees_the_lease_taken_ends_at_once(change):
    """At its next renewal, long before the deadline."""
    server, clock = LeaseServer(), ManualClock()
    elector = server.elector("one", clock)
    async with Running(elector) as task:
        await clock.advance(20.0)
        if change == "deleted":
            server.lease = None
        else:
            server.version += 1
            server.lease["metadata"]["resourceVersion"] = str(server.version)
            server.lease["spec"]["holderIdentity"] = "" if change == "holder cleared" else "other"
        await clock.advance(2.2)
        with pytest.raises(LeaseLostError, match="the lease is"):
            await task
    assert not elector.is_leading


@pytest.mark.asyncio
async def test_a_request_that_hangs_does_not_keep_the_elector_from_its_deadline():
    """On the system's clock, with a short lease: lost in time, and released in time."""
    server = LeaseServer()

    async def hang(_request) -> None:
        await asyncio.sleep(60)

    from reconcile.runtime.clock import SYSTEM_CLOCK

    numbers = {"lease_seconds": 1.0, "renew_deadline_seconds": 0.6, "retry_seconds": 0.1}
    for ending in ("lost", "released"):
        server.fault = None
        elector = server.elector(ending, SYSTEM_CLOCK, **numbers)
        async with Running(elector) as task, asyncio.timeout(20):
            await elector.wait_leading()
            server.fault = hang
            if ending == "lost":
                with pytest.raises(LeaseLostError):
                    await task
            else:
                await elector.release()
                await task
            assert not elector.is_leading


@pytest.mark.asyncio
async def test_a_missing_right_is_told_once_with_the_way_out(caplog):
    """It stays a follower and goes on trying."""
    server, clock = LeaseServer(), ManualClock()

    async def forbid(_request) -> HTTPResponse:
        return refusal(403, "Forbidden")

    server.fault = forbid
    elector = server.elector("one", clock)
    with caplog.at_level(logging.WARNING, "reconcile.leader_election"):
        async with Running(elector) as task:
            await clock.advance(30.0)
            assert not task.done()
    assert len(server.requests) > 5
    (record,) = caplog.records
    assert "needs get, create and update on leases in namespace default" in record.getMessage()


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(0, 40, 2))
@pytest.mark.parametrize("seconds", [0.0, 16.0, 20.0])
async def test_cancelling_the_elector_anywhere_leaves_nothing_behind(turns, seconds):
    """No sleeper, no request; a later release returns at once, and it leads no more than until its deadline."""
    server, clock = LeaseServer(), ManualClock()
    elector = server.elector("one", clock)
    async with Running(elector) as task:
        await clock.advance(seconds)
        clock.now += 2.5
        for when, event in clock.sleepers:
            if when <= clock.now:
                event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == []
    assert server.busy == 0
    await elector.release()
    assert not elector.is_leading


@pytest.mark.asyncio
async def test_waiting_for_an_elector_that_ended_without_leading_is_an_error():
    """Nobody waits for ever."""
    elector = LeaseServer().elector("one", ManualClock())
    async with Running(elector):
        waiting = asyncio.create_task(elector.wait_leading())
        await settle()
        await elector.release()
        with pytest.raises(LeaseLostError):
            await waiting
