"""The namespace controller: empties a namespace that is being deleted, says what is left, and lets it go.

Source: "Namespaces" and "Finalizers" in the Kubernetes documentation; the conditions of NamespaceStatus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio

from reconcile.client import paths, writes
from reconcile.client.api import Client
from reconcile.client.transport import HTTPRequest
from reconcile.cluster.served import deletable_resources
from reconcile.cluster.work import send, work
from reconcile.model import json
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.patch import StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.timestamp import render
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import Clock
from reconcile.runtime.workqueue import WorkQueue

__all__ = ["NamespaceController", "conditions"]

FINALIZER = "kubernetes"
"""In ``spec.finalizers`` of every namespace."""

LOOK_SECONDS = 1.0
"""How often it looks whether what was deleted is gone: Pods may take their grace period."""

_NAMESPACES = Resource(Kind("", "v1", "Namespace"), "namespaces", namespaced=False)


def conditions(left: Counter[str], finalizers: Counter[str], now: str) -> list[dict[str, Any]]:
    """What is left in a namespace, as its conditions: how many of each resource, and of each finalizer."""
    content = ", ".join(f"{resource} has {number} resource instances" for resource, number in sorted(left.items()))
    holders = ", ".join(f"{name} in {number} resource instances" for name, number in sorted(finalizers.items()))
    said = [
        (
            "NamespaceContentRemaining",
            "SomeResourcesRemain" if left else "ContentRemoved",
            f"Some resources are remaining: {content}" if left else "All content successfully removed",
            bool(left),
        ),
        (
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {holders}"
            if finalizers
            else "All content-preserving finalizers finished",
            bool(finalizers),
        ),
    ]
    return [
        {"type": kind, "status": str(value), "reason": reason, "message": message, "lastTransitionTime": now}
        for kind, reason, message, value in said
    ]


class NamespaceController:
    """Empties the namespaces of one cluster."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._cache = Cache(client, clock=clock)
        self._namespaces = self._cache.informer(_NAMESPACES)
        self._namespaces.subscribe(self._changed)
        self._queue: WorkQueue[ObjectKey] = WorkQueue("namespaces", clock=clock)

    async def run(self) -> None:
        """Work until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._cache.run)
            await work(self._queue, self._look)

    def _changed(self, deltas: Sequence[Delta], /) -> None:
        for delta in deltas:
            if delta.new is not None and delta.new.is_deleting:
                self._queue.add(delta.key)

    async def _look(self, key: ObjectKey) -> None:
        namespace = self._namespaces.store.get(key)
        if namespace is None or FINALIZER not in _finalizers(namespace):
            return
        left, finalizers = await self._emptied(key.name)
        if left:
            await self._say(namespace, left, finalizers)
            self._queue.add_after(key, LOOK_SECONDS)
            return
        body = namespace.to_dict()
        body["spec"] = {**body["spec"], "finalizers": [one for one in _finalizers(namespace) if one != FINALIZER]}
        if not await send(self._client, writes.update(_NAMESPACES, from_plain(body), subresource="finalize")):
            self._queue.add_after(key, LOOK_SECONDS)  # it has changed, or is gone

    async def _emptied(self, name: str) -> tuple[Counter[str], Counter[str]]:
        """Ask for the deletion of all content; what is there after that, and what holds it."""
        left: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        options = json.encode({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
        for resource in await deletable_resources(self._client):
            if not resource.namespaced:
                continue
            path = paths.collection_path(resource, name)
            page = await self._client.list_page(resource, namespace=name, limit=0, metadata_only=True)
            objects, _ = page.decode()
            if any(not one.is_deleting for one in objects):
                await self._client.request(HTTPRequest("DELETE", path, body=options))
                page = await self._client.list_page(resource, namespace=name, limit=0, metadata_only=True)
                objects, _ = page.decode()
            if objects:
                left[resource.group_resource] = len(objects)
                finalizers.update(finalizer for one in objects for finalizer in one.finalizers)
        return left, finalizers

    async def _say(self, namespace: Object, left: Counter[str], finalizers: Counter[str]) -> None:
        """Write the conditions, if they say something new."""
        wanted = conditions(left, finalizers, render(self._clock.wall()))
        written = {one["type"]: one for one in (namespace.field("status") or {}).get("conditions") or ()}
        news = [one for one in wanted if written.get(one["type"], {}).get("message") != one["message"]]
        if news:
            patch = StrategicMergePatch({"status": {"conditions": news}})
            await send(
                self._client,
                writes.patch(_NAMESPACES, namespace.key, patch, subresource="status", uid=namespace.uid),
            )


def _finalizers(namespace: Object) -> Sequence[str]:
    return (namespace.field("spec") or {}).get("finalizers") or ()
