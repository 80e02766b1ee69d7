"""Refusals: what the API server answers instead of an object, in the exact shape of ``meta/v1`` Status.

Source: Kubernetes API conventions, "Response Status Kind"; texts and reasons are what kube-apiserver says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.model import json

REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "",
    504: "Timeout",
}


class Failure(Exception):  # noqa: N818  an answer of the API, no error of ours
    """One refusal. ``body()`` is its Status."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, "") if reason is None else reason
        self.details = details
        self.metadata = metadata

    @property
    def retry_after_seconds(self) -> int:
        """What the ``Retry-After`` header says; 0 for none."""
        return int((self.details or {}).get("retryAfterSeconds", 0))

    def status(self) -> dict[str, Any]:
        """The Status as plain values, in the order of the real server's."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(self.metadata or {}),
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = dict(self.details)
        status["code"] = self.code
        return status

    def body(self) -> bytes:
        """The Status as JSON."""
        return json.encode(self.status())


def success(details: Mapping[str, Any] | None = None, code: int = 0) -> bytes:
    """The Status of what was done and has no object to show."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = dict(details)
    if code:
        status["code"] = code
    return json.encode(status)


def bad_request(message: str) -> Failure:
    return Failure(400, message)


def not_found(group: str, plural: str, name: str) -> Failure:
    target = f"{plural}.{group}" if group else plural
    return Failure(404, f'{target} "{name}" not found', details=_details(name, group, plural))


def no_such_resource() -> Failure:
    return Failure(404, "the server could not find the requested resource", details={})


def method_not_allowed() -> Failure:
    return Failure(405, "the server does not allow this method on the requested resource", details={})


def already_exists(group: str, plural: str, name: str, *, is_going: bool = False) -> Failure:
    target = f"{plural}.{group}" if group else plural
    details = _details(name, group, plural)
    text = f'{target} "{name}" already exists'
    return Failure(
        409, f"object is being deleted: {text}" if is_going else text, reason="AlreadyExists", details=details
    )


def conflict(group: str, plural: str, name: str, message: str) -> Failure:
    target = f"{plural}.{group}" if group else plural
    return Failure(
        409, f'Operation cannot be fulfilled on {target} "{name}": {message}', details=_details(name, group, plural)
    )


def modified(group: str, plural: str, name: str) -> Failure:
    """The version that a write names is not the object's."""
    return conflict(
        group,
        plural,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def forbidden(group: str, plural: str, name: str, message: str, causes: Sequence[Mapping[str, str]] = ()) -> Failure:
    target = f"{plural}.{group}" if group else plural
    details = _details(name, group, plural)
    if causes:
        details["causes"] = list(causes)
    subject = f'{target} "{name}"' if name else target
    return Failure(403, f"{subject} is forbidden: {message}", details=details)


def invalid(group: str, kind: str, name: str, causes: Sequence[Mapping[str, str]]) -> Failure:
    """422. Each cause has ``reason``, ``message`` and ``field``."""
    texts = [f"{cause['field']}: {cause['message']}" for cause in causes]
    message = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = _details(name, group, kind) | {"causes": [dict(cause) for cause in causes]}
    target = f"{kind}.{group}" if group else kind
    return Failure(422, f'{target} "{name}" is invalid: {message}', details=details)


def cause(reason: str, message: str, field: str) -> dict[str, str]:
    """One cause of a 422, in the order of the real server's."""
    return {"reason": reason, "message": message, "field": field}


def expired(message: str, continue_token: str = "") -> Failure:
    metadata = {"continue": continue_token} if continue_token else None
    return Failure(410, message, metadata=metadata)


def too_large_version(asked: int, current: int) -> Failure:
    """A version that is still to come. The real server waits 3 s for it before it says so."""
    return Failure(
        504,
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = kind
    return details
