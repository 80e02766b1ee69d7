"""The garbage collector at work: the metadata of everything that is served, and an object looked at when it may matter.

Guarantees:
    * An owner counts as absent only when the server has said so in answer to a read of its own.
    * Every write has the object's uid, and where it changes references or finalizers its version, as a precondition.

Caveat: a resource that a CustomResourceDefinition adds is collected once the definition has been seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import anyio
import attrs

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.cluster.garbage_collector.plan import (
    Action,
    Collect,
    Delete,
    KeepOwners,
    Orphan,
    OwnerState,
    Release,
    decide,
    is_waiting,
)
from reconcile.cluster.served import deletable_resources
from reconcile.cluster.work import send, work
from reconcile.errors import NotFoundError
from reconcile.model import json
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.meta import OwnerReference
from reconcile.model.object import Object
from reconcile.model.patch import MergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import Clock
from reconcile.runtime.informer import Informer
from reconcile.runtime.workqueue import WorkQueue

__all__ = ["GarbageCollector"]

_DEFINITIONS = Resource(
    Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "customresourcedefinitions", namespaced=False
)
_OWNERS = "owners"
"""Index: the uids of all owners, controllers or not."""
_EVENTS = "events"
"""Own nothing, and are owned by nothing that is collected."""


@attrs.frozen
class Item:
    """One object, by where it is."""

    resource: Resource
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.resource} {self.key}"


class GarbageCollector:
    """Collects the garbage of one cluster."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._cache = Cache(client, clock=clock)
        self._informers: dict[Resource, Informer] = {}
        self._places: dict[str, Item] = {}
        """uid → where it is."""
        self._queue: WorkQueue[Item] = WorkQueue("garbage-collector", clock=clock)
        self._definitions_changed = anyio.Event()

    async def run(self) -> None:
        """Collect until cancelled."""
        await self._follow_all()
        async with anyio.create_task_group() as group:
            group.start_soon(self._cache.run)
            group.start_soon(self._follow_definitions)
            await self._cache.wait_synced()
            await work(self._queue, self._look)

    # -- what is there ------------------------------------------------------------------------------------------------

    async def _follow_all(self) -> None:
        for resource in await deletable_resources(self._client):
            if resource in self._informers or resource.group_resource == _EVENTS:
                continue
            informer = self._cache.informer(resource, metadata_only=True, indexes={_OWNERS: _owners})
            self._informers[resource] = informer
            informer.subscribe(_Follower(self, resource).changed)

    async def _follow_definitions(self) -> None:
        """What definitions add is followed too."""
        while True:
            await self._definitions_changed.wait()
            self._definitions_changed = anyio.Event()
            await self._follow_all()

    def changed(self, resource: Resource, deltas: Sequence[Delta]) -> None:
        """Objects of a resource have changed."""
        if resource == _DEFINITIONS:
            self._definitions_changed.set()
        for delta in deltas:
            old, new = delta.old, delta.new
            if old is not None and (new is None or new.uid != old.uid):
                self._places.pop(old.uid, None)
                for item, _ in self._dependents(old.uid):
                    self._queue.add(item)
            if new is not None:
                self._places[new.uid] = Item(resource, delta.key)
                if new.owner_references or new.is_deleting:
                    self._queue.add(Item(resource, delta.key))
            for reference in () if old is None else old.owner_references:
                place = self._places.get(reference.uid)
                if place is not None:  # one that waits may have waited for this
                    self._queue.add(place)

    def _dependents(self, uid: str) -> Sequence[tuple[Item, Object]]:
        return [
            (Item(resource, one.key), one)
            for resource, informer in self._informers.items()
            for one in informer.store.indexed(_OWNERS, uid)
        ]

    # -- one object ---------------------------------------------------------------------------------------------------

    async def _look(self, item: Item) -> None:
        obj = self._informers[item.resource].store.get(item.key)
        if obj is None:
            return
        found = self._dependents(obj.uid)
        places, dependents = {one.uid: place for place, one in found}, [one for _, one in found]
        owners = {} if obj.is_deleting else {one.uid: await self._state(obj, one) for one in obj.owner_references}
        await self._act(item, obj, decide(obj, owners, dependents), places)

    async def _act(self, item: Item, obj: Object, action: Action, places: Mapping[str, Item]) -> None:
        """Do it. ``places``: of the dependents, by uid."""
        resource, key = item.resource, item.key
        match action:
            case None:
                return
            case Delete(policy=policy):
                await send(self._client, writes.delete(resource, key, uid=obj.uid, propagation=policy))
            case KeepOwners(references=references):
                await self._set_owners(item, obj, references)
            case Collect(dependents=dependents):
                for one in dependents:
                    self._queue.add(places[one.uid])
            case Orphan(dependents=dependents):
                for one in dependents:
                    others = tuple(each for each in one.owner_references if each.uid != obj.uid)
                    await self._set_owners(places[one.uid], one, others)
            case Release(finalizer=finalizer):
                finalizers = [one for one in obj.finalizers if one != finalizer]
                patch = MergePatch({"metadata": {"finalizers": finalizers or None}})
                await send(
                    self._client,
                    writes.patch(resource, key, patch, uid=obj.uid, resource_version=obj.resource_version),
                )
            case _:
                assert_never(action)

    async def _set_owners(self, item: Item, obj: Object, references: Sequence[OwnerReference]) -> None:
        patch = MergePatch({"metadata": {"ownerReferences": [json.to_plain(one) for one in references] or None}})
        write = writes.patch(item.resource, item.key, patch, uid=obj.uid, resource_version=obj.resource_version)
        await send(self._client, write)

    async def _state(self, obj: Object, reference: OwnerReference) -> OwnerState:
        """What has become of an owner. Raises ApiError, UnknownKindError where that cannot be said."""
        resource = await self._client.resource(Kind.of(reference.api_version, reference.kind))
        if resource.namespaced and not obj.namespace:
            return OwnerState.THERE  # a mistake of whoever wrote it, and no reason to delete anything
        key = ObjectKey(obj.namespace if resource.namespaced else "", reference.name)
        place = self._places.get(reference.uid)
        owner = None if place is None else self._informers[place.resource].store.get(place.key)
        if owner is None or owner.key != key or owner.uid != reference.uid:
            try:
                owner = await self._client.get(resource, key)
            except NotFoundError:
                return OwnerState.ABSENT
            if owner.uid != reference.uid:
                return OwnerState.ABSENT
        return OwnerState.WAITING if is_waiting(owner) else OwnerState.THERE


def _owners(obj: Object) -> Sequence[str]:
    return [one.uid for one in obj.owner_references]


@attrs.frozen(eq=False)
class _Follower:
    """A subscriber that knows the resource."""

    collector: GarbageCollector
    resource: Resource

    def changed(self, deltas: Sequence[Delta], /) -> None:
        """Pass it on."""
        self.collector.changed(self.resource, deltas)
