"""What the server refused: what is told of it on the Job, and how the key is retried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconcile import ApiError, ForbiddenError, InvalidError, ReconcileError
from reconcile_job.lanes import Failure
from reconcile_job.plan.sync import Event


class RefusedError(ReconcileError):
    """The server found a Pod invalid. Tried again all the same: a webhook, or another release, may think otherwise."""


def raise_first(failures: Sequence[Failure]) -> None:
    """Raise one of these, if there are any, so that the key is retried."""
    if not failures:
        return
    failure = next((one for one in failures if not isinstance(one, InvalidError)), failures[0])
    if isinstance(failure, InvalidError):
        raise RefusedError(str(failure)) from failure
    raise failure


def untrack_events(results: Iterable[object]) -> list[Event]:
    """One Event for each different refusal to take the finalizer off Pods."""
    return refusal_events("FailedUntrack", "Error taking the finalizer off pods", filter(_is_refusal, results))


def refusal_events(reason: str, failed: str, results: Iterable[object]) -> list[Event]:
    """One Event for each different refusal. A lost answer is none: it is asked again."""
    messages = [result.status.message for result in results if isinstance(result, ApiError)]
    return [Event(reason, f"{failed}: {message}", "Warning") for message in dict.fromkeys(messages)]


def _is_refusal(result: object) -> bool:
    """Whether somebody objected, who may object for ever: no conflict, and no trouble of the server's own."""
    return isinstance(result, (ForbiddenError, InvalidError)) or (
        isinstance(result, ApiError) and "webhook" in result.status.message
    )


def says_namespace_terminating(failure: object) -> bool:
    """Nothing can be created any more, and the Job will be gone soon: not worth an Event or a retry."""
    if not isinstance(failure, ForbiddenError) or failure.status.details is None:
        return False
    return any(cause.reason == "NamespaceTerminating" for cause in failure.status.details.causes or ())
