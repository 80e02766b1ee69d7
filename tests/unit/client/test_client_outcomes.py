"""Writes and their outcomes, and what is sent again, over an in-memory transport."""

from __future__ import annotations

from typing import Any

import pytest
from client_conversation import (
    BUDGET,
    CREATE,
    DELETE,
    EVICT,
    KEY,
    LOST,
    OWNER,
    PATCH,
    POD,
    PODS,
    UNSENT,
    UPDATE,
    Answer,
    answer,
    conversation,
    refusal,
)

from reconcile.client.api import Client
from reconcile.client.exchange import ATTEMPTS_MAX
from reconcile.client.memory_transport import MemoryTransport
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
)
from reconcile.model.write import Applied, Outcome, Refused, Unknown

# -- outcomes of writes ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_executed_write_is_applied_with_the_new_version() -> None:
    """The object of the answer carries the resourceVersion that the cache must reach."""
    for write, code in ((CREATE, 201), (UPDATE, 200), (PATCH, 200), (DELETE, 202)):
        outcome = await conversation(answer(code, POD)).client.send(write)
        assert isinstance(outcome, Applied)
        assert outcome.resource_version == "7"


@pytest.mark.asyncio
async def test_a_success_that_is_told_by_a_status_has_no_object() -> None:
    """Most deletes and evictions."""
    for write in (DELETE, EVICT):
        said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        assert await conversation(answer(200, said)).client.send(write) == Applied(write, None)


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", ApiError),
        (401, "Unauthorized", UnauthorizedError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "Conflict", ConflictError),
        (409, "AlreadyExists", AlreadyExistsError),
        (413, "RequestEntityTooLarge", ApiError),
    ],
)
@pytest.mark.asyncio
async def test_a_4xx_is_refused(code: int, reason: str, error: type[ApiError]) -> None:
    """Not executed, and not sent again."""
    talk = conversation(refusal(code, reason, "because"))
    outcome = await talk.client.send(CREATE)
    assert isinstance(outcome, Refused)
    assert type(outcome.error) is error
    assert "POST /api/v1/namespaces/ns/pods" in str(outcome.error)
    assert "because" in str(outcome.error)
    assert len(talk.asked) == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (LOST, Unknown),
        (refusal(500, "InternalError", "etcdserver: request timed out"), Unknown),
        (refusal(500, "InternalError", 'failed calling webhook "x": context deadline exceeded'), Refused),
        (answer(502, b"bad gateway", "text/plain"), Unknown),
        (answer(503, b"upstream reset", "text/plain"), Unknown),
        (refusal(504, "Timeout", "request did not complete"), Unknown),
        (answer(200, b"<html>", "text/html"), Unknown),
        (answer(403, b"<html>", "text/html"), Unknown),
    ],
)
@pytest.mark.asyncio
async def test_what_may_have_been_stored_is_unknown_and_never_sent_again_unasked(said: Answer, kind: type) -> None:
    """Only what fails before storage is sure."""
    talk = conversation(said)
    assert isinstance(await talk.client.send(CREATE), kind)
    assert len(talk.asked) == 1


@pytest.mark.asyncio
async def test_a_write_that_was_never_sent_is_tried_again_and_then_raised() -> None:
    """A refused connection is no unknown outcome."""
    talk = conversation(UNSENT, UNSENT, answer(201, POD))
    assert isinstance(await talk.client.send(CREATE), Applied)
    talk = conversation(UNSENT)
    with pytest.raises(TransportError) as caught:
        await talk.client.send(CREATE)
    assert not caught.value.may_have_arrived
    assert len(talk.asked) == ATTEMPTS_MAX


@pytest.mark.asyncio
async def test_an_identical_request_is_sent_when_asked_again() -> None:
    """Byte for byte."""
    talk = conversation(LOST, answer(201, POD))
    assert isinstance(await talk.client.send(CREATE), Unknown)
    assert isinstance(await talk.client.resolve(CREATE), Applied)
    assert talk.asked[0] == talk.asked[1]


@pytest.mark.parametrize(
    ("write", "said", "kind"),
    [
        (DELETE, refusal(404, "NotFound"), Applied),
        (DELETE, refusal(409, "Conflict"), Applied),
        (EVICT, refusal(404, "NotFound"), Applied),
        (DELETE, refusal(403, "Forbidden"), Refused),
        (UPDATE, refusal(409, "Conflict"), Refused),
        (PATCH, refusal(404, "NotFound"), Refused),
        (UPDATE, LOST, Unknown),
    ],
)
@pytest.mark.asyncio
async def test_what_a_second_answer_says_of_the_first(write: Any, said: Answer, kind: type) -> None:
    """A delete that finds nothing, or another object, has been done."""
    assert isinstance(await conversation(said).client.resolve(write), kind)


