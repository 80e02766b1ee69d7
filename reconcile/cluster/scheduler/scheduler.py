"""The scheduler at work: takes Pods without a node, binds them, says why it cannot, and tries again when that changes.

Guarantees:
    * One Pod at a time, higher priorities first: what one takes the next one sees, before the watch tells of it.
    * A Pod that fits nowhere is tried again when a node or another Pod has changed, not by the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.cluster.scheduler.fit import Candidate, choose
from reconcile.cluster.scheduler.view import Condition, PodSpec, PodView
from reconcile.cluster.work import send, work
from reconcile.errors import DecodeError
from reconcile.model.built_in import built_in
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.patch import StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.timestamp import render
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import Clock
from reconcile.runtime.workqueue import WorkQueue

__all__ = ["NAME", "Scheduler"]

NAME = "default-scheduler"
"""The ``spec.schedulerName`` whose Pods it takes; what the API server fills in where nothing is said."""

_log = logging.getLogger("reconcile.cluster.scheduler")

_PODS = Resource(Kind("", "v1", "Pod"), "pods")


class Scheduler:
    """One scheduler of one cluster."""

    def __init__(self, client: Client, clock: Clock) -> None:
        nodes = built_in(Kind("", "v1", "Node"))
        assert nodes is not None  # noqa: S101  it is built in
        self._client = client
        self._clock = clock
        self._cache = Cache(client, clock=clock)
        self._pods = self._cache.informer(_PODS)
        self._nodes = self._cache.informer(nodes)
        self._queue: WorkQueue[ObjectKey] = WorkQueue("scheduler", clock=clock)
        self._assumed: dict[str, tuple[str, PodSpec]] = {}
        """Bound, and not yet seen so: uid → node and spec."""
        self._waiting: dict[ObjectKey, int] = {}
        """Fit nowhere; their priorities."""
        self._pods.subscribe(self._pods_changed)
        self._nodes.subscribe(self._nodes_changed)

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._cache.run)
            await self._cache.wait_synced()
            await work(self._queue, self._schedule)

    # -- what changes -------------------------------------------------------------------------------------------------

    def _pods_changed(self, deltas: Sequence[Delta], /) -> None:
        for delta in deltas:
            pod = delta.new
            view = None if pod is None else pod.decode(PodView)
            if delta.old is not None and (pod is None or pod.uid != delta.old.uid):
                self._assumed.pop(delta.old.uid, None)
            if pod is not None and view is not None and view.spec.node_name:
                self._assumed.pop(pod.uid, None)
            if pod is None or view is None or view.spec.node_name or view.has_ended:
                self._waiting.pop(delta.key, None)
            elif delta.old is None or delta.old.field("spec") != pod.field("spec"):
                self._waiting.pop(delta.key, None)
                self._queue.add(delta.key, priority=view.spec.priority)
            if delta.old is not None and delta.old.decode(PodView).spec.node_name and (view is None or view.has_ended):
                self._retry()  # room was made

    def _nodes_changed(self, deltas: Sequence[Delta], /) -> None:
        del deltas
        self._retry()

    def _retry(self) -> None:
        for key, priority in self._waiting.items():
            self._queue.add(key, priority=priority)
        self._waiting.clear()

    # -- one Pod ------------------------------------------------------------------------------------------------------

    async def _schedule(self, key: ObjectKey) -> None:
        pod = self._pods.store.get(key)
        if pod is None or pod.is_deleting or pod.uid in self._assumed:
            return
        view = pod.decode(PodView)
        if view.spec.node_name or view.has_ended or view.spec.scheduler_name != NAME:
            return
        if view.spec.scheduling_gates:  # the API server has said so in the Pod's status; their removal wakes it
            return
        choice = choose(view.spec, self._candidates())
        if choice.node:
            await self._bind(pod, choice.node, view.spec)
            return
        self._waiting[key] = view.spec.priority
        await self._say(pod, choice.message)

    def _candidates(self) -> Sequence[Candidate]:
        specs: dict[str, list[PodSpec]] = {}
        for pod in self._pods.store.list():
            view = pod.decode(PodView)
            if view.spec.node_name and not view.has_ended:
                specs.setdefault(view.spec.node_name, []).append(view.spec)
        for node, spec in self._assumed.values():
            specs.setdefault(node, []).append(spec)
        candidates = []
        for one in self._nodes.store.list():
            try:
                candidates.append(Candidate.of(one, specs.get(one.name, ())))
            except DecodeError as error:
                _log.warning("%s takes no Pods: %s", one, error)
        return sorted(candidates, key=lambda one: one.name)

    async def _bind(self, pod: Object, node: str, spec: PodSpec) -> None:
        self._assumed[pod.uid] = (node, spec)
        if not await send(self._client, writes.bind(_PODS, pod.key, node, uid=pod.uid)):
            self._assumed.pop(pod.uid, None)

    async def _say(self, pod: Object, message: str) -> None:
        """Write why it is not scheduled, if that is not written there already."""
        said = Condition("PodScheduled", "False", "Unschedulable", message)
        if said in (pod.decode(PodView).status.conditions or ()):
            return
        condition = {
            "type": said.type,
            "status": said.status,
            "reason": said.reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": render(self._clock.wall()),
        }
        patch = StrategicMergePatch({"status": {"conditions": [condition]}})
        await send(self._client, writes.patch(_PODS, pod.key, patch, subresource="status", uid=pod.uid))
