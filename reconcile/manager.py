"""Manager: what runs, in which order, until when.

Start: probes and metrics → start checks → kinds found → caches filled → lease won → workers.
Stop, in reverse: intake closed → workers drained within a bound → Events flushed → lease released → watches closed.

A controller that crashes is restarted with backoff and shows in ``/readyz``; the others go on. A lost lease stops every
worker at once and ends ``run`` with LeaseLostError, because a process that was leader holds state of a leader.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import anyio
import anyio.abc
import attrs

from reconcile.client.api import Client
from reconcile.core.backoff import Backoff
from reconcile.errors import ReconcileError, UnknownKindError, UsageError
from reconcile.instrumentation.hooks import ComponentFailed, Hooks
from reconcile.instrumentation.reading import Reading
from reconcile.model.resource import Kind, Resource
from reconcile.model.scope import Scope
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import Clock
from reconcile.runtime.context import OpenGate, WriteGate
from reconcile.runtime.controller import Controller
from reconcile.runtime.declaration import Declaration, IndexFunction, Watch, check_seconds, check_workers
from reconcile.runtime.health import Health
from reconcile.runtime.informer import Informer
from reconcile.runtime.leader_election import LeaderElectionConfig, LeaderElector
from reconcile.runtime.recorder import Recorders
from reconcile.runtime.serving import Serving
from reconcile.runtime.watchdog import LoopWatchdog

_log = logging.getLogger("reconcile.manager")

DRAIN_SECONDS = 20.0
"""Below kubelet's default grace period of 30 s, so that the lease is released before the kill."""

SYNC_SECONDS_MAX = 120.0
"""A first list that takes longer is stuck: 100 000 objects take seconds."""

KIND_RETRY_SECONDS = 5.0
"""How often a kind that the server does not serve is asked for again, where it is waited for."""


@attrs.frozen
class RunOptions:
    """How an app is run. All times in seconds.

    Attributes:
        kubeconfig, context: which cluster (default: ``KUBECONFIG``, ``~/.kube/config``, then in-cluster).
        namespaces: those to watch; empty for all. A Role in each is enough.
        workers: overrides every controller's number of workers.
        leader_election: lease to win before anything is written; None to run without.
        missing_kinds: ``refuse`` to start while the server lacks a declared kind, or ``wait`` for it.
        sync_seconds_max: bound of the first list; the error names the resource that is stuck.
        drain_seconds: how long running reconciles may take to end at a stop.
        health_bind_address, metrics_bind_address: ``host:port`` of the probes and of ``/metrics``; None for off.
    """

    kubeconfig: str | Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    workers: int | None = None
    leader_election: LeaderElectionConfig | None = None
    missing_kinds: Literal["refuse", "wait"] = "refuse"
    sync_seconds_max: float = SYNC_SECONDS_MAX
    drain_seconds: float = DRAIN_SECONDS
    health_bind_address: str | None = None
    metrics_bind_address: str | None = None

    def __attrs_post_init__(self) -> None:
        if isinstance(self.namespaces, str):
            raise UsageError(f"RunOptions.namespaces={self.namespaces!r}: want a tuple of names, or () for all")
        if self.workers is not None:
            check_workers("RunOptions.workers", self.workers)
        check_seconds("RunOptions.sync_seconds_max", self.sync_seconds_max)
        check_seconds("RunOptions.drain_seconds", self.drain_seconds)


@attrs.frozen
class _WatchKey:
    """Watches that one informer can serve."""

    kind: Kind
    label_selector: str
    field_selector: str
    metadata_only: bool

    @classmethod
    def of(cls, watch: Watch) -> _WatchKey:
        return cls(watch.kind, watch.label_selector, watch.field_selector, watch.metadata_only)


