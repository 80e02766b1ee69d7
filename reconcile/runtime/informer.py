"""Informer: keeps one resource's objects in a store, and calls its subscribers with what changed.

One list-watch a namespace of the scope, or one for all namespaces; a Role in each namespace is enough for the former.

Guarantees:
    * Subscribers are called in order, with deltas that chain (each ``old`` is the former ``new``), by a plain call: no
      buffer and no task between the stream and the queue.
    * One that subscribes late first gets the present state, as new objects, in portions: a change of an object that it
      has not been told of yet is part of that object's present state when its turn comes.
    * One that raises is reported; neither the informer nor the other subscribers notice.
    * ``has_synced`` is true once the first full state of every namespace has been told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import anyio
import anyio.abc
import anyio.lowlevel
import attrs

from reconcile.client.api import Client
from reconcile.core.index import IndexFunction
from reconcile.core.reflector import SyncMode
from reconcile.core.store import Store, StoreReader
from reconcile.core.table import Transform
from reconcile.errors import NotSyncedError, UsageError
from reconcile.instrumentation.hooks import ComponentFailed, Hooks, Quarantined
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Resource
from reconcile.model.scope import Scope
from reconcile.model.selector import LabelSelector, check_field_selector
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock
from reconcile.runtime.reflector import PORTION, Reflector, View

_log = logging.getLogger("reconcile.informer")

Subscriber: TypeAlias = Callable[[Sequence[Delta]], None]


@attrs.define(eq=False)
class _Subscription:
    """A subscriber, and the objects present when it came that it has not been told of yet."""

    subscriber: Subscriber
    untold: dict[ObjectKey, None]

    def without_untold(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """What it can be told now. Of the others it hears when their turn comes, or never if they are gone by then."""
        return [delta for delta in deltas if delta.key not in self.untold] if self.untold else deltas


@attrs.frozen
class InformerStatistics:
    """An informer at one moment."""

    resource: str
    objects: int
    bytes_cached: int
    quarantined: int
    relists: int
    ignored_events: int
    has_synced: bool
    last_event_age_seconds: float | None


class Informer:
    """The cache of one resource in one scope, under one pair of selectors.

    Args:
        scope: the namespaces; for a cluster-scoped resource there can only be all.
        label_selector, field_selector: narrow what the server sends; an object that leaves them counts as gone.
        metadata_only: cache ``PartialObjectMetadata``.
        indexes: named functions from an object to the values under which it is found.
        transform: changes each object before it is stored, such as dropping annotations that nobody reads.
        resync_seconds: tell subscribers of every object again at this interval; None for never.
        watch_list: ask for the full state as a stream (KEP-3157), which is kinder to the server's memory, instead of
            pages. Pages are the default because they are faster: 10 000 Pods from kube-apiserver 1.37 took 0.45 s and
            0.30 s of CPU in pages of 500, 0.70 s and 0.39 s as a stream, and the same memory. A server that does not
            stream is asked for pages.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        scope: Scope = Scope(),  # noqa: B008  a frozen value
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexes: Mapping[str, IndexFunction] | None = None,
        transform: Transform | None = None,
        resync_seconds: float | None = None,
        watch_list: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        hooks: Hooks | None = None,
    ) -> None:
        if scope.namespaces and not resource.namespaced:
            raise UsageError(f"{resource} has no namespaces: watch it without a namespace, not in {scope}")
        if resync_seconds is not None and not resync_seconds > 0:
            raise UsageError(f"informer of {resource}: resync_seconds={resync_seconds!r}: want more than 0, or None")
        self.resource = resource
        self.scope = scope
        self.label_selector = label_selector
        self.field_selector = check_field_selector(field_selector)
        self.metadata_only = metadata_only
        self.in_initial_sync = False
        """True during a subscriber's call whose deltas are part of a first full state: nothing has changed, so the keys
        may wait behind those of changes."""
        self._selector = LabelSelector.parse(label_selector)
        self._hooks = hooks if hooks is not None else Hooks()
        self._store = Store(scope.partitions, indexes=indexes, transform=transform, listener=self)
        self.resync_seconds = resync_seconds
        self._clock = clock
        self._subscriptions: list[_Subscription] = []
        self._progress: list[Callable[[], None]] = []
        self._synced = anyio.Event()
        self._group: anyio.abc.TaskGroup | None = None
        mode = SyncMode(watch_list=watch_list)
        self._reflectors = {
            namespace: Reflector(
                client,
                View(resource, namespace, label_selector, field_selector, metadata_only),
                self._store,
                self,
                mode=mode,
                clock=clock,
                hooks=self._hooks,
            )
            for namespace in scope.partitions
        }

    def __repr__(self) -> str:
        return f"<Informer {self} {len(self._store)} objects>"

    def __str__(self) -> str:
        selectors = "".join(f" [{text}]" for text in (self.label_selector, self.field_selector) if text)
        return f"{self.resource} in {self.scope}{selectors}"

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def store(self) -> StoreReader:
        """What is cached."""
        return self._store

    @property
    def has_synced(self) -> bool:
        """Whether the first full state of every namespace has been told."""
        return self._synced.is_set()

    async def wait_synced(self, timeout_seconds: float | None = None) -> None:
        """Until ``has_synced``. Raises NotSyncedError, naming the resource and what it waits for, after the timeout."""
        if timeout_seconds is None:
            await self._synced.wait()
            return
        async with anyio.create_task_group() as group:

            async def give_up(seconds: float) -> None:
                await self._clock.sleep(seconds)
                group.cancel_scope.cancel()

            group.start_soon(give_up, timeout_seconds)
            await self._synced.wait()
            group.cancel_scope.cancel()
        if not self.has_synced:
            raise NotSyncedError(f"{self}: no full state after {timeout_seconds:g} s: {self.state}")

    def covers(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether an object in that namespace with these labels is certainly seen by this informer."""
        return not self.field_selector and self.scope.covers(namespace) and self._selector.matches(labels)

    def version_of(self, namespace: str, labels: Mapping[str, str]) -> int | None:
        """How far this informer has seen that namespace, for the read-your-writes gate.

        0 before the first full state; None where such an object is not covered, or versions cannot be compared.
        """
        return self._reflector_in(namespace).version if self.covers(namespace, labels) else None

    def version_for(self, target: ObjectKey, uid: str, labels: Mapping[str, str]) -> int | None:
        """As ``version_of``, of one written object: how far the one that is ``hearing`` of it has seen."""
        reflector = self.hearing(target, uid, labels)
        return None if reflector is None else reflector.version

    def hearing(self, target: ObjectKey, uid: str, labels: Mapping[str, str]) -> Reflector | None:
        """The list-watch that will hear of a written object, or None.

        One that is cached is heard of again, whatever the selectors say: of its change if they still admit it, else of
        its departure.
        """
        cached = self._store.get(target)
        if (cached is not None and cached.uid == uid) or self.covers(target.namespace, labels):
            return self._reflector_in(target.namespace)
        return None

    def _reflector_in(self, namespace: str) -> Reflector:
        return self._reflectors.get("") or self._reflectors[namespace]

    def last_event_age_seconds(self, now: float) -> float | None:
        """Seconds since the server was last heard of, in the quietest namespace; None before its first word."""
        times = [reflector.last_event_at for reflector in self._reflectors.values()]
        heard = [at for at in times if at is not None]
        return now - min(heard) if heard and len(heard) == len(times) else None

    def bytes_cached(self) -> int:
        """Estimated memory of the cached objects."""
        return self._store.bytes_cached

    @property
    def state(self) -> str:
        """For people: what each list-watch that is not simply watching is doing."""
        states = [
            reflector.state
            for reflector in self._reflectors.values()
            if reflector.problem or not reflector.has_synced or self._group is None
        ]
        return "; ".join(states) if states else f"{self}: watching"

    @property
    def problems(self) -> Sequence[str]:
        """What keeps list-watches from going on, a line each; empty while all is well."""
        return [reflector.state for reflector in self._reflectors.values() if reflector.problem]

    def statistics(self) -> InformerStatistics:
        """The numbers of this moment."""
        return InformerStatistics(
            resource=str(self.resource),
            objects=len(self._store),
            bytes_cached=self._store.bytes_cached,
            quarantined=len(self._store.quarantined),
            relists=sum(reflector.relists for reflector in self._reflectors.values()),
            ignored_events=self._store.ignored,
            has_synced=self.has_synced,
            last_event_age_seconds=self.last_event_age_seconds(self._clock.monotonic()),
        )

    # -- being told --------------------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber, *, from_now: bool = False) -> None:
        """Call it with every change from now on, and first with what is there already, unless only ``from_now``."""
        subscription = _Subscription(subscriber, {} if from_now else dict.fromkeys(self._store.keys()))
        self._subscriptions.append(subscription)
        self._tell_portion(subscription)
        if subscription.untold and self._group is not None:
            self._group.start_soon(self._tell_the_rest, subscription)

    def on_progress(self, callback: Callable[[], None]) -> None:
        """Call it after each chunk or bookmark: ``version_of`` may have advanced. It must not raise."""
        self._progress.append(callback)

    def declare_index(self, name: str, function: IndexFunction) -> None:
        """Add a named index. Raises UsageError where the name has another function."""
        self._store.declare_index(name, function)

    # -- running -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """List and watch until cancelled. Raises only what is a fault of this program or of user code."""
        if self._group is not None:
            raise UsageError(f"{self}: this informer runs already")
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                for subscription in self._subscriptions:
                    group.start_soon(self._tell_the_rest, subscription)
                for reflector in self._reflectors.values():
                    group.start_soon(reflector.run)
                if self.resync_seconds is not None:
                    await self._resync(self.resync_seconds)
        finally:
            self._group = None

    async def _tell_the_rest(self, subscription: _Subscription) -> None:
        while subscription.untold:
            self._tell_portion(subscription)
            await anyio.lowlevel.checkpoint()

    def _tell_portion(self, subscription: _Subscription) -> None:
        portion = list(islice(subscription.untold, PORTION))
        for key in portion:
            del subscription.untold[key]
        present = [(key, self._store.get(key)) for key in portion]
        deltas = [Delta(key, None, obj) for key, obj in present if obj is not None]
        if deltas:
            self._call(subscription.subscriber, deltas, initial=True)

    async def _resync(self, interval_seconds: float) -> None:
        await self._synced.wait()
        while True:
            await self._clock.sleep(interval_seconds)
            objects = self._store.list()
            for start in range(0, len(objects), PORTION):
                same = [Delta(obj.key, obj, obj) for obj in objects[start : start + PORTION]]
                self.deltas_arrived([delta for delta in same if self._store.get(delta.key) is delta.new], initial=False)
                await anyio.lowlevel.checkpoint()

    # -- what the reflectors tell ------------------------------------------------------------------------------

    def deltas_arrived(self, deltas: Sequence[Delta], *, initial: bool) -> None:
        """Tell the subscribers."""
        for subscription in self._subscriptions:
            if told := subscription.without_untold(deltas):
                self._call(subscription.subscriber, told, initial=initial)

    def version_advanced(self) -> None:
        """Tell those who wait for a version."""
        for callback in self._progress:
            callback()

    def first_state_told(self) -> None:
        """One namespace has its first full state."""
        if all(reflector.has_synced for reflector in self._reflectors.values()):
            self._synced.set()

    # -- what the store tells ----------------------------------------------------------------------------------

    def quarantined(self, key: ObjectKey, reason: str, /) -> None:
        """Report an object that could not be decoded or transformed."""
        self._hooks.emit(Quarantined(str(self.resource), key, reason))

    def not_indexed(self, index: str, key: ObjectKey, error: Exception, /) -> None:
        """Report an index function that raised."""
        _log.error("%s: index %r raised on %s", self, index, key, exc_info=error)
        self._hooks.emit(ComponentFailed(f"index {index} of {self.resource}", repr(error), 0.0))

    def _call(self, subscriber: Subscriber, deltas: Sequence[Delta], *, initial: bool) -> None:
        self.in_initial_sync = initial
        try:
            subscriber(deltas)
        except Exception as error:  # noqa: BLE001  somebody else's code must not stop the cache
            _log.exception("%s: subscriber %r raised on %d changes", self, subscriber, len(deltas))
            self._hooks.emit(ComponentFailed(f"subscriber of {self.resource}", repr(error), 0.0))
        finally:
            self.in_initial_sync = False
