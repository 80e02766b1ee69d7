"""The Context that a reconcile function is given: cache reads, recorded writes, reports."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import anyio
import anyio.to_process
import attrs

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.core.freshness import Freshness
from reconcile.errors import NotFoundError, TransportError, UnknownOutcomeError, UsageError
from reconcile.instrumentation.hooks import Hooks
from reconcile.instrumentation.metric import Measured, Metric
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.owner import controller_reference
from reconcile.model.patch import ApplyPatch, JSONPatch, Patch
from reconcile.model.resource import Kind, Resource, kind_of
from reconcile.model.selector import LabelSelector
from reconcile.model.write import Applied, Outcome, Refused, Unknown, Write
from reconcile.reconciler import EventType, Propagation, Request
from reconcile.runtime.clock import Clock
from reconcile.runtime.informer import Informer

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("reconcile.controller")


class Recorder(Protocol):
    """What the Context needs of an Event recorder."""

    def event(self, obj: Object, reason: str, message: str, *, type: EventType = "Normal") -> None: ...


class WriteGate(Protocol):
    """Says whether this process may write: the leader elector, or nothing where there is no election."""

    @property
    def fencing_token(self) -> int | None: ...

    def check(self) -> None:
        """Raises LeaseLostError."""
        ...


class OpenGate:
    """The gate of a process that runs without leader election."""

    fencing_token: int | None = None

    def check(self) -> None:
        return


@attrs.frozen
class Reporter:
    """Tells what a controller measures. Raises UsageError for a metric that it did not declare."""

    controller: str
    metrics: frozenset[Metric]
    hooks: Hooks

    def __call__(self, measured: Measured) -> None:
        if measured.metric not in self.metrics:
            raise UsageError(
                f"controller {self.controller!r} reports to metric {measured.metric.name} but does not declare it; "
                f"declare it with metrics=[…], or with the builder's .metrics(…)"
            )
        self.hooks.emit(measured)


@attrs.frozen
class Surroundings:
    """What all runs of one controller share.

    Attributes:
        kind: the kind that the controller reconciles.
        informers: the declared kinds; several informers of one kind where several selectors were declared.
        field_manager: who the API server says wrote a field.
        field_validation: what it does about fields that it does not know; ``Warn`` is its default, and is not sent.
    """

    controller: str
    kind: Kind
    client: Client
    informers: Mapping[Kind, Sequence[Informer]]
    freshness: Freshness[ObjectKey]
    clock: Clock
    recorder: Recorder
    report: Reporter
    gate: WriteGate
    field_manager: str
    field_validation: str


class ReconcileContext:
    """Implements ``reconcile.reconciler.Context`` for one run of one key."""

    def __init__(self, surroundings: Surroundings, request: Request, reconcile_id: str) -> None:
        self._around = surroundings
        self.request = request
        self.reconcile_id = reconcile_id
        self.log = logging.LoggerAdapter(
            _log,
            {"controller": surroundings.controller, "key": str(request.key), "reconcile_id": reconcile_id},
        )
        self.writes = 0

    def __repr__(self) -> str:
        return f"<Context {self._around.controller} {self.request.key} {self.reconcile_id}>"

    def now(self) -> datetime:
        return self._around.clock.wall()

    @property
    def fencing_token(self) -> int | None:
        return self._around.gate.fencing_token

    # -- the cache ---------------------------------------------------------------------------------------------

    def get(self, kind: str | Kind, name: str, *, namespace: str | None = None) -> Object | None:
        informers = self._declared(kind)
        key = self._key(informers[0].resource, name, namespace)
        cached = next((found for one in informers if (found := one.store.get(key)) is not None), None)
        written = self._around.freshness.overlay(self.request.key, informers[0].resource, key, cached)
        return cached if written is None else written

    def list(
        self, kind: str | Kind, *, namespace: str | None = None, labels: Mapping[str, str] | str | None = None
    ) -> Sequence[Object]:
        informers = self._declared(kind)
        where = namespace
        if where is None:
            where = self.request.namespace if informers[0].resource.namespaced else ""
        found: dict[ObjectKey, Object] = {}
        for informer in informers:
            for obj in informer.store.list(where):
                found.setdefault(obj.key, obj)
        if labels is None:
            return tuple(found.values())
        selector = LabelSelector.parse(labels) if isinstance(labels, str) else LabelSelector.of(labels)
        return tuple(obj for obj in found.values() if selector.matches(obj.labels))

    def owned(self, kind: str | Kind) -> Sequence[Object]:
        owner = self._object()
        if owner is None:
            return ()
        return self._merged(kind, lambda informer: informer.store.owned_by(owner.uid))

    def indexed(self, kind: str | Kind, index: str, value: str) -> Sequence[Object]:
        return self._merged(kind, lambda informer: informer.store.indexed(index, value))

    def _merged(self, kind: str | Kind, read: Callable[[Informer], Sequence[Object]]) -> Sequence[Object]:
        informers = self._declared(kind)
        if len(informers) == 1:
            return tuple(read(informers[0]))
        found: dict[ObjectKey, Object] = {}
        for informer in informers:
            for obj in read(informer):
                found.setdefault(obj.key, obj)
        return tuple(found.values())

    def _declared(self, kind: str | Kind) -> Sequence[Informer]:
        wanted = kind_of(kind)
        informers = self._around.informers.get(wanted)
        if informers is None:
            declared = ", ".join(str(known) for known in self._around.informers)
            raise UsageError(
                f"controller {self._around.controller!r} reads {wanted} from the cache but declares only {declared}; "
                f"declare it with owns=/watches=, or ask the server with 'await ctx.read({str(wanted)!r}, …)'"
            )
        return informers

    def _object(self) -> Object | None:
        return self.get(self._around.kind, self.request.name)

    def _key(self, resource: Resource, name: str, namespace: str | None) -> ObjectKey:
        if not resource.namespaced:
            return ObjectKey("", name)
        return ObjectKey(self.request.namespace if namespace is None else namespace, name)

    # -- live reads --------------------------------------------------------------------------------------------

    async def read(self, kind: str | Kind, name: str, *, namespace: str | None = None) -> Object:
        resource = await self._around.client.resource(kind_of(kind))
        return await self._around.client.get(resource, self._key(resource, name, namespace))

    # -- writes ------------------------------------------------------------------------------------------------

    async def create(self, obj: Any, *, owned: bool = True) -> Object:
        resource, wanted = await self._wanted(obj, owned=owned)
        return await self._write_object(writes.create(resource, wanted, field_manager=self._around.field_manager))

    async def apply(self, obj: Any, *, owned: bool = True, subresource: str = "") -> Object:
        resource, wanted = await self._wanted(obj, owned=owned)
        patch = ApplyPatch(wanted.to_dict(), self._around.field_manager)
        return await self._write_object(writes.patch(resource, wanted.key, patch, subresource=subresource))

    async def patch(
        self,
        obj: Object,
        patch: Patch,
        *,
        subresource: str = "",
        uid: bool = True,
        resource_version: bool | None = None,
    ) -> Object:
        with_version = isinstance(patch, JSONPatch) if resource_version is None else resource_version
        resource = await self._around.client.resource(obj.kind)
        return await self._write_object(
            writes.patch(
                resource,
                obj.key,
                patch,
                subresource=subresource,
                uid=obj.uid if uid else "",
                resource_version=obj.resource_version if with_version else "",
                field_manager=self._around.field_manager,
            )
        )

    async def patch_status(self, status: Any, obj: Object | None = None) -> Object:
        target = self._target(obj, "patch_status")
        resource = await self._around.client.resource(target.kind)
        body = {
            "apiVersion": target.kind.api_version,
            "kind": target.kind.kind,
            "metadata": {"name": target.name, **({"namespace": target.namespace} if target.namespace else {})},
            "status": status,
        }
        patch = ApplyPatch(body, self._around.field_manager)
        return await self._write_object(writes.patch(resource, target.key, patch, subresource="status", uid=target.uid))

    async def update(self, obj: Any, *, subresource: str = "") -> Object:
        resource, wanted = await self._wanted(obj, owned=False)
        if not wanted.resource_version:
            raise UsageError(f"update of {wanted} without metadata.resourceVersion: send back what was read, or apply")
        return await self._write_object(
            writes.update(resource, wanted, subresource=subresource, field_manager=self._around.field_manager)
        )

    async def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        resource_version: bool = False,
    ) -> None:
        resource = await self._around.client.resource(obj.kind)
        write = writes.delete(
            resource,
            obj.key,
            uid=obj.uid,
            resource_version=obj.resource_version if resource_version else "",
            propagation=propagation,
            grace_period_seconds=grace_period_seconds,
        )
        await self._write_unless_gone(write, obj.uid)

    async def evict(self, pod: Object, *, grace_period_seconds: int | None = None) -> None:
        resource = await self._around.client.resource(pod.kind)
        await self._write_unless_gone(
            writes.evict(resource, pod.key, uid=pod.uid, grace_period_seconds=grace_period_seconds), pod.uid
        )

    async def _wanted(self, obj: Any, *, owned: bool) -> tuple[Resource, Object]:
        """What to write, with the request's namespace where it names none and the controller reference if asked."""
        wanted = obj if isinstance(obj, Object) else from_plain(obj)
        resource = await self._around.client.resource(wanted.kind)
        metadata = wanted.metadata
        if not metadata.name:
            raise UsageError(
                f"write of a {wanted.kind.kind} without metadata.name: a generated name cannot be sent again safely "
                f"when an answer is lost; use reconcile.child_name(owner, …)"
            )
        changes: dict[str, Any] = {}
        if resource.namespaced and not metadata.namespace:
            changes["namespace"] = self.request.namespace
        if owned:
            owner = self._target(None, f"write of {wanted.kind.kind} {metadata.name!r} as owned")
            namespace = changes.get("namespace", metadata.namespace)
            if owner.namespace and owner.namespace != namespace:
                raise UsageError(
                    f"{owner} cannot own {wanted.kind.kind} {namespace}/{metadata.name}: an owner is cluster-scoped or "
                    f"in the same namespace (API concepts, owners and dependents); pass owned=False"
                )
            others = tuple(ref for ref in metadata.owner_references or () if ref.uid != owner.uid)
            changes["owner_references"] = (*others, controller_reference(owner))
        if not changes:
            return resource, wanted
        return resource, wanted.with_metadata(**changes)

    def _target(self, obj: Object | None, operation: str) -> Object:
        target = obj if obj is not None else self._object()
        if target is None:
            raise UsageError(f"{operation}: {self._around.kind.kind} {self.request.key} is not in the cache (deleted?)")
        return target

    async def _write_object(self, write: Write) -> Object:
        validation = self._around.field_validation
        if validation != "Warn":
            write = attrs.evolve(write, query=(*write.query, ("fieldValidation", validation)))
        applied = await self._write(write)
        if applied.object is None:
            raise TransportError(f"{write}: the server answered without an object")
        return applied.object

    async def _write_unless_gone(self, write: Write, uid: str) -> None:
        try:
            await self._write(write, uid=uid)
        except NotFoundError:
            self.log.debug("%s: gone already", write)

    async def _write(self, write: Write, *, uid: str = "") -> Applied:
        """Send, and record what came of it. A cancelled write is an unknown one: it may have been sent.

        ``uid`` is that of an object to delete, where the answer may carry no object.
        """
        key = self.request.key
        self.writes += 1
        try:
            outcome: Outcome = await self._around.client.send(write, gate=self._around.gate.check)
        except anyio.get_cancelled_exc_class():
            self._around.freshness.record_unknown(key, write)
            raise
        match outcome:
            case Applied():
                if write.resource.kind in self._around.informers:
                    self._around.freshness.record(key, outcome, uid=uid)
                return outcome
            case Refused():
                raise outcome.error
            case Unknown():
                self._around.freshness.record_unknown(key, write)
                raise UnknownOutcomeError(f"{write}: no answer ({outcome.reason}); it will be asked again")

    # -- reports -----------------------------------------------------------------------------------------------

    def event(self, reason: str, message: str, *, type: EventType = "Normal", on: Object | None = None) -> None:
        self._around.recorder.event(self._target(on, f"event {reason}"), reason, message, type=type)

    def report(self, metric: Metric, value: float, *labels: str) -> None:
        self._around.report(Measured(metric, value, labels))

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = functools.partial(function, *args, **kwargs)
        return await cast("Awaitable[T]", anyio.to_process.run_sync(call, cancellable=True))
