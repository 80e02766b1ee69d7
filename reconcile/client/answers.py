"""What an answer means: who gave it, whether to try again, whether the write may have been executed. Pure."""

from __future__ import annotations

from reconcile.client.codec import decode_status
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import ApiError, ConflictError, TransportError, api_error

RETRY_AFTER_SECONDS_MAX = 60.0
"""What is believed of ``Retry-After``: servers have been seen to ask for years."""

_DISRUPTION_BUDGET = "DisruptionBudget"
_BEFORE_STORAGE = ("failed calling webhook", "admission webhook")
"""Internal errors that admission raises, before anything is stored."""


def check(request: HTTPRequest, response: HTTPResponse) -> None:
    """Raises TransportError for what no API server says: somebody in between has answered."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if 300 <= response.status < 400:
        target = response.headers.get("location", "").partition("?")[0][:200]
        raise TransportError(
            f"{request}: answered {response.status} with a redirect to {target!r}, which is not followed;"
            " is the server URL that of the API server itself?",
            may_have_arrived=False,
        )
    wants_json = request.accept.startswith("application/json")
    if kind == "text/html" or (wants_json and response.status < 300 and kind != "application/json"):
        raise TransportError(
            f"{request}: answered {response.status} with {kind or 'no content type'} instead of JSON;"
            " a proxy or another service stands at the server URL"
        )


def error_of(request: HTTPRequest, response: HTTPResponse) -> ApiError:
    """The refusal as an ApiError.

    A patch whose metadata carry another uid than the object's is answered with 422 "field is immutable", though it is a
    precondition that does not hold: a ConflictError, as for every other write.
    """
    status = decode_status(response.status, response.body, response.headers.get("content-type", ""))
    seconds = _asked_seconds(response)
    if seconds is None and status.details is not None and status.details.retry_after_seconds > 0:
        seconds = min(float(status.details.retry_after_seconds), RETRY_AFTER_SECONDS_MAX)
    causes = status.details.causes if status.details is not None else None
    if status.code == 422 and any(cause.field == "metadata.uid" for cause in causes or ()):
        return ConflictError(str(request), status, retry_after_seconds=seconds)
    return api_error(str(request), status, retry_after_seconds=seconds)


def retry_after(request: HTTPRequest, response: HTTPResponse) -> float | None:
    """How long to wait before the same request is sent again; None where that is not safe, or not for the client to do.

    * 429: the server shed it, unexecuted. Not so the refusal by a disruption budget: that is an answer.
    * 503 with ``Retry-After`` or a Status: the API server starts, stops, or cannot reach what it needs; not executed.
    * 502 and other 503 come from what stands before the API server: only reads are safe.
    """
    seconds = _asked_seconds(response)
    match response.status:
        case 429:
            return None if request.method == "POST" and _is_budget(response) else seconds or 0.0
        case 503:
            repeatable = request.method == "GET" or _is_not_executed(response)
            return (seconds or 0.0) if repeatable else None
        case 502:
            return (seconds or 0.0) if request.method == "GET" else None
        case _:
            return None


def may_have_been_executed(response: HTTPResponse, error: ApiError) -> bool:
    """Whether a refused write may be stored all the same, now or later.

    4xx: no. 5xx: the API server answers so when etcd or a deadline failed half way, and proxies when they lost it;
    only what happens before storage is sure.
    """
    if response.status < 500:
        return False
    if response.status == 503:
        return not _is_not_executed(response)
    return response.status != 500 or not any(text in error.status.message for text in _BEFORE_STORAGE)


def _asked_seconds(response: HTTPResponse) -> float | None:
    text = response.headers.get("retry-after", "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:9]), RETRY_AFTER_SECONDS_MAX)


def _is_budget(response: HTTPResponse) -> bool:
    details = decode_status(response.status, response.body, response.headers.get("content-type", "")).details
    return details is not None and any(cause.reason == _DISRUPTION_BUDGET for cause in details.causes or ())


def _is_not_executed(response: HTTPResponse) -> bool:
    return "retry-after" in response.headers or response.headers.get("content-type", "").startswith("application/json")
