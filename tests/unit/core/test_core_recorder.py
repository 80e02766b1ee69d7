from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconcile.core import recorder
from reconcile.core.recorder import COMBINED, Correlator
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.resource import Kind

POD = Kind("", "v1", "Pod")


def pod(name="web", namespace="default"):
    return Object(POD, ObjectMeta(name=name, namespace=namespace, uid=f"uid-{name}"))


class Events:
    """A correlator, and a time that passes."""

    def __init__(self):
        self.correlator = Correlator()
        self.now = 0.0
        self.tokens = 0

    def report(self, message="m", *, obj=None, reason="Reason", type="Normal"):
        self.tokens += 1
        return self.correlator.report(
            obj or pod(), type, reason, message, now=self.now,
            wall=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now), token=f"t{self.tokens}",
        )  # fmt: skip

    def write_all(self):
        written = []
        while (series := self.correlator.pending()) is not None:
            written.append((series.name, series.message, series.count))
            self.correlator.written(series, series.count)
        return written


def test_equal_events_are_one_with_a_count():
    """Also when the first is not written yet: one request carries both."""
    events = Events()
    assert [events.report(), events.report()] == ["", ""]
    assert events.write_all() == [("web.t1", "m", 2)]
    events.now = 60.0
    events.report()
    series = events.correlator.pending()
    assert series.to_patch().body == {"message": "m", "count": 3, "lastTimestamp": "2026-01-01T00:01:00Z"}


def test_what_is_reported_while_it_is_being_written_is_written_afterwards():
    """The count that the server has is the one that was sent."""
    events = Events()
    events.report()
    series = events.correlator.pending()
    events.report()
    events.correlator.written(series, 1)
    assert events.write_all() == [("web.t1", "m", 2)]


def test_the_tenth_different_message_and_later_ones_are_combined():
    """Nine Events, and one for all the rest that shows the latest."""
    events = Events()
    for i in range(15):
        events.report(f"pod {i}")
    written = events.write_all()
    assert [count for _, _, count in written] == [1] * 9 + [6]
    assert written[-1][1] == f"{COMBINED}pod 14"


def test_combining_ends_after_a_pause_of_ten_minutes():
    """Another reason, type or object is not similar at all."""
    events = Events()
    for i in range(12):
        events.report(f"pod {i}")
    events.report("x", reason="Other")
    events.report("x", type="Warning")
    events.report("x", obj=pod("other"))
    events.now = recorder.COMBINE_SECONDS + 1
    events.report("x")
    assert [message for _, message, _ in events.write_all()][-4:] == ["x"] * 4


def test_an_object_that_floods_is_cut_and_others_are_not():
    """25 writes, then one in five minutes, which carries the count of those that were cut."""
    events = Events()
    dropped = 0
    for _ in range(40):
        dropped += events.report() != ""
        events.write_all()
    assert dropped == 15
    assert events.report(obj=pod("other")) == ""
    events.write_all()
    events.now = recorder.OBJECT_REFILL_SECONDS
    assert events.report() == ""
    assert events.write_all() == [("web.t1", "m", 41)]
    assert events.report() == "rate limit of the object"


def test_what_is_unwritten_is_bounded(monkeypatch):
    """The newest are refused; those that wait can still be counted up."""
    monkeypatch.setattr(recorder, "PENDING_MAX", 3)
    events = Events()
    answers = [events.report(obj=pod(f"p{i}")) for i in range(5)]
    assert answers == ["", "", "", "too many are unwritten", "too many are unwritten"]
    assert events.report(obj=pod("p0")) == ""
    assert len(events.correlator) == 3


def test_what_is_remembered_is_bounded(monkeypatch):
    """Ten thousand objects leave the latest of them."""
    monkeypatch.setattr(recorder, "REMEMBERED_MAX", 10)
    events = Events()
    for i in range(1000):
        events.report(obj=pod(f"p{i}"))
        events.write_all()
    sizes = {len(events.correlator._series), len(events.correlator._similar), len(events.correlator._buckets)}
    assert sizes == {10}


def test_an_event_that_the_server_has_forgotten_begins_anew():
    """Another name, its own first time, and the count since."""
    events = Events()
    events.report()
    events.write_all()
    events.now = 7200.0
    events.report()
    series = events.correlator.pending()
    events.correlator.recreate(series, "new")
    body = series.to_object("me").to_dict()
    assert (body["metadata"]["name"], body["count"], body["firstTimestamp"]) == ("web.new", 1, "2026-01-01T02:00:00Z")


def test_an_event_says_what_it_is_about():
    """In the object's namespace, or default for what has none."""
    events = Events()
    events.report(obj=Object(Kind("", "v1", "Node"), ObjectMeta(name="node-1", uid="u")), type="Warning")
    obj = events.correlator.pending().to_object("my-controller")
    assert obj.key == ObjectKey("default", "node-1.t1")
    assert obj.to_dict() | {"metadata": None} == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": None,
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "u"},
        "type": "Warning",
        "reason": "Reason",
        "message": "m",
        "source": {"component": "my-controller"},
        "reportingComponent": "my-controller",
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
    }


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("a\x1b[31mred\x07", "a\ufffd[31mred\ufffd"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("two\nlines\tand ünïcode", "two\nlines\tand ünïcode"),
        ("x" * 5000, "x" * 1023 + "…"),
    ],
)
def test_a_message_cannot_break_a_terminal_or_the_request(message, written):
    """Control characters and lone surrogates are replaced, and it is cut at the API's limit."""
    events = Events()
    events.report(message)
    assert events.correlator.pending().to_object("me").field("message") == written


@pytest.mark.parametrize(
    ("name", "stem"),
    [("system:kube-proxy", "system-kube-proxy"), ("x" * 253, "x" * 200), ("Ä", "object"), ("a.b", "a.b")],
)
def test_the_name_of_an_event_is_a_legal_one(name, stem):
    """Whatever the object is called."""
    events = Events()
    events.report(obj=pod(name))
    assert events.correlator.pending().name == f"{stem}.t1"
