"""Node lifecycle: a node whose Lease is stale becomes Unknown, and the taints of nodes follow their Ready condition.

Source: "Nodes" (heartbeats) and "Taints and Tolerations" (taint based evictions) in the Kubernetes documentation.
Caveat: Pods on a lost node are not evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import anyio

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.cluster.work import send, work
from reconcile.errors import DecodeError
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.patch import MergePatch, StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.scope import Scope
from reconcile.model.timestamp import parse, render
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import Clock
from reconcile.runtime.workqueue import WorkQueue

GRACE_SECONDS = 50.0
"""So long after the last word of a node it counts as lost (kube-controller-manager's node-monitor-grace-period)."""

_NODES = Resource(Kind("", "v1", "Node"), "nodes", namespaced=False)
_LEASES = Resource(Kind("coordination.k8s.io", "v1", "Lease"), "leases")
_LEASE_NAMESPACE = "kube-node-lease"

_NOT_READY: Final = "node.kubernetes.io/not-ready"
_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_CORDONED: Final = "node.kubernetes.io/unschedulable"
_EFFECTS: Final = ("NoSchedule", "NoExecute")


def taints_of(ready: str, taints: Sequence[Mapping[str, Any]], *, is_cordoned: bool, now: str) -> list[dict[str, Any]]:
    """The taints that a node should have, beside those of others. ``ready`` is the Ready condition's status."""
    wanted: list[tuple[str, str]] = [(_CORDONED, "NoSchedule")] if is_cordoned else []
    if ready != "True":
        wanted += [(_NOT_READY if ready == "False" else _UNREACHABLE, effect) for effect in _EFFECTS]
    ours = {*((key, effect) for key in (_NOT_READY, _UNREACHABLE) for effect in _EFFECTS), (_CORDONED, "NoSchedule")}
    there = {(one["key"], one["effect"]) for one in taints}
    kept = [dict(one) for one in taints if (one["key"], one["effect"]) not in ours - set(wanted)]
    added = [{"key": key, "effect": effect, "timeAdded": now} for key, effect in wanted if (key, effect) not in there]
    return [*kept, *added]


class NodeLifecycle:
    """Watches over the nodes of one cluster."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._cache = Cache(client, clock=clock)
        self._nodes = self._cache.informer(_NODES)
        self._leases = self._cache.informer(_LEASES, scope=Scope((_LEASE_NAMESPACE,)))
        self._queue: WorkQueue[ObjectKey] = WorkQueue("node-lifecycle", clock=clock)
        self._nodes.subscribe(self._changed)
        self._leases.subscribe(self._changed)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._cache.run)
            await self._cache.wait_synced()
            await work(self._queue, self._look)

    def _changed(self, deltas: Iterable[Delta], /) -> None:
        for delta in deltas:
            self._queue.add(ObjectKey("", delta.key.name))

    async def _look(self, key: ObjectKey) -> None:
        node = self._nodes.store.get(key)
        if node is None:
            return None
        now = self._clock.wall()
        status, spec = node.field("status") or {}, node.field("spec") or {}
        ready = next((one for one in status.get("conditions") or () if one["type"] == "Ready"), None)
        silent_seconds = (now - self._heard_of(node, ready)).total_seconds()
        if silent_seconds < GRACE_SECONDS:
            self._queue.add_after(key, GRACE_SECONDS - silent_seconds)
        elif ready is None or ready["status"] != "Unknown":
            return await self._lose(node, now)
        taints = spec.get("taints") or []
        word = ready["status"] if ready is not None else "False"
        wanted = taints_of(word, taints, is_cordoned=bool(spec.get("unschedulable")), now=render(now))
        if wanted != taints:
            patch = MergePatch({"spec": {"taints": wanted or None}})
            # A taint is somebody else's to add meanwhile: the version is a precondition.
            await send(self._client, writes.patch(_NODES, key, patch, resource_version=node.resource_version))
        return None

    def _heard_of(self, node: Object, ready: Mapping[str, Any] | None) -> datetime:
        """When the node last said something: in its Lease or its status, or when it was made."""
        lease = self._leases.store.get(ObjectKey(_LEASE_NAMESPACE, node.name))
        said = [
            node.metadata.creation_timestamp,
            (lease.field("spec") or {}).get("renewTime") if lease is not None else None,
            ready.get("lastHeartbeatTime") if ready is not None else None,
        ]
        times = []
        for text in said:
            try:
                times += [parse(text)] if text else []
            except DecodeError:
                continue  # somebody wrote nonsense into a Lease: the node has not said it
        return max(times)

    async def _lose(self, node: Object, now: datetime) -> None:
        condition = {
            "type": "Ready",
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": render(now),
        }
        patch = StrategicMergePatch({"status": {"conditions": [condition]}})
        await send(self._client, writes.patch(_NODES, node.key, patch, subresource="status", uid=node.uid))
