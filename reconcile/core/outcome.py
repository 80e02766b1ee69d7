"""What comes after a run of a reconcile function: done, later, again with backoff, or not again; by ``decide``.

===========================================  =======================================================================
the function …                               the key …
===========================================  =======================================================================
returned None or ``Result()``                is done: failures forgotten
returned a duration, ``Result(after)``       runs again after it: failures forgotten
returned anything else                       **retries**: the error names what was returned
raised ``TerminalError``                     is **terminal**: not again until its object changes
raised ``InvalidError`` that names a field   is terminal: the same object would be refused again
raised 413                                   is terminal: the same object would be too large again
raised 403 for a terminating namespace       is terminal: nothing can be created there any more
raised ``UnknownOutcomeError``               **settles**: the lost answer is asked for first, then it retries
raised ``LeaseLostError``                    is **dropped**: the next leader starts from what is there
raised ``ConflictError``                     retries; a **conflict**, which is no failure: see below
raised an error with ``Retry-After``         retries, after at least that long
did not end before its deadline              retries; counted as a timeout
raised any other exception                   retries
raised what is no ``Exception``, or          retries; counted as a panic
``RecursionError``, ``MemoryError``
===========================================  =======================================================================

Of an exception group that contains several of these the first one of this order counts: dropped, settles, retries
(after the longest of the waits), terminal.

A conflict is how optimistic locking says "read again": somebody else wrote first. So it has an outcome of its own, and
is neither an error in the logs nor in the metrics; that it is put back with backoff shows in the queue's retries. An
``InvalidError`` without any cause is one too: a failed ``test`` of a JSON patch, which the API server reports as 422.
One that has causes but no field is a failure like others: a ValidatingAdmissionPolicy says no in this way.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal, TypeAlias

import attrs

from reconcile.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    LeaseLostError,
    TerminalError,
    UnknownOutcomeError,
)
from reconcile.reconciler import Result, Returned

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The cause that the API server gives when an object is created in a namespace that is being deleted."""


@attrs.frozen
class TimedOut:
    """The run was cancelled at its deadline."""

    seconds: float


@attrs.frozen
class Done:
    """Forget the key's failures. It runs again when something changes."""

    outcome: Literal["success"] = "success"


@attrs.frozen
class RequeueAfter:
    """Forget the key's failures and run it again after ``seconds``."""

    seconds: float
    outcome: Literal["requeue_after"] = "requeue_after"


@attrs.frozen
class Retry:
    """Run the key again after the rate limiter's delay, and no earlier than ``seconds_min`` from now."""

    reason: str
    seconds_min: float = 0.0
    outcome: Literal["conflict", "error", "timeout", "panic"] = "error"


@attrs.frozen
class Settle:
    """A write's answer was lost: ask for it before the key runs again, then as Retry."""

    reason: str
    outcome: Literal["error"] = "error"


@attrs.frozen
class Terminal:
    """Forget the key's failures and do not run it again until its object changes."""

    reason: str
    outcome: Literal["terminal"] = "terminal"


@attrs.frozen
class Drop:
    """Do nothing: this process may not write any more."""

    reason: str
    outcome: Literal["cancelled"] = "cancelled"


Decision: TypeAlias = Done | RequeueAfter | Retry | Settle | Terminal | Drop


def decide(ended: Returned | TimedOut | BaseException) -> Decision:
    """What comes next, from what the function returned or raised. Never raises."""
    match ended:
        case None | Result(requeue_after_seconds=None):
            return Done()
        case Result(requeue_after_seconds=float() | int() as seconds):
            return RequeueAfter(float(seconds))
        case timedelta():
            seconds = ended.total_seconds()
            if seconds < 0:
                return Retry(f"UsageError: the reconcile function returned {ended!r}: want a duration ≥ 0")
            return RequeueAfter(seconds)
        case TimedOut(seconds):
            return Retry(f"the reconcile function did not end within {seconds:g} s", outcome="timeout")
        case BaseExceptionGroup():
            return _worst([decide(error) for error in _leaves(ended)])
        case BaseException():
            return _raised(ended)
    return Retry(
        f"UsageError: the reconcile function returned {ended!r} ({type(ended).__name__}): "
        "want None, a Result or a timedelta"
    )


def _raised(error: BaseException) -> Decision:
    reason = _text(error)
    match error:
        case LeaseLostError():
            return Drop(reason)
        case UnknownOutcomeError():
            return Settle(reason)
        case TerminalError():
            return Terminal(reason)
        case InvalidError():
            if _names_a_field(error):
                return Terminal(reason)
            return Retry(reason, outcome="error" if _has_causes(error) else "conflict")
        case ForbiddenError() if _is_terminating(error):
            return Terminal(reason)
        case ApiError() if error.code == 413:
            return Terminal(reason)
        case ApiError():
            wait = error.retry_after_seconds or 0.0
            return Retry(reason, wait, "conflict" if isinstance(error, ConflictError) else "error")
        case RecursionError() | MemoryError():
            return Retry(reason, outcome="panic")
        case Exception():
            return Retry(reason)
        case _:
            return Retry(reason, outcome="panic")


def _worst(decisions: list[Decision]) -> Decision:
    """The one decision for all errors of a group."""
    for kind in (Drop, Settle):
        for decision in decisions:
            if isinstance(decision, kind):
                return decision
    retries = [decision for decision in decisions if isinstance(decision, Retry)]
    if not retries:
        return decisions[0]
    first = next((retry for retry in retries if retry.outcome != "conflict"), retries[0])
    return attrs.evolve(first, seconds_min=max(retry.seconds_min for retry in retries))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors of a group of groups. Iterative: a group may be nested as deep as its maker liked."""
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(reversed(error.exceptions))
        else:
            yield error


def _text(error: BaseException) -> str:
    """The error in one line. Its own ``str`` is the user's code and may raise."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as failure:  # noqa: BLE001  whatever it raises, the key must still be decided on
        return f"{type(error).__name__} (whose text raises {type(failure).__name__})"


def _names_a_field(error: ApiError) -> bool:
    details = error.status.details
    return details is not None and any(cause.field for cause in details.causes or ())


def _has_causes(error: ApiError) -> bool:
    return error.status.details is not None and bool(error.status.details.causes)


def _is_terminating(error: ApiError) -> bool:
    details = error.status.details
    return details is not None and any(cause.reason == NAMESPACE_TERMINATING for cause in details.causes or ())
