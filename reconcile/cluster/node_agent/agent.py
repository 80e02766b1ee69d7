"""The node agent at work: follows the Pods that are bound to its node, and does what ``plan`` says.

Guarantees:
    * One Pod is looked at by one task at a time; a look starts and stops containers, and waits for none of them.
    * A final phase is written only when nothing of the Pod runs any more, and a deleted Pod goes only then.
    * An agent that starts anew adopts no containers: what its Pods' status says that ran is lost, and is said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import anyio
import attrs

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.cluster.node_agent.environment import container_config
from reconcile.cluster.node_agent.node import NodeConfig, Registration
from reconcile.cluster.node_agent.plan import Moment, Plan, plan
from reconcile.cluster.node_agent.status import pod_status
from reconcile.cluster.node_agent.view import Container, ContainerRecord, PodView, records_of
from reconcile.cluster.runtimes.runtime import (
    ContainerPhase,
    ContainerRefusedError,
    ContainerStatus,
    Runtime,
    SandboxConfig,
)
from reconcile.cluster.work import send, work
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.patch import StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.timestamp import parse
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import Clock
from reconcile.runtime.workqueue import WorkQueue

__all__ = ["NodeAgent"]

WORKERS = 4
"""Pods looked at at once: a look is a few requests and process starts, all short."""

START_ERROR_CODE = 128
"""The exit code of a container that could not be started (runc's)."""

_PODS = Resource(Kind("", "v1", "Pod"), "pods")


@attrs.define(eq=False)
class _Pod:
    """A Pod that runs here, or has."""

    uid: str
    address: str
    started_at: datetime
    containers: dict[str, ContainerRecord]
    sandbox_id: str = ""
    failure: tuple[str, str] | None = None
    written: dict[str, Any] = attrs.Factory(dict[str, Any])


class NodeAgent:
    """One node."""

    def __init__(self, client: Client, runtime: Runtime, config: NodeConfig, clock: Clock) -> None:
        self._client = client
        self._runtime = runtime
        self._config = config
        self._clock = clock
        self._registration = Registration(client, config, runtime.name, clock)
        self._cache = Cache(client, clock=clock)
        self._informer = self._cache.informer(_PODS, field_selector=f"spec.nodeName={config.name}")
        self._informer.subscribe(self._changed)
        self._queue: WorkQueue[ObjectKey] = WorkQueue(f"node-{config.name}", clock=clock)
        self._pods: dict[ObjectKey, _Pod] = {}
        self._addresses = 0

    async def run(self) -> None:
        """Register the node and run its Pods until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._registration.run)
            group.start_soon(self._cache.run)
            await self._cache.wait_synced()
            for _ in range(WORKERS):
                group.start_soon(work, self._queue, self._sync)

    def _changed(self, deltas: Sequence[Delta], /) -> None:
        for delta in deltas:
            self._queue.add(delta.key)

    # -- one Pod ------------------------------------------------------------------------------------------------------

    async def _sync(self, key: ObjectKey) -> None:
        pod = self._informer.store.get(key)
        known = self._pods.get(key)
        if known is not None and (pod is None or pod.uid != known.uid):
            await self._runtime.remove_sandbox(known.sandbox_id)
            del self._pods[key]
            known = None
        if pod is None:
            return
        view = pod.decode(PodView)
        if known is None:
            if not view.has_ended:
                known = self._pods[key] = self._take_on(pod, view)
            elif not pod.is_deleting:
                return
        if known is not None and not view.has_ended:
            decided = await self._act(pod, view, known)
            await self._write(pod, view, known, decided)
            if not decided.has_ended:
                if decided.wake_seconds is not None:
                    self._queue.add_after(key, max(0.0, decided.wake_seconds))
                return
        if pod.is_deleting and pod.metadata.deletion_grace_period_seconds:
            # The kubelet's last word: nothing runs any more, so no grace is needed.
            await send(self._client, writes.delete(_PODS, key, uid=pod.uid, grace_period_seconds=0))

    def _take_on(self, pod: Object, view: PodView) -> _Pod:
        now = self._clock.wall()
        self._addresses += 1
        started_at = now if view.status.start_time is None else parse(view.status.start_time)
        return _Pod(pod.uid, self._config.pod_address(self._addresses), started_at, records_of(view, now))

    async def _act(self, pod: Object, view: PodView, known: _Pod) -> Plan:
        """Start and stop containers until there is nothing more to do now. Returns the last plan."""
        spec = view.spec
        grace_seconds = pod.metadata.deletion_grace_period_seconds if pod.is_deleting else None
        while True:
            self._look(known)
            moment = self._moment(view, known, grace_seconds)
            decided = plan(moment, self._config.restart_delays)
            if decided.reason:
                known.failure = (decided.reason, decided.message)
            for name in decided.stop:
                current = known.containers[name].current
                assert current is not None  # noqa: S101  it runs
                self._runtime.stop_container(current.id, decided.grace_seconds)
            if not decided.start:
                return decided
            if not known.sandbox_id:
                config = SandboxConfig(pod.namespace, pod.name, pod.uid, known.address)
                known.sandbox_id = await self._runtime.run_sandbox(config, partial(self._queue.add, pod.key))
            for container in spec.everything:
                if container.name in decided.start:
                    await self._start(pod, view, container, known)

    def _moment(self, view: PodView, known: _Pod, grace_seconds: float | None) -> Moment:
        return Moment(view.spec, known.containers, known.started_at, self._clock.wall(), known.failure, grace_seconds)

    def _look(self, known: _Pod) -> None:
        """Take over what the runtime says of the containers that ran when they were last looked at."""
        for record in known.containers.values():
            if record.current is not None and record.is_running:
                record.current = self._runtime.status(record.current.id)

    async def _start(self, pod: Object, view: PodView, container: Container, known: _Pod) -> None:
        """Make and start the next container of a name. What is refused is remembered, and shown in the status."""
        record = known.containers[container.name]
        restarts = record.restarts + (record.current is not None)
        host_address, now = self._config.address, self._clock.wall()
        container_id = ""
        try:
            config = container_config(
                pod,
                view.spec,
                container,
                attempt=restarts,
                node=self._config.name,
                host_address=host_address,
                address=known.address,
            )
            container_id = await self._runtime.create_container(known.sandbox_id, config)
            await self._runtime.start_container(container_id)
        except ContainerRefusedError as error:
            if not container_id:
                record.refused, record.refused_at = (error.reason, error.message), now
                return
            started = ContainerStatus(
                container_id, ContainerPhase.EXITED, now, now, START_ERROR_CODE, error.reason, error.message
            )
        else:
            started = self._runtime.status(container_id)
        record.refused = record.refused_at = None
        if record.current is not None:
            record.last, record.restarts = record.current, restarts
            record.streak = 1 if _ran_for_long(record.current, self._config) else record.streak + 1
        record.current = started

    # -- writes -------------------------------------------------------------------------------------------------------

    async def _write(self, pod: Object, view: PodView, known: _Pod, decided: Plan) -> None:
        status = pod_status(
            pod,
            self._moment(view, known, None),
            decided,
            before=known.written.get("conditions") or view.status.conditions or (),
            runtime=self._runtime.name,
            host_address=self._config.address,
            address=known.address,
        )
        if status == known.written:
            return
        patch = StrategicMergePatch({"status": status})
        await send(self._client, writes.patch(_PODS, pod.key, patch, subresource="status", uid=pod.uid))
        known.written = status


def _ran_for_long(one: ContainerStatus, config: NodeConfig) -> bool:
    if one.started_at is None or one.finished_at is None:
        return False
    return (one.finished_at - one.started_at).total_seconds() >= config.restart_delays.reset_seconds
