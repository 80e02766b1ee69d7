"""Every error that Reconcile raises: one tree, and the type says who is to blame.

``ConfigurationError`` is the operator's, ``TransportError`` the network's, ``ApiError`` the API server's answer,
``DecodeError`` the data's, ``UsageError`` the calling code's. Texts name the operation, the object and the way out.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "AlreadyExistsError",
    "ApiError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "ExpiredError",
    "ForbiddenError",
    "InvalidError",
    "LeaseLostError",
    "NotFoundError",
    "NotSyncedError",
    "ReconcileError",
    "Status",
    "TerminalError",
    "TooManyRequestsError",
    "TransportError",
    "UnauthorizedError",
    "UnknownKindError",
    "UnknownOutcomeError",
    "UsageError",
    "api_error",
]


class ReconcileError(Exception):
    """The root of the tree."""


class ConfigurationError(ReconcileError):
    """The configuration cannot be used: a kubeconfig, a flag, a credential. The command line exits with 2."""


class UsageError(ReconcileError):
    """The calling code asks for what cannot be, such as reading a kind that no controller declared."""


class UnknownKindError(UsageError):
    """The API server does not serve this kind (yet): a CustomResourceDefinition may still be missing."""


class DecodeError(ReconcileError):
    """Bytes that are not the object they should be."""


class TerminalError(ReconcileError):
    """Raised by a reconcile function to say that trying again will not help.

    The key is not retried until its object changes.
    """


class LeaseLostError(ReconcileError):
    """This process no longer holds the lease that it needs in order to write."""


class NotSyncedError(ReconcileError):
    """A cache did not get its first full state in time; the text names the resource and what it waits for."""


class TransportError(ReconcileError):
    """A request got no answer: refused connection, failed TLS handshake, deadline, cut stream.

    Attributes:
        may_have_arrived: whether the server can have seen (and may yet execute) the request.
    """

    def __init__(self, message: str, *, may_have_arrived: bool = True) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class UnknownOutcomeError(ReconcileError):
    """A write whose answer was lost: it may have been executed, or be executed later.

    The controller sends the identical request again before it runs the key's next reconcile
    (framework rule: an unknown outcome is resolved by asking again, because a 404 proves nothing).
    """


class StatusCause(msgspec.Struct, frozen=True, gc=False):
    """One entry of ``Status.details.causes``."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """``Status.details``."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[StatusCause, ...] | None = None
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, gc=False):
    """``meta/v1`` Status: how the API server says what went wrong."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


class ApiError(ReconcileError):
    """The API server answered, and refused.

    Attributes:
        operation: what was asked, such as ``GET /api/v1/namespaces/default/pods/web``.
        status: the server's Status (made up from the HTTP status where the body was none).
        retry_after_seconds: how long the server asks to wait (clamped to [0, 60]), or None.
    """

    def __init__(self, operation: str, status: Status, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(
            f"{operation}: {status.code} {status.reason}: {status.message}".rstrip(": ") + _way_out(status)
        )
        self.operation = operation
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    @property
    def code(self) -> int:
        """The HTTP status."""
        return self.status.code

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.operation, self.status, self.retry_after_seconds))


def _way_out(status: Status) -> str:
    """What may help, where the server's own words do not say it: it tells nobody what is wrong with a credential."""
    if status.code == 401:
        return "; the credential is wrong or expired: check the kubeconfig's user or the Pod's service account"
    if status.code == 403 and '"system:anonymous"' in status.message:
        return "; no credential was sent: give the kubeconfig's user one"
    return ""


def _rebuild(kind: type[ApiError], operation: str, status: Status, retry_after_seconds: float | None) -> ApiError:
    return kind(operation, status, retry_after_seconds=retry_after_seconds)


class UnauthorizedError(ApiError):
    """401: the credential is missing, expired or unknown."""


class ForbiddenError(ApiError):
    """403: the user may not do this (RBAC), or a quota or a terminating namespace refuses it."""


class NotFoundError(ApiError):
    """404: no such object, or no such resource."""


class ConflictError(ApiError):
    """409 Conflict: the object changed since it was read."""


class AlreadyExistsError(ApiError):
    """409 AlreadyExists: the name is taken."""


class ExpiredError(ApiError):
    """410: the resource version or the continue token is too old."""


class InvalidError(ApiError):
    """422: the object breaks the API's rules."""


class TooManyRequestsError(ApiError):
    """429: the server sheds load, or a disruption budget refuses an eviction."""


_BY_CODE: dict[int, type[ApiError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    422: InvalidError,
    429: TooManyRequestsError,
}


def api_error(operation: str, status: Status, *, retry_after_seconds: float | None = None) -> ApiError:
    """The ``ApiError`` of the type that fits ``status``."""
    kind = AlreadyExistsError if status.reason == "AlreadyExists" else _BY_CODE.get(status.code, ApiError)
    return kind(operation, status, retry_after_seconds=retry_after_seconds)
