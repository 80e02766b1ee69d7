"""Declaration: what a controller wants to see and how it is to be run. Made by the builder, read by the manager."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import attrs

from reconcile.client.api import Client
from reconcile.core.enqueue import Enqueue
from reconcile.core.predicate import Predicate
from reconcile.core.workqueue import PRIORITY_MAX, PRIORITY_MIN
from reconcile.errors import UsageError
from reconcile.instrumentation.metric import Measure, Metric
from reconcile.model.object import Object
from reconcile.model.resource import Kind
from reconcile.model.right import Right
from reconcile.reconciler import Reconciler

WORKERS = 4
"""Keys of one controller reconciled at a time, unless asked otherwise."""

TIMEOUT_SECONDS = 300.0
"""A reconcile that takes longer is cancelled and retried: five minutes is past any healthy one and below an operator's
patience."""

RETRY_SECONDS_MIN = 0.005
RETRY_SECONDS_MAX = 1000.0
"""Bounds of the exponential delay per key, as in client-go's default controller limiter."""

SETTLE_SECONDS_MAX = 15.0
"""How long a key waits at most for the cache to show its own writes. etcd's progress bookmarks come at least that often
where the API server is healthy; after it the key runs on what there is, and the wait is counted as timed out."""


def check_workers(what: str, value: Any) -> None:
    """Raises UsageError unless ``value`` can be a number of workers."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{what}={value!r}: want a whole number above zero")


def check_seconds(what: str, value: Any) -> None:
    """Raises UsageError unless ``value`` is a length of time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"{what}={value!r}: want a finite number of seconds above zero")


IndexFunction = Callable[[Object], Iterable[str]]

StartCheck = Callable[[Client], Awaitable[None]]
"""Called with the client before anything is watched. What it raises ends the run: a server that will not do."""


@attrs.frozen
class Watch:
    """One kind to watch, and which keys each of its changes wakes.

    Attributes:
        enqueue: the keys that a change wakes; None for the object that controls the changed one.
        predicate: changes for which it is false wake nothing; None lets all through.
        label_selector, field_selector: narrow the watch on the server; nothing else is cached.
        metadata_only: cache metadata alone (``PartialObjectMetadata``).
        indexes: named functions from an object to the values under which it is found.
        measure: what a change says for the metrics. It hears every change, whatever the predicate says.
        priority: of the keys that its changes wake, -1000 … 1000; higher goes first. First lists and resyncs go last.
    """

    kind: Kind
    enqueue: Enqueue | None
    predicate: Predicate | None = None
    label_selector: str = ""
    field_selector: str = ""
    metadata_only: bool = False
    indexes: Mapping[str, IndexFunction] = MappingProxyType({})
    measure: Measure | None = None
    priority: int = 0

    def __attrs_post_init__(self) -> None:
        if not PRIORITY_MIN <= self.priority <= PRIORITY_MAX:
            raise UsageError(
                f"watch of {self.kind}: priority={self.priority!r}: want a number from {PRIORITY_MIN} to {PRIORITY_MAX}"
            )


FieldValidation: TypeAlias = Literal["Ignore", "Warn", "Strict"]


@attrs.frozen
class Options:
    """How a controller is run. All times in seconds.

    Attributes:
        workers: keys reconciled at a time (one key never twice).
        timeout_seconds: deadline of one reconcile.
        retry_seconds_min, retry_seconds_max: bounds of the exponential delay after errors.
        settle_seconds_max: how long a key waits for its own writes to show in the cache.
        read_own_writes: whether it waits at all.
        resync_seconds: wake every object again at this interval; None for never.
        field_manager: who the API server says wrote a field; the controller's name if empty.
        field_validation: what the API server does about fields that it does not know (API concepts, "Field
            validation"): ``Warn`` logs them, ``Strict`` refuses the write, ``Ignore`` spares the server the second
            reading of each body, a tenth of what a write costs it. For controllers whose bodies are the server's own.
    """

    workers: int = WORKERS
    timeout_seconds: float = TIMEOUT_SECONDS
    retry_seconds_min: float = RETRY_SECONDS_MIN
    retry_seconds_max: float = RETRY_SECONDS_MAX
    settle_seconds_max: float = SETTLE_SECONDS_MAX
    read_own_writes: bool = True
    resync_seconds: float | None = None
    field_manager: str = ""
    field_validation: FieldValidation = "Warn"

    def __attrs_post_init__(self) -> None:
        if self.field_validation not in get_args(FieldValidation):
            raise UsageError(f"field_validation={self.field_validation!r}: want one of {get_args(FieldValidation)}")
        check_workers("controller option workers", self.workers)
        for name in ("timeout_seconds", "retry_seconds_min", "retry_seconds_max", "settle_seconds_max"):
            check_seconds(f"controller option {name}", getattr(self, name))
        if self.resync_seconds is not None:
            check_seconds("controller option resync_seconds", self.resync_seconds)
        if self.retry_seconds_max < self.retry_seconds_min:
            raise UsageError(
                f"retry_seconds_max={self.retry_seconds_max!r} is below retry_seconds_min={self.retry_seconds_min!r}"
            )


@attrs.frozen
class Declaration:
    """A controller as declared. ``watches[0]`` is the kind that it reconciles.

    Attributes:
        metrics: those that it reports to.
        needs: what it asks of the server besides listing and watching.
        start_check: awaited before each start; None where there is nothing to check.
        component: who its Events are from; the app's name if empty.
    """

    name: str
    reconciler: Reconciler = attrs.field(repr=False)
    watches: tuple[Watch, ...]
    options: Options = attrs.field(factory=Options)
    metrics: tuple[Metric, ...] = ()
    needs: tuple[Right, ...] = ()
    start_check: StartCheck | None = attrs.field(default=None, repr=False)
    component: str = ""

    @property
    def kind(self) -> Kind:
        """The kind whose keys are reconciled."""
        return self.watches[0].kind
