"""The contract: what a reconcile function is given, and what it promises. Read this file first.

A reconcile function is **level-based**: it is told *which* object to look at, never *what happened* to it. It compares
what should be with what is, and writes the difference. So it may be run at any time, any number of times, and a missed,
merged or repeated event does no harm.

The framework guarantees:
    * The same key never runs twice at once; an event that arrives meanwhile runs it once more afterwards.
    * Before a key runs again, the cache has seen the key's own earlier writes (or a bounded wait has passed), and every
      write whose answer was lost has been asked again until it was answered.
    * An exception puts the key back with exponential backoff; ``TerminalError`` does not. Other keys go on.

The function promises:
    * to be cancellable at each ``await``, and not to block the loop (use ``Context.offload``);
    * not to change what it reads from the cache;
    * to reach a fixed point: run again with nothing changed, it writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs

from reconcile.instrumentation.metric import Metric
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.patch import Patch
from reconcile.model.resource import Kind

P = ParamSpec("P")
T = TypeVar("T")

Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]
"""What the garbage collector does with dependents (API concepts: "Cascading deletion")."""

EventType: TypeAlias = Literal["Normal", "Warning"]


@attrs.frozen
class Request:
    """Which object to look at. The reason is in the journal, not here: the function must not depend on it."""

    key: ObjectKey

    @property
    def namespace(self) -> str:
        return self.key.namespace

    @property
    def name(self) -> str:
        return self.key.name


@attrs.frozen
class Result:
    """A reconcile that succeeded.

    Attributes:
        requeue_after_seconds: run the key again after that long even if nothing changes; None for never.
    """

    requeue_after_seconds: float | None = None

    def __attrs_post_init__(self) -> None:
        value = self.requeue_after_seconds
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"Result.requeue_after_seconds is {value!r}: want seconds ≥ 0, or None for never")


Returned: TypeAlias = Result | timedelta | None
"""What a reconcile function may return: a Result, a duration to requeue after, or None for done."""


class Context(Protocol):
    """What a reconcile function may do: read the cache, read live, write, report.

    Every write is recorded for the read-your-writes gate. Writes raise ``ApiError`` where the server refused,
    ``UnknownOutcomeError`` where the answer was lost, and ``LeaseLostError`` where this process may not write any more.
    Reading a kind from the cache that the controller did not declare raises ``UsageError`` (no informer is started
    behind anybody's back); ``read`` asks the server instead.
    """

    @property
    def request(self) -> Request: ...

    @property
    def reconcile_id(self) -> str:
        """Distinguishes this run in logs."""
        ...

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the controller, the key and the reconcile's id."""
        ...

    def now(self) -> datetime:
        """The wall clock in UTC, for what is written into objects."""
        ...

    @property
    def fencing_token(self) -> int | None:
        """The lease's transition count while this process leads; None without leader election."""
        ...

    # -- the cache ------------------------------------------------------------------------------------------------

    def get(self, kind: str | Kind, name: str, *, namespace: str | None = None) -> Object | None:
        """From the cache. ``namespace`` defaults to the request's."""
        ...

    def list(
        self, kind: str | Kind, *, namespace: str | None = None, labels: Mapping[str, str] | str | None = None
    ) -> Sequence[Object]:
        """From the cache: those of one namespace (default: the request's; ``""``: all) that match a selector."""
        ...

    def owned(self, kind: str | Kind) -> Sequence[Object]:
        """From the cache: what this request's object controls (by the reference's uid). Costs what it returns."""
        ...

    def indexed(self, kind: str | Kind, index: str, value: str) -> Sequence[Object]:
        """From the cache: the objects under ``value`` in an index that the controller declared."""
        ...

    # -- live reads -----------------------------------------------------------------------------------------------

    async def read(self, kind: str | Kind, name: str, *, namespace: str | None = None) -> Object:
        """From the server, consistently. Raises NotFoundError."""
        ...

    # -- writes ---------------------------------------------------------------------------------------------------

    async def create(self, obj: Any, *, owned: bool = True) -> Object:
        """Create it. ``owned`` adds the controller reference to this request's object."""
        ...

    async def apply(self, obj: Any, *, owned: bool = True, subresource: str = "") -> Object:
        """Server-side apply with the controller's field manager, by force. ``obj`` holds the wanted fields only."""
        ...

    async def patch(
        self,
        obj: Object,
        patch: Patch,
        *,
        subresource: str = "",
        uid: bool = True,
        resource_version: bool | None = None,
    ) -> Object:
        """Patch ``obj``; with preconditions on its uid and, where asked, its resourceVersion.

        Unless told otherwise a JSONPatch has the latter too: sent again after a lost answer, an operation that counts
        positions (append to a list, remove its first item) would be done twice.
        """
        ...

    async def patch_status(self, status: Any, obj: Object | None = None) -> Object:
        """Server-side apply of ``status`` on the request's object (or ``obj``), by this controller's field manager."""
        ...

    async def update(self, obj: Any, *, subresource: str = "") -> Object:
        """PUT the whole object, with the resourceVersion that it carries."""
        ...

    async def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        resource_version: bool = False,
    ) -> None:
        """Delete ``obj``; preconditions on its uid and, where asked, its resourceVersion. Gone already is success."""
        ...

    async def evict(self, pod: Object, *, grace_period_seconds: int | None = None) -> None:
        """Evict a Pod. Raises TooManyRequestsError while a PodDisruptionBudget forbids it. Gone already is success."""
        ...

    # -- reports --------------------------------------------------------------------------------------------------

    def event(self, reason: str, message: str, *, type: EventType = "Normal", on: Object | None = None) -> None:
        """Record an Event on the request's object (or ``on``). Returns at once; bounded and aggregated."""
        ...

    def report(self, metric: Metric, value: float, *labels: str) -> None:
        """Report to a metric that the controller declared: count ``value`` more, or observe ``value``.

        ``labels`` are the values of the metric's labels, in the order in which it declares them. Raises UsageError.
        """
        ...

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run CPU-heavy work in a worker process, so that leases, watches and probes never wait for it."""
        ...


@runtime_checkable
class Reconciler(Protocol):
    """``async (Request, Context) -> Result | timedelta | None``."""

    def __call__(self, request: Request, context: Context, /) -> Awaitable[Returned]: ...
