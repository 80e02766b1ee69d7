"""Parking against the dumb scan that asks every parked key at every change of a cache: both let the same keys go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconcile.core.freshness import Floor, Freshness
from reconcile.core.parking import STALE_MAX, Parking
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.resource import Kind, Resource
from reconcile.model.write import Applied, Verb, Write

PODS = Resource(Kind("", "v1", "Pod"), "pods")
KEYS = [ObjectKey("n", f"k{number}") for number in range(4)]
SELECTORS = ("a", "b")

KEY = st.sampled_from(KEYS)
TARGET = st.sampled_from([ObjectKey("n", name) for name in "xyz"])
LABELS = st.sampled_from(["", "a", "b", "ab"])
INFORMER = st.sampled_from(range(len(SELECTORS)))


@attrs.define
class Watcher:
    """An informer: sees the log in order, and keeps what its selector admits."""

    selector: str
    position: int = 0
    version: int = 0
    is_opaque: bool = False
    cached: dict[ObjectKey, str] = attrs.field(factory=dict)

    def hears_of(self, floor: Floor) -> bool:
        return self.selector in floor.labels.get("of", "") or self.cached.get(floor.target) == floor.uid


class ParkingMachine(RuleBasedStateMachine):
    """Two informers with different selectors see one log of changes; keys write, are parked, and run again."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[ObjectKey, str, str]] = []  # target, uid, labels; "" for gone
        self.present: dict[ObjectKey, str] = {}
        self.watchers = [Watcher(selector) for selector in SELECTORS]
        self.gate: Freshness[ObjectKey] = Freshness()
        self.dumb: Freshness[ObjectKey] = Freshness()
        self.parking: Parking[ObjectKey, tuple[int, ...]] = Parking(self.place_of, self.reached)
        self.parked: set[ObjectKey] = set()
        self.let_go: set[ObjectKey] = set()
        self.let_go_by_scan: set[ObjectKey] = set()

    def place_of(self, floor: Floor) -> tuple[int, ...]:
        return tuple(number for number, watcher in enumerate(self.watchers) if watcher.hears_of(floor))

    def reached(self, place: tuple[int, ...]) -> int | None:
        versions = [self.watchers[number].version for number in place if not self.watchers[number].is_opaque]
        return min(versions, default=None)

    def version_of(self, floor: Floor) -> int | None:
        return self.reached(self.place_of(floor))

    def uid_of(self, floor: Floor) -> str | None:
        return next((uid for one in self.watchers if (uid := one.cached.get(floor.target)) is not None), None)

    def change(self, target: ObjectKey, labels: str, *, gone: bool = False) -> Object:
        uid = self.present.get(target) or f"u{len(self.log)}"
        self.log.append((target, "" if gone else uid, labels))
        if gone:
            self.present.pop(target, None)
        else:
            self.present[target] = uid
        version = str(len(self.log))
        metadata = ObjectMeta(
            name=target.name, namespace=target.namespace, uid=uid, resource_version=version, labels={"of": labels}
        )
        return Object(PODS.kind, metadata)

    @rule(key=KEY, writes=st.lists(st.tuples(TARGET, LABELS | st.none()), min_size=1, max_size=3))
    def write(self, key: ObjectKey, writes: list[tuple[ObjectKey, str | None]]) -> None:
        """The key runs, writes these objects (or deletes one, answered without an object), and is taken again."""
        if key in self.parked:
            return
        for written, labels in writes:
            if labels is not None:
                applied, uid = Applied(Write(Verb.PATCH, PODS, written, "/"), self.change(written, labels)), ""
            elif written in self.present:
                uid = self.present[written]
                self.change(written, "", gone=True)
                applied = Applied(Write(Verb.DELETE, PODS, written, "/"), None)
            else:
                continue
            for gate in (self.gate, self.dumb):
                gate.record(key, applied, uid=uid)
        self.run(key)

    @rule(written=TARGET, labels=LABELS, gone=st.booleans())
    def somebody_else_writes(self, written: ObjectKey, labels: str, gone: bool) -> None:
        if not gone or written in self.present:
            self.change(written, labels, gone=gone)

    @rule(key=KEY)
    def run(self, key: ObjectKey) -> None:
        """A worker takes the key: it runs, or is parked (again)."""
        self.parking.discard(key)
        floor = self.gate.blocked(key, self.version_of, self.uid_of)
        assert (floor is None) == (self.dumb.blocked(key, self.version_of, self.uid_of) is None)
        self.parked.discard(key)
        self.let_go.discard(key)
        self.let_go_by_scan.discard(key)
        if floor is not None:
            self.parked.add(key)
            self.parking.add(key, floor)

    @rule(number=INFORMER, events=st.integers(0, 4))
    def informer_advances(self, number: int, events: int) -> None:
        watcher = self.watchers[number]
        seen = self.log[watcher.position : watcher.position + events]
        for target, uid, labels in seen:
            if uid and watcher.selector in labels:
                watcher.cached[target] = uid
            else:
                watcher.cached.pop(target, None)
        watcher.position += len(seen)
        watcher.version = watcher.position
        for target, _, _ in seen:
            self.ask_again(self.parking.touched(PODS, target))
        self.progress()

    @rule(number=INFORMER, chance=st.integers(0, 9))
    def versions_can_no_longer_be_compared(self, number: int, chance: int) -> None:
        """Seldom, and for good: a list told none."""
        self.watchers[number].is_opaque |= chance == 0
        self.progress()

    @rule(key=KEY)
    def give_up(self, key: ObjectKey) -> None:
        """The bound on waiting has passed."""
        if key in self.parked:
            for gate in (self.gate, self.dumb):
                gate.give_up(key)
            self.run(key)

    def progress(self) -> None:
        self.ask_again(self.parking.met())
        for key in self.parked:
            if self.dumb.blocked(key, self.version_of, self.uid_of) is None:
                self.let_go_by_scan.add(key)

    def ask_again(self, keys: Iterable[ObjectKey]) -> None:
        for key in keys:
            floor = self.gate.blocked(key, self.version_of, self.uid_of)
            if floor is None:
                self.let_go.add(key)
            else:
                self.parking.add(key, floor)

    @invariant()
    def the_same_keys_are_let_go(self) -> None:
        assert self.let_go == self.let_go_by_scan
        assert len(self.parking) == len(self.parked - self.let_go)


ParkingMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestParking = ParkingMachine.TestCase


def floor_at(version: int) -> Floor:
    return Floor(PODS, ObjectKey("n", "x"), "u", version, deleted=False, object=None)


def seconds_of(function: Callable[[], object], times: int = 20) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return best


def test_a_change_that_lets_none_go_costs_the_same_with_ten_thousand_parked() -> None:
    """Not a look at each: with 10 000 parked keys a scan took 4.6 ms a change, and this takes 0.2 µs."""
    parking: Parking[int, str] = Parking(lambda _floor: "here", lambda _place: 5)
    for key in range(10_000):
        parking.add(key, floor_at(1_000 + key))
    assert parking.met() == []
    assert seconds_of(parking.met) < 100e-6


def test_what_is_met_comes_in_the_order_of_versions() -> None:
    """Whoever wrote first runs first."""
    reached = 0
    parking: Parking[int, str] = Parking(lambda _floor: "here", lambda _place: reached)
    for key in (3, 1, 2):
        parking.add(key, floor_at(key))
    reached = 2
    assert parking.met() == [1, 2]
    reached = 9
    assert parking.met() == [3]
    assert len(parking) == 0


@pytest.mark.parametrize("keys", [1, 50])
def test_keys_that_are_parked_again_and_again_leave_little_behind(keys: int) -> None:
    """Neither a cache that never advances, nor one object that changes all the time, costs memory without end."""
    parking: Parking[int, str] = Parking(lambda _floor: "here", lambda _place: 0)
    floor = floor_at(1)
    for turn in range(10_000):
        parking.add(turn % keys, floor if turn % 3 else floor_at(turn + 1))
    (heap,) = parking._places.values()
    assert len(heap) <= 2 * keys + STALE_MAX
