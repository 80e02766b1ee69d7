from __future__ import annotations

import pytest

from reconcile.core import freshness
from reconcile.core.freshness import Freshness
from reconcile.errors import Status, api_error
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.resource import Kind, Resource
from reconcile.model.write import Applied, Refused, Unknown, Verb, Write

PODS = Resource(Kind("", "v1", "Pod"), "pods")
MAPS = Resource(Kind("", "v1", "ConfigMap"), "configmaps")
JOB = ObjectKey("default", "job")


def write(name, verb=Verb.CREATE, resource=PODS, namespace="default"):
    return Write(verb, resource, ObjectKey(namespace, name), f"/{name}")


def applied(name, version, verb=Verb.CREATE, resource=PODS, namespace="default", **metadata):
    meta = ObjectMeta(name=name, namespace=namespace, uid=f"uid-{name}", resource_version=str(version), **metadata)
    return Applied(write(name, verb, resource, namespace), Object(resource.kind, meta))


def at(version):
    return lambda _floor: version


def test_a_key_waits_until_the_informer_has_reached_its_highest_write():
    """The floor names what is waited for; the version that meets it frees the key and the memory."""
    gate = Freshness()
    gate.record(JOB, applied("a", 10))
    gate.record(JOB, applied("b", 12))
    floor = gate.blocked(JOB, at(11))
    assert str(floor) == "pods default/b at resourceVersion 12"
    assert gate.blocked(JOB, at(12)) is None
    assert gate.statistics().floors == 0
    assert gate.blocked(ObjectKey("default", "other"), at(0)) is None


def test_each_resource_and_namespace_has_its_own_floor():
    """Progress of Pods says nothing about ConfigMaps."""
    gate = Freshness()
    gate.record(JOB, applied("a", 10))
    gate.record(JOB, applied("c", 20, resource=MAPS))
    gate.record(JOB, applied("d", 30, namespace="elsewhere"))
    reached = {("pods", "default"): 10, ("configmaps", "default"): 19, ("pods", "elsewhere"): 30}

    def version_of(floor):
        return reached[floor.resource.plural, floor.target.namespace]

    assert gate.blocked(JOB, version_of).resource == MAPS
    reached["configmaps", "default"] = 20
    assert gate.blocked(JOB, version_of) is None


def test_what_no_informer_covers_is_not_waited_for():
    """The highest write is not covered, the next one is: that one counts."""
    gate = Freshness()
    gate.record(JOB, applied("watched", 10, labels={"app": "x"}))
    gate.record(JOB, applied("unwatched", 20))

    def version_of(floor):
        return 9 if floor.labels.get("app") == "x" else None

    assert gate.blocked(JOB, version_of).target.name == "watched"
    assert gate.statistics().failed_open_total == 1
    assert gate.blocked(JOB, at(None)) is None


@pytest.mark.parametrize("version", ["", "opaque", "12a", "-1", "1" * 60])
def test_an_opaque_version_fails_open_and_is_counted(version):
    """Never stuck on what cannot be compared."""
    gate = Freshness()
    gate.record(JOB, applied("a", version))
    assert gate.blocked(JOB, at(0)) is None
    assert gate.statistics().failed_open_total == 1


def test_ten_thousand_creates_leave_one_decision_and_shrink_as_the_informer_goes_on():
    """Blocking asks about the highest, and once more about each that is met, when it is dropped."""
    gate = Freshness()
    for i in range(10_000):
        gate.record(JOB, applied(f"pod-{i}", 100 + i))
    asked = []

    def version_of(floor):
        asked.append(floor)
        return 9_000

    assert gate.blocked(JOB, version_of) is not None
    assert len(asked) == 1 + 8_901
    assert gate.statistics().floors == 1_099
    assert gate.blocked(JOB, version_of) is not None
    assert len(asked) == 1 + 8_901 + 1
    assert gate.overlay(JOB, PODS, ObjectKey("default", "pod-1")) is None
    assert gate.overlay(JOB, PODS, ObjectKey("default", "pod-9999")) is not None


def test_an_informer_that_is_ahead_answers_for_none_that_is_behind():
    """Two selectors of one kind: the one's progress must not drop what only the other will show."""
    gate = Freshness()
    gate.record(JOB, applied("left", 10, labels={"side": "left"}))
    gate.record(JOB, applied("right", 12, labels={"side": "right"}))
    reached = {"left": 9, "right": 12}

    def version_of(floor):
        return reached[floor.labels["side"]]

    assert gate.blocked(JOB, version_of).target.name == "left"
    reached["left"] = 10
    assert gate.blocked(JOB, version_of) is None
    assert gate.statistics().floors == 0


def test_floors_are_bounded(monkeypatch):
    """With an informer that stands still, the oldest floors go, counted."""
    monkeypatch.setattr(freshness, "FLOORS_MAX", 3)
    gate = Freshness()
    for i in range(5):
        gate.record(JOB, applied(f"pod-{i}", 100 + i))
        gate.record(JOB, Applied(write(f"map-{i}", Verb.DELETE, MAPS), None), uid=f"u{i}")
    statistics = gate.statistics()
    assert (statistics.floors, statistics.failed_open_total) == (6, 4)
    assert gate.blocked(JOB, at(103)).version == 104


def test_answers_that_come_out_of_order_keep_the_latest_write_of_an_object():
    """Parallel writes may be answered in any order."""
    gate = Freshness()
    gate.record(JOB, applied("a", 12, Verb.PATCH))
    gate.record(JOB, applied("b", 11))
    gate.record(JOB, applied("a", 10))
    assert gate.overlay(JOB, PODS, ObjectKey("default", "a")).resource_version == "12"
    assert gate.statistics().floors == 2
    gate.record(JOB, applied("b", 13, Verb.PATCH))
    assert gate.blocked(JOB, at(12)).version == 13
    assert gate.statistics().floors == 1