@pytest.mark.parametrize(("uid", "kind"), [("owner", Applied), ("somebody", Refused)])
@pytest.mark.asyncio
async def test_a_create_that_finds_its_name_taken_looks_whose_it_is(uid: str, kind: type) -> None:
    """Ours has our controller reference; it is found by a list, for which controllers have the right."""
    found = {**POD, "metadata": {**POD["metadata"], "ownerReferences": [{**OWNER, "uid": uid}]}}  # type: ignore[dict-item]  # a dict
    listed = answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [found]})
    talk = conversation(refusal(409, "AlreadyExists"), listed)
    outcome: Outcome = await talk.client.resolve(CREATE)
    assert isinstance(outcome, kind)
    assert talk.asked[1].query[0] == ("fieldSelector", "metadata.name=web")


@pytest.mark.asyncio
async def test_a_create_whose_owner_cannot_be_seen_stays_refused() -> None:
    """Without the right to list, nothing is assumed."""
    talk = conversation(refusal(409, "AlreadyExists"), refusal(403, "Forbidden"))
    assert isinstance(await talk.client.resolve(CREATE), Refused)


# -- retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        ("2", 2, 3),
        ("0", 0, 1),
        ("-1", 0, 1),
        ("1000000000", 60, 61),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0, 1),
        ("", 0, 1),
    ],
)
@pytest.mark.asyncio
async def test_a_shed_request_waits_as_asked_within_reason(header: str, at_least: float, at_most: float) -> None:
    """429 is not executed, so writes are repeated too; Retry-After counts from 0 to 60 seconds."""
    shed = answer(429, b"Too many requests", "text/plain", retry_after=header)
    talk = conversation(shed, answer(201, POD))
    assert isinstance(await talk.client.send(CREATE), Applied)
    assert at_least <= talk.clock.slept[0] <= at_most


@pytest.mark.asyncio
async def test_shedding_without_end_is_refused_after_bounded_attempts() -> None:
    """The key goes back to the queue with the server's wish."""
    talk = conversation(answer(429, b"Too many requests", "text/plain", retry_after="1"))
    outcome = await talk.client.send(CREATE)
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, TooManyRequestsError)
    assert outcome.error.retry_after_seconds == 1
    assert len(talk.asked) == ATTEMPTS_MAX


@pytest.mark.asyncio
async def test_a_disruption_budget_is_an_answer_and_not_shedding() -> None:
    """Its 429 reaches the caller at once."""
    talk = conversation(BUDGET)
    outcome = await talk.client.send(EVICT)
    assert isinstance(outcome, Refused)
    assert len(talk.asked) == 1
    assert talk.clock.slept == []


@pytest.mark.asyncio
async def test_a_starting_api_server_is_waited_for() -> None:
    """503 with a Status or with Retry-After: not executed."""
    for starting in (refusal(503, "ServiceUnavailable"), answer(503, b"wait", "text/plain", retry_after="1")):
        assert isinstance(await conversation(starting, answer(200, POD)).client.send(PATCH), Applied)


@pytest.mark.asyncio
async def test_an_api_server_that_stays_away_has_refused() -> None:
    """It says that it did not begin: no unknown outcome, and the key goes back to the queue."""
    talk = conversation(refusal(503, "ServiceUnavailable"))
    assert isinstance(await talk.client.send(PATCH), Refused)
    assert len(talk.asked) == ATTEMPTS_MAX


@pytest.mark.asyncio
async def test_reads_are_repeated_through_short_failures_and_not_through_long_ones() -> None:
    """A cut or a gateway's error; but after a long wait the caller wants to know."""
    talk = conversation(LOST, answer(502, b"", "text/plain"), answer(200, POD))
    assert (await talk.client.get(PODS, KEY)).uid == "u"
    assert talk.clock.slept == sorted(talk.clock.slept)

    async def slow(request: HTTPRequest) -> HTTPResponse:
        talk.clock.now += 30
        raise LOST

    talk.client = Client(MemoryTransport(slow), clock=talk.clock)
    before = talk.clock.now
    with pytest.raises(TransportError):
        await talk.client.get(PODS, KEY)
    assert talk.clock.now == before + 30


@pytest.mark.asyncio
async def test_errors_that_the_list_watch_decides_on_are_not_repeated() -> None:
    """410 and 504 (too large resource version) have their own remedies."""
    for said, kind in ((refusal(410, "Expired"), ExpiredError), (refusal(504, "Timeout"), ApiError)):
        talk = conversation(said)
        with pytest.raises(kind):
            await talk.client.list_page(PODS)
        assert len(talk.asked) == 1
