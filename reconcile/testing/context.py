"""RecordingContext: unit-test a reconcile function by calling it, without a server.

It reads from the objects it was given and records what the function does. It does not imitate an API server: what is
written does not change what is read. For that there is ``reconcile.testing.envtest``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, ParamSpec, TypeVar

import attrs

from reconcile.errors import NotFoundError, Status, UsageError
from reconcile.instrumentation.metric import Measured, Metric
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.owner import controller_reference, is_controlled_by
from reconcile.model.patch import Patch
from reconcile.model.resource import Kind, kind_of
from reconcile.model.selector import LabelSelector
from reconcile.reconciler import EventType, Propagation, Request

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("reconcile.testing")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall clock of a RecordingContext, unless another time is given."""


@attrs.frozen
class RecordedWrite:
    """One write that the function made.

    Attributes:
        verb: the Context's method.
        object: what was created, applied, updated, patched, deleted or evicted.
        patch: the patch of ``patch``, the status of ``patch_status``, else None.
    """

    verb: Literal["create", "apply", "patch", "patch_status", "update", "delete", "evict"]
    object: Object
    patch: Any = None
    subresource: str = ""


@attrs.frozen
class RecordedEvent:
    """One Event that the function reported."""

    type: EventType
    reason: str
    message: str
    on: Object


class RecordingContext:
    """A Context for unit tests.

    Args:
        obj: the object of the request (a dict, a Struct, an attrs class or an Object), or None for a missing one.
        cached: what else the cache holds.
        key: the request's key where ``obj`` is None.
        now: the wall clock.
        live: what the server holds, for ``read``; the cache's content if None.
        indexes: index functions by kind and name, for ``indexed``.

    Attributes:
        writes, events, measurements: what the function did, in order.
    """

    def __init__(
        self,
        obj: Any = None,
        *,
        cached: Iterable[Any] = (),
        key: ObjectKey | None = None,
        now: datetime = NOW,
        live: Iterable[Any] | None = None,
        indexes: Mapping[tuple[str, str], Callable[[Object], Iterable[str]]] | None = None,
    ) -> None:
        own = None if obj is None else _as_object(obj)
        if own is None and key is None:
            raise UsageError("RecordingContext: want obj, or the key of the missing object")
        self._own = own
        self._cached = [one for one in [own, *map(_as_object, cached)] if one is not None]
        self._live = self._cached if live is None else [_as_object(one) for one in live]
        self._indexes = dict(indexes or {})
        self._now = now
        self.request = Request(own.key if own is not None else key if key is not None else ObjectKey("", ""))
        self.reconcile_id = "test"
        self.log = logging.LoggerAdapter(_log, {"key": str(self.request.key)})
        self.fencing_token: int | None = None
        self.writes: list[RecordedWrite] = []
        self.events: list[RecordedEvent] = []
        self.measurements: list[Measured] = []

    def now(self) -> datetime:
        return self._now

    def get(self, kind: str | Kind, name: str, *, namespace: str | None = None) -> Object | None:
        return _find(self._cached, kind_of(kind), name, self.request.namespace if namespace is None else namespace)

    def list(
        self, kind: str | Kind, *, namespace: str | None = None, labels: Mapping[str, str] | str | None = None
    ) -> Sequence[Object]:
        where = self.request.namespace if namespace is None else namespace
        selector = LabelSelector.parse(labels) if isinstance(labels, str) else LabelSelector.of(labels or {})
        return [
            one
            for one in self._cached
            if one.kind == kind_of(kind) and (not where or one.namespace == where) and selector.matches(one.labels)
        ]

    def owned(self, kind: str | Kind) -> Sequence[Object]:
        own = self._own
        if own is None:
            return ()
        return [one for one in self._cached if one.kind == kind_of(kind) and is_controlled_by(one, own)]

    def indexed(self, kind: str | Kind, index: str, value: str) -> Sequence[Object]:
        function = self._indexes[(str(kind_of(kind)), index)]
        return [one for one in self._cached if one.kind == kind_of(kind) and value in function(one)]

    async def read(self, kind: str | Kind, name: str, *, namespace: str | None = None) -> Object:
        where = self.request.namespace if namespace is None else namespace
        found = _find(self._live, kind_of(kind), name, where)
        if found is None:
            raise NotFoundError(f"read {kind_of(kind)} {where}/{name}", Status(404, "NotFound", "not found"))
        return found

    async def create(self, obj: Any, *, owned: bool = True) -> Object:
        return self._record("create", self._complete(obj, owned=owned))

    async def apply(self, obj: Any, *, owned: bool = True, subresource: str = "") -> Object:
        return self._record("apply", self._complete(obj, owned=owned), subresource=subresource)

    async def patch(
        self,
        obj: Object,
        patch: Patch,
        *,
        subresource: str = "",
        uid: bool = True,
        resource_version: bool | None = None,
    ) -> Object:
        del uid, resource_version
        return self._record("patch", obj, patch=patch, subresource=subresource)

    async def patch_status(self, status: Any, obj: Object | None = None) -> Object:
        return self._record("patch_status", self._target(obj), patch=status, subresource="status")

    async def update(self, obj: Any, *, subresource: str = "") -> Object:
        return self._record("update", self._complete(obj, owned=False), subresource=subresource)

    async def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        resource_version: bool = False,
    ) -> None:
        del propagation, grace_period_seconds, resource_version
        self._record("delete", obj)

    async def evict(self, pod: Object, *, grace_period_seconds: int | None = None) -> None:
        del grace_period_seconds
        self._record("evict", pod, subresource="eviction")

    def event(self, reason: str, message: str, *, type: EventType = "Normal", on: Object | None = None) -> None:
        self.events.append(RecordedEvent(type, reason, message, self._target(on)))

    def report(self, metric: Metric, value: float, *labels: str) -> None:
        self.measurements.append(Measured(metric, value, labels))

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    def _record(self, verb: Any, obj: Object, *, patch: Any = None, subresource: str = "") -> Object:
        self.writes.append(RecordedWrite(verb, obj, patch, subresource))
        return obj

    def _target(self, obj: Object | None) -> Object:
        target = obj if obj is not None else self._own
        if target is None:
            raise UsageError(f"{self.request.key} is missing in this test: name the object")
        return target

    def _complete(self, obj: Any, *, owned: bool) -> Object:
        wanted = _as_object(obj)
        changes: dict[str, Any] = {}
        if not wanted.namespace:
            changes["namespace"] = self.request.namespace
        if owned:
            changes["owner_references"] = (*wanted.owner_references, controller_reference(self._target(None)))
        return wanted.with_metadata(**changes) if changes else wanted


def _as_object(value: Any) -> Object:
    return value if isinstance(value, Object) else from_plain(value)


def _find(objects: Iterable[Object], kind: Kind, name: str, namespace: str) -> Object | None:
    for one in objects:
        if one.kind == kind and one.name == name and one.namespace in ("", namespace):
            return one
    return None