class Manager:
    """Runs controllers on one cluster. ``run`` once; ``stop`` from anywhere in the loop.

    ``election_client``: connections of the leader election's own, so that a renewal never waits behind other requests.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        declarations: Sequence[Declaration],
        options: RunOptions,
        *,
        hooks: Hooks,
        clock: Clock,
        election_client: Client | None = None,
    ) -> None:
        self.name = name
        self._client = client
        self._election_client = election_client or client
        self._declarations = declarations
        self._options = options
        self._hooks = hooks
        self._clock = clock
        self._stop = anyio.Event()
        self._started = anyio.Event()
        self._stopped = anyio.Event()
        self._failed: dict[str, str] = {}
        self._synced = False
        self.cache = Cache(client, clock=clock, hooks=hooks)
        self.health = Health()
        self.health.add("caches", self._caches_problem)
        self.health.add("controllers", self._controllers_problem)
        self._serving = Serving(
            self.health,
            health_bind_address=options.health_bind_address,
            metrics_bind_address=options.metrics_bind_address,
            hooks=hooks,
            collector=self._readings,
            metrics=[metric for declaration in declarations for metric in declaration.metrics],
        )
        self.controllers: tuple[Controller, ...] = ()
        self.elector: LeaderElector | None = None

    def stop(self) -> None:
        """Begin the orderly stop. Safe to call twice."""
        self._stop.set()

    async def wait_started(self) -> None:
        """Until caches are synced and this process works or stands by, or until it has stopped."""
        await self._started.wait()

    async def wait_stopped(self) -> None:
        """Until ``run`` is over."""
        await self._stopped.wait()

    @property
    def is_leading(self) -> bool:
        """Whether the workers may run: always without leader election."""
        return self.elector is None or self.elector.is_leading

    def _caches_problem(self) -> str | None:
        """Before the first sync: not ready. Later a stuck informer names its resource in a check of its own."""
        return None if self._synced else "; ".join(self.cache.unready()) or "not synced yet"

    def _controllers_problem(self) -> str | None:
        return "; ".join(f"{name}: {error}" for name, error in self._failed.items()) or None

    def _check_informer(self, informer: Informer) -> None:
        """One readiness check an informer, so that the probe's answer names the resource that is stuck."""

        def problem() -> str | None:
            if not informer.has_synced:
                return informer.state
            return "; ".join([*informer.problems, *self.cache.failures(informer)]) or None

        # Without the scope: the probe's body is for everybody, and namespaces are the cluster's business.
        selectors = "".join(f" [{text}]" for text in (informer.label_selector, informer.field_selector) if text)
        part = " (metadata)" if informer.metadata_only else ""
        same = [x.resource.kind.version for x in self.cache.informers if str(x.resource) == str(informer.resource)]
        version = "" if len(set(same)) == 1 else f" {informer.resource.kind.version}"
        self.health.add(f"informer {informer.resource}{version}{part}{selectors}", problem)

    async def run(self) -> None:
        """Run until ``stop`` or until a failure that concerns all.

        Raises:
            UsageError: a declared kind is not served (``missing_kinds="refuse"``).
            ReconcileError: the first sync took too long; the lease was lost.
        """
        try:
            async with self._serving.open(), anyio.create_task_group() as group:
                await self._until_stopped(group)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        finally:
            self._started.set()
            self._stopped.set()

    async def _until_stopped(self, group: anyio.abc.TaskGroup) -> None:
        """All of a life. Returns when stopped in order; ``group`` holds what must outlive the workers."""
        async with self._stoppable():
            resources = await self._resources()
            informers = self._informers(resources)
            gate: WriteGate = OpenGate()
            if self._options.leader_election is not None:
                gate = self.elector = LeaderElector(
                    self._election_client, self._options.leader_election, clock=self._clock, hooks=self._hooks
                )
            recorder = Recorders(self._client, gate=gate.check, clock=self._clock, hooks=self._hooks)
            self.controllers = tuple(
                self._controller(declaration, resources, informers, recorder, gate)
                for declaration in self._declarations
            )
            for informer in informers.values():
                self._check_informer(informer)
            group.start_soon(self.cache.run)
            group.start_soon(LoopWatchdog(self._hooks, self._clock).run)
            await self.cache.wait_synced(self._options.sync_seconds_max)
            self._synced = True
            _log.info("%s: caches synced (%s)", self.name, ", ".join(str(one) for one in informers.values()))
            if self.elector is None:
                await self._work(recorder)
            else:
                await self._work_while_leading(self.elector, recorder)

    def _controller(
        self,
        declaration: Declaration,
        resources: Mapping[Kind, Resource],
        informers: Mapping[_WatchKey, Informer],
        recorder: Recorders,
        gate: WriteGate,
    ) -> Controller:
        waited, worked = self._serving.observers(declaration.name)
        return Controller(
            declaration,
            client=self._client,
            resource=resources[declaration.kind],
            informers=[informers[_WatchKey.of(watch)] for watch in declaration.watches],
            workers=self._options.workers or declaration.options.workers,
            recorder=recorder.of(declaration.component or self.name),
            gate=gate,
            clock=self._clock,
            hooks=self._hooks,
            observe_queue_seconds=waited,
            observe_work_seconds=worked,
        )

    @contextlib.asynccontextmanager
    async def _stoppable(self) -> AsyncGenerator[None, None]:
        """A body that a stop cancels while it still starts; once the workers run, they end it in order."""
        async with anyio.create_task_group() as group:

            async def cancel_start() -> None:
                await self._stop.wait()
                if not self._started.is_set():
                    group.cancel_scope.cancel()

            group.start_soon(cancel_start)
            yield
            group.cancel_scope.cancel()

    async def _resources(self) -> Mapping[Kind, Resource]:
        """Where each declared kind is served."""
        found: dict[Kind, Resource] = {}
        for declaration in self._declarations:
            if declaration.start_check is not None:
                await declaration.start_check(self._client)
            for watch in declaration.watches:
                while watch.kind not in found:
                    try:
                        found[watch.kind] = await self._client.resource(watch.kind)
                    except UnknownKindError:
                        if self._options.missing_kinds == "refuse":
                            raise
                        _log.warning(
                            "controller %s waits for %s, which the server does not serve", declaration.name, watch.kind
                        )
                        await self._clock.sleep(KIND_RETRY_SECONDS)
        return found

    def _informers(self, resources: Mapping[Kind, Resource]) -> Mapping[_WatchKey, Informer]:
        """One informer for all watches that agree on kind and selectors."""
        indexes: dict[_WatchKey, dict[str, IndexFunction]] = {}
        resync: dict[_WatchKey, float | None] = {}
        for declaration in self._declarations:
            for watch in declaration.watches:
                key = _WatchKey.of(watch)
                known = indexes.setdefault(key, {})
                for name, function in watch.indexes.items():
                    if known.setdefault(name, function) is not function:
                        raise UsageError(f"two controllers declare index {name!r} of {watch.kind}; rename one")
            primary = _WatchKey.of(declaration.watches[0])
            intervals = [x for x in (resync.get(primary), declaration.options.resync_seconds) if x is not None]
            resync[primary] = min(intervals, default=None)
        return {
            key: self.cache.informer(
                resources[key.kind],
                scope=Scope(self._options.namespaces if resources[key.kind].namespaced else ()),
                label_selector=key.label_selector,
                field_selector=key.field_selector,
                metadata_only=key.metadata_only,
                indexes=functions,
                resync_seconds=resync.get(key),
            )
            for key, functions in indexes.items()
        }

    async def _work_while_leading(self, elector: LeaderElector, recorder: Recorders) -> None:
        """Stand by, work while leading, release the lease last."""
        async with anyio.create_task_group() as election:
            election.start_soon(elector.run)
            self._started.set()
            async with anyio.create_task_group() as waiting:

                async def give_up() -> None:
                    await self._stop.wait()
                    waiting.cancel_scope.cancel()

                waiting.start_soon(give_up)
                await elector.wait_leading()
                waiting.cancel_scope.cancel()
            if elector.is_leading:
                await self._work(recorder)
            await elector.release()
            election.cancel_scope.cancel()

    async def _work(self, recorder: Recorders) -> None:
        """Run the controllers until stopped, drain them within the bound, and write the last Events."""
        async with anyio.create_task_group() as events:
            events.start_soon(recorder.run)
            async with anyio.create_task_group() as workers:
                for controller in self.controllers:
                    workers.start_soon(self._supervise, controller)
                self._started.set()
                await self._stop.wait()
                await self._drain()
                workers.cancel_scope.cancel()
            await recorder.flush()
            events.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Take in no more keys, and let what runs end, but not for ever."""
        for controller in self.controllers:
            controller.shut_down()
        with anyio.move_on_after(self._options.drain_seconds) as bound:
            for controller in self.controllers:
                await controller.drained()
        if bound.cancelled_caught:
            busy = ", ".join(one.name for one in self.controllers if not one.is_idle)
            _log.warning("%s: not drained in %g s, cancelled: %s", self.name, self._options.drain_seconds, busy)

    async def _supervise(self, controller: Controller) -> None:
        """Run one controller; after a crash, again after a delay. The others do not notice."""
        backoff = Backoff()
        while True:
            try:
                await controller.run()
            except Exception as error:  # noqa: BLE001  whatever it is, the other controllers go on
                if self._stop.is_set():
                    return
                delay = backoff.delay(self._clock.monotonic(), self._clock.random())
                cause = _first(error) if isinstance(error, BaseExceptionGroup) else error
                text = self._failed[controller.name] = f"{type(cause).__name__}: {cause}"
                self._hooks.emit(ComponentFailed(f"controller {controller.name}", text, delay))
                _log.exception("controller %s failed; it starts again in %.1f s", controller.name, delay)
                await self._clock.sleep(delay)
                self._failed.pop(controller.name, None)
            else:
                return

    def _readings(self) -> Iterable[Reading]:
        for controller in self.controllers:
            yield from controller.readings()
        for informer in self.cache.informers:
            statistics = informer.statistics()
            labels = (statistics.resource,)
            yield Reading("reconcile_informer_objects", labels, statistics.objects)
            yield Reading("reconcile_informer_bytes", labels, statistics.bytes_cached)
            yield Reading("reconcile_informer_quarantined", labels, statistics.quarantined)
            yield Reading("reconcile_informer_synced", labels, statistics.has_synced)
            if statistics.last_event_age_seconds is not None:
                yield Reading("reconcile_informer_last_event_age_seconds", labels, statistics.last_event_age_seconds)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure to report: ours before others, and never a group."""
    flat: list[BaseException] = []
    pending: list[BaseException] = list(failures.exceptions)
    while pending:
        one = pending.pop(0)
        if isinstance(one, BaseExceptionGroup):
            pending.extend(one.exceptions)
        else:
            flat.append(one)
    return next((one for one in flat if isinstance(one, ReconcileError)), flat[0])
