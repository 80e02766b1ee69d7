from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from reconcile.core.outcome import Done, Drop, RequeueAfter, Retry, Settle, Terminal, TimedOut, decide
from reconcile.errors import (
    LeaseLostError,
    Status,
    StatusCause,
    StatusDetails,
    TerminalError,
    TransportError,
    UnknownOutcomeError,
    api_error,
)
from reconcile.reconciler import Result


def refusal(code, reason="", *, retry_after=None, causes=()):
    details = StatusDetails(causes=tuple(causes))
    return api_error("POST /x", Status(code, reason, "no", details), retry_after_seconds=retry_after)


CONFLICT = refusal(409, "Conflict")
FIELD = StatusCause("FieldValueInvalid", "must not change", "spec.selector")


@pytest.mark.parametrize("ended", [None, Result()])
def test_a_plain_return_is_done(ended):
    """Nothing more to do until something changes."""
    assert decide(ended) == Done()


@pytest.mark.parametrize("ended", [timedelta(seconds=2.5), Result(requeue_after_seconds=2.5)])
def test_a_returned_duration_requeues(ended):
    """Both forms mean the same."""
    assert decide(ended) == RequeueAfter(2.5)


@pytest.mark.parametrize("ended", [True, 5, "soon", timedelta(seconds=-1)])
def test_a_return_that_means_nothing_is_an_error_that_quotes_it(ended):
    """A wrong return is not taken for success."""
    decision = decide(ended)
    assert isinstance(decision, Retry)
    assert repr(ended) in decision.reason


@pytest.mark.parametrize(
    "error",
    [
        TerminalError("bad spec"),
        refusal(422, "Invalid", causes=[FIELD]),
        refusal(413, "RequestEntityTooLarge"),
        refusal(403, "Forbidden", causes=[StatusCause("NamespaceTerminating", "gone soon", "metadata.namespace")]),
    ],
)
def test_what_trying_again_cannot_cure_is_terminal(error):
    """The reason is the error's text."""
    assert decide(error) == Terminal(f"{type(error).__name__}: {error}")


def test_a_failed_test_of_a_json_patch_is_a_conflict_and_no_verdict():
    """The server answers 422 without a field; the object has changed, so a fresh read may cure it."""
    decision = decide(refusal(422, "Invalid"))
    assert isinstance(decision, Retry)
    assert decision.outcome == "conflict"


def test_what_a_policy_refuses_is_an_error_and_asked_again():
    """A ValidatingAdmissionPolicy answers 422 with a cause that names no field; it may be changed."""
    decision = decide(refusal(422, "Invalid", causes=[StatusCause("", "denied request: no", "")]))
    assert isinstance(decision, Retry)
    assert decision.outcome == "error"


def test_a_conflict_retries_and_is_no_error():
    """Neither the logs nor the metrics show a failure for what optimistic concurrency brings with it."""
    decision = decide(CONFLICT)
    assert isinstance(decision, Retry)
    assert (decision.outcome, decision.seconds_min) == ("conflict", 0.0)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_retry_after_is_a_lower_bound(code):
    """Whatever the code."""
    decision = decide(refusal(code, retry_after=7.0))
    assert isinstance(decision, Retry)
    assert (decision.outcome, decision.seconds_min) == ("error", 7.0)


def test_a_lost_answer_is_settled_first():
    """The key must not run before it is known what the write did."""
    assert isinstance(decide(UnknownOutcomeError("lost")), Settle)


def test_a_lost_lease_drops_the_key():
    """Another process takes over."""
    assert isinstance(decide(LeaseLostError("gone")), Drop)


@pytest.mark.parametrize("error", [ValueError("x"), TransportError("cut"), refusal(403), refusal(404), TimeoutError()])
def test_any_other_error_retries(error):
    """With backoff, and it counts as an error."""
    decision = decide(error)
    assert isinstance(decision, Retry)
    assert (decision.outcome, decision.seconds_min) == ("error", 0.0)


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), SystemExit(3), asyncio.CancelledError()])
def test_what_is_no_ordinary_exception_retries_as_a_panic(error):
    """One key's disaster is not the process's."""
    decision = decide(error)
    assert isinstance(decision, Retry)
    assert decision.outcome == "panic"


def test_the_deadline_retries_as_a_timeout():
    """The reason says how long it was."""
    assert decide(TimedOut(300.0)) == Retry(
        "the reconcile function did not end within 300 s", seconds_min=0.0, outcome="timeout"
    )


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([CONFLICT, UnknownOutcomeError("lost"), LeaseLostError("gone")], Drop),
        ([TerminalError("bad"), UnknownOutcomeError("lost"), ValueError("x")], Settle),
        ([TerminalError("bad"), ValueError("x")], Retry),
        ([TerminalError("bad"), TerminalError("worse")], Terminal),
    ],
)
def test_of_a_group_the_gravest_counts(errors, kind):
    """Parallel writes fail together; nesting does not matter."""
    assert isinstance(decide(ExceptionGroup("writes", errors)), kind)
    assert isinstance(decide(ExceptionGroup("outer", [ExceptionGroup("inner", errors)])), kind)


def test_a_group_of_retries_waits_for_the_longest_and_is_a_conflict_only_if_all_are():
    """A real error among conflicts is not hidden."""
    decision = decide(
        ExceptionGroup("writes", [CONFLICT, refusal(429, retry_after=3.0), refusal(503, retry_after=9.0)])
    )
    assert isinstance(decision, Retry)
    assert (decision.seconds_min, decision.outcome) == (9.0, "error")
    assert decide(ExceptionGroup("writes", [CONFLICT, CONFLICT])).outcome == "conflict"


def test_a_group_nested_very_deep_does_not_exhaust_the_stack():
    """Groups are user data."""
    error = ValueError("x")
    for _ in range(5000):
        error = ExceptionGroup("deeper", [error])
    assert decide(error) == Retry("ValueError: x")


def test_an_error_whose_text_raises_is_decided_all_the_same():
    """The user's __str__ is the user's code."""

    class BadError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    assert decide(BadError()) == Retry("BadError (whose text raises RuntimeError)")
