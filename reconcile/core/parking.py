"""Parking: which of the keys that wait for a cache a change of it may let go, found without asking all of them.

A key waits for one floor at a time (``core.freshness``). Who hears of what was written, the *place* where it waits,
sees floors met in the order of their versions; so a place's keys lie in a heap, lowest version first. A key also lies
under the object that was written: when that goes, or leaves a selector, nobody may hear of the write any more.

Guarantees:
    * ``met`` gives every key whose floor's version its place has reached, ``touched`` every key that waits for a write
      of that object. Both forget them: a key that must go on waiting is added again.
    * ``met`` costs O(log keys) for each key that it gives, ``touched`` O(1), and neither anything for the others.
    * Memory: two entries a key, and at most ``STALE_MAX`` of keys that no longer wait.

Assumptions: what a place hears of comes in the order of versions (KEP-5504).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

from reconcile.core.freshness import Floor
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Resource

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)

STALE_MAX = 1024
"""Entries of keys that wait no longer, beside as many as there are of keys that do. Then they are swept out."""


class Parking(Generic[K, T]):
    """The keys that wait, each for one floor.

    Args:
        place_of: who will hear of a floor's object.
        reached: how far a place has seen; None where its versions cannot be compared. Its keys are then always given.
    """

    def __init__(self, place_of: Callable[[Floor], T], reached: Callable[[T], int | None]) -> None:
        self._place_of = place_of
        self._reached = reached
        # Each key's floor, and the number of its one entry in a heap that counts; others are left over.
        self._floors: dict[K, tuple[Floor, int]] = {}
        self._places: dict[T, list[tuple[float, int, K]]] = {}
        self._targets: dict[tuple[Resource, ObjectKey], dict[K, None]] = {}
        self._entries = 0
        self._order = count()

    def __len__(self) -> int:
        return len(self._floors)

    def add(self, key: K, floor: Floor) -> None:
        """The key waits for this floor (and for none that it waited for before)."""
        self.discard(key)
        number = next(self._order)
        self._floors[key] = (floor, number)
        self._targets.setdefault((floor.resource, floor.target), {})[key] = None
        version = inf if floor.version is None else floor.version
        heappush(self._places.setdefault(self._place_of(floor), []), (version, number, key))
        self._entries += 1
        if self._entries > 2 * len(self._floors) + STALE_MAX:
            self._sweep()

    def discard(self, key: K) -> None:
        """The key waits no longer."""
        waiting = self._floors.pop(key, None)
        if waiting is not None:
            target = (waiting[0].resource, waiting[0].target)
            keys = self._targets[target]
            del keys[key]
            if not keys:
                del self._targets[target]

    def met(self) -> list[K]:
        """The keys whose place has reached their floor's version, or can tell none any more."""
        found: list[K] = []
        for place, heap in tuple(self._places.items()):
            reached = self._reached(place)
            while heap and (reached is None or heap[0][0] <= reached):
                _, number, key = heappop(heap)
                self._entries -= 1
                if self._counts(number, key):
                    self.discard(key)
                    found.append(key)
            if not heap:
                del self._places[place]
        return found

    def touched(self, resource: Resource, target: ObjectKey) -> list[K]:
        """The keys that wait for a write of this object, which has changed."""
        keys = list(self._targets.get((resource, target), ()))
        for key in keys:
            self.discard(key)
        return keys

    def _counts(self, number: int, key: K) -> bool:
        waiting = self._floors.get(key)
        return waiting is not None and waiting[1] == number

    def _sweep(self) -> None:
        for place, heap in tuple(self._places.items()):
            heap[:] = [entry for entry in heap if self._counts(entry[1], entry[2])]
            heapify(heap)
            if not heap:
                del self._places[place]
        self._entries = sum(map(len, self._places.values()))
