"""The read-your-writes gate of one controller: parks a key while a cache is behind what the key wrote.

Guarantees:
    * A parked key holds no worker. It is let go as soon as the caches show its writes, by a plain call from the
      informer, and in any case once it has waited for ``settle_seconds_max``.
    * The others do not pay for it: a change of a cache costs what it lets go, however many keys are parked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from reconcile.core.freshness import Floor, Freshness
from reconcile.core.parking import Parking
from reconcile.instrumentation.hooks import Hooks, Parked
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Resource
from reconcile.runtime.clock import Clock
from reconcile.runtime.informer import Informer
from reconcile.runtime.reflector import Reflector
from reconcile.runtime.workqueue import WorkQueue

Place = tuple[Reflector, ...]
"""The list-watches that will hear of a written object."""


class OwnWrites:
    """Asks ``freshness`` before a key may run.

    Args:
        controller: its name.
        informers: those of the controller, by the resource that they watch.
        settle_seconds_max: how long a key waits at most.
    """

    def __init__(
        self,
        controller: str,
        freshness: Freshness[ObjectKey],
        queue: WorkQueue[ObjectKey],
        informers: Mapping[Resource, Sequence[Informer]],
        *,
        settle_seconds_max: float,
        clock: Clock,
        hooks: Hooks,
    ) -> None:
        self._controller = controller
        self._freshness = freshness
        self._queue = queue
        self._informers = informers
        self._settle_seconds_max = settle_seconds_max
        self._clock = clock
        self._hooks = hooks
        self._parking: Parking[ObjectKey, Place] = Parking(self._place_of, _slowest)
        # Since when keys are parked, longest first, and the resource that they waited for first.
        self._waiting: dict[ObjectKey, tuple[float, str]] = {}

    def start(self) -> None:
        """Hear from the informers from now on."""
        for resource, informers in self._informers.items():
            for informer in informers:
                informer.subscribe(functools.partial(self._heard, resource), from_now=True)
                informer.on_progress(self._let_go)

    def must_wait(self, key: ObjectKey) -> bool:
        """Park the key, which a worker has just taken, while the cache is behind its own writes, up to the bound."""
        self._parking.discard(key)
        now = self._clock.monotonic()
        waiting = self._waiting.get(key)
        floor = self._freshness.blocked(key, self._version_of, self._uid_of)
        if floor is None:
            if waiting is not None:
                self._tell(key, waiting, now, timed_out=False)
            return False
        if waiting is not None and now - waiting[0] >= self._settle_seconds_max:
            self._freshness.give_up(key)
            self._tell(key, waiting, now, timed_out=True)
            return False
        self._waiting.setdefault(key, (now, str(floor.resource)))
        self._queue.park(key)
        self._parking.add(key, floor)
        return True

    def let_overdue_go(self) -> None:
        """Let keys go that have waited for so long as they may."""
        latest = self._clock.monotonic() - self._settle_seconds_max
        for key, (since, _) in self._waiting.items():
            if since > latest:
                return
            self._queue.unpark(key)

    def sweep(self) -> None:
        """Drop floors that are met, of keys that do not run again."""
        self._freshness.sweep(self._version_of, self._uid_of)

    def _tell(self, key: ObjectKey, waiting: tuple[float, str], now: float, *, timed_out: bool) -> None:
        since, resource = waiting
        del self._waiting[key]
        self._hooks.emit(Parked(self._controller, key, resource, now - since, timed_out))

    # -- what the caches show ------------------------------------------------------------------------------------

    def _place_of(self, floor: Floor) -> Place:
        """Who will hear of the write."""
        hearing = (
            informer.hearing(floor.target, floor.uid, floor.labels)
            for informer in self._informers.get(floor.resource, ())
        )
        return tuple(reflector for reflector in hearing if reflector is not None)

    def _version_of(self, floor: Floor) -> int | None:
        """How far the slowest informer that will hear of the write has seen; None where none will."""
        return _slowest(self._place_of(floor))

    def _uid_of(self, floor: Floor) -> str | None:
        """The uid of the object that the cache holds under the written object's key."""
        for informer in self._informers.get(floor.resource, ()):
            cached = informer.store.get(floor.target)
            if cached is not None:
                return cached.uid
        return None

    # -- letting go ----------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """An informer has seen more: keys that waited for that run now."""
        self._ask_again(self._parking.met())

    def _heard(self, resource: Resource, deltas: Sequence[Delta]) -> None:
        """Objects have changed: keys that waited for that run now."""
        if self._parking:
            for delta in deltas:
                self._ask_again(self._parking.touched(resource, delta.key))

    def _ask_again(self, keys: Iterable[ObjectKey]) -> None:
        for key in keys:
            floor = self._freshness.blocked(key, self._version_of, self._uid_of)
            if floor is None:
                self._queue.unpark(key)
            else:
                self._parking.add(key, floor)


def _slowest(place: Place) -> int | None:
    """How far the slowest of them has seen; None if there are none, or their versions cannot be compared."""
    versions = [reflector.version for reflector in place]
    return min((version for version in versions if version is not None), default=None)