def test_the_overlay_gives_way_to_a_cache_that_is_as_new():
    """Older cache, other or none: the written object; as new or newer: the cache."""
    gate = Freshness()
    done = applied("a", 12)
    gate.record(JOB, done)
    where = (JOB, PODS, ObjectKey("default", "a"))
    assert gate.overlay(*where) is done.object
    assert gate.overlay(*where, cached=applied("a", 11).object) is done.object
    assert gate.overlay(*where, cached=applied("a", 12).object) is None
    assert gate.overlay(*where, cached=applied("a", 15).object) is None
    assert gate.overlay(JOB, MAPS, ObjectKey("default", "a")) is None
    assert gate.overlay(ObjectKey("default", "other"), *where[1:]) is None


def test_a_delete_that_was_answered_without_a_version_waits_until_the_object_left():
    """By uid: a namesake that came after it does not count."""
    gate = Freshness()
    cached = {"a": "uid-a"}

    def uid_of(floor):
        return cached.get(floor.target.name)

    def record():
        gate.record(JOB, Applied(write("a", Verb.DELETE), None), uid="uid-a")

    record()
    assert str(gate.blocked(JOB, at(5), uid_of)) == "pods default/a gone"
    cached["a"] = "uid-of-another"
    assert gate.blocked(JOB, at(5), uid_of) is None
    record()
    cached.clear()
    assert gate.blocked(JOB, at(5), uid_of) is None
    record()
    cached["a"] = "uid-a"
    assert gate.blocked(JOB, at(None), uid_of) is None, "not covered by an informer"
    record()
    assert gate.blocked(JOB, at(5)) is None, "nobody can tell"


def test_a_write_that_takes_an_object_out_of_the_selector_waits_until_it_left_the_cache():
    """No informer covers the object as it is now, but the cache still shows it as it was."""
    gate = Freshness()
    cached = {"a": "uid-a"}

    def uid_of(floor):
        return cached.get(floor.target.name)

    gate.record(JOB, applied("a", 12, Verb.PATCH))
    assert gate.blocked(JOB, at(None), uid_of).version == 12
    del cached["a"]
    assert gate.blocked(JOB, at(None), uid_of) is None


@pytest.mark.parametrize(
    ("finalizers", "grace_seconds", "vanishes"), [((), 0, True), (("x/y",), 0, False), ((), 30, False)]
)
def test_taking_the_last_finalizer_off_a_deleted_object_waits_until_it_left(finalizers, grace_seconds, vanishes):
    """The answer carries the version before the removal: only the object's absence shows that the cache has seen it."""
    gate = Freshness()
    marked = {"deletion_timestamp": "2026-01-01T00:00:00Z", "deletion_grace_period_seconds": grace_seconds}
    gate.record(JOB, applied("a", 10, verb=Verb.PATCH, finalizers=finalizers, **marked))
    cached = "uid-a"
    waits = gate.blocked(JOB, at(10), lambda _floor: cached) is not None
    assert waits is vanishes
    cached = None
    assert gate.blocked(JOB, at(10), lambda _floor: cached) is None


def test_a_delete_that_only_marks_the_object_is_a_floor_like_any_write():
    """A Pod with a grace period is answered with its deletionTimestamp and version; it is overlaid too."""
    gate = Freshness()
    gate.record(JOB, applied("a", 12, Verb.DELETE, deletion_timestamp="2026-01-01T00:00:00Z"))
    assert gate.blocked(JOB, at(11)).version == 12
    assert gate.overlay(JOB, PODS, ObjectKey("default", "a")).is_deleting
    gate.record(JOB, applied("b", 13, Verb.DELETE))
    assert gate.overlay(JOB, PODS, ObjectKey("default", "b")) is None


def test_an_unanswered_write_is_kept_until_it_is_settled():
    """Unknown again: it stays. Applied: it makes a floor. Refused: it is over."""
    gate = Freshness()
    first, second = write("a"), write("b")
    for one in (first, second, first):
        gate.record_unknown(JOB, one)
    assert gate.unknown(JOB) == (first, second)
    gate.settle(JOB, first, Unknown(first, "timeout"))
    assert gate.unknown(JOB) == (first, second)
    gate.settle(JOB, first, applied("a", 12))
    gate.settle(JOB, second, Refused(second, api_error("POST", Status(409, "AlreadyExists"))))
    assert gate.unknown(JOB) == ()
    assert gate.blocked(JOB, at(11)).version == 12
    assert gate.statistics().unknown == 0


def test_waits_and_timeouts_are_counted_once_each():
    """Asking again during one wait is not another wait."""
    gate = Freshness()
    for _ in range(2):
        gate.record(JOB, applied("a", 12))
        assert gate.blocked(JOB, at(1)) is not None
        assert gate.blocked(JOB, at(2)) is not None
        gate.give_up(JOB)
        assert gate.blocked(JOB, at(2)) is None
    statistics = gate.statistics()
    assert (statistics.parks_total, statistics.timeouts_total, statistics.keys) == (2, 2, 0)


def test_nothing_is_kept_of_a_key_that_never_runs_again():
    """A sweep drops what is met, and counts no wait."""
    gate = Freshness()
    for i in range(10):
        gate.record(ObjectKey("default", f"job-{i}"), applied(f"pod-{i}", 100 + i))
    gate.sweep(at(104))
    statistics = gate.statistics()
    assert (statistics.keys, statistics.parks_total) == (5, 0)
