"""Metrics: facts are counted under the names that dashboards know, and no label is unbounded."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconcile.instrumentation.hooks import (
    ComponentFailed,
    EventDropped,
    Hooks,
    LeaderChanged,
    LoopStalled,
    Parked,
    Quarantined,
    Reconciled,
    Relisted,
    RequestSent,
    WatchEnded,
)
from reconcile.instrumentation.prometheus import SERIES_MAX, Metrics
from reconcile.instrumentation.reading import READINGS, Reading
from reconcile.model.key import ObjectKey

KEY = ObjectKey("default", "web")


def values(metrics):
    """Every sample of a scrape, as Prometheus' own parser reads it. A sample that is there twice fails."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            identity = (sample.name, tuple(sorted(sample.labels.items())))
            assert identity not in found, f"{identity} is there twice"
            found[identity] = sample.value
    return found


def value(metrics, name, /, **labels):
    return values(metrics).get((name, tuple(sorted(labels.items()))))


def reconciled(outcome, controller="job"):
    return Reconciled(controller, KEY, "id", outcome, 0.2, 1)


@pytest.mark.parametrize(
    ("outcome", "result", "counts"),
    [
        ("success", "success", (0, 0, 0, 0)),
        ("requeue_after", "requeue_after", (0, 0, 0, 0)),
        ("error", "error", (1, 0, 0, 0)),
        ("conflict", "conflict", (0, 0, 0, 0)),
        ("terminal", "error", (1, 1, 0, 0)),
        ("panic", "error", (1, 0, 1, 0)),
        ("timeout", "error", (1, 0, 0, 1)),
        ("cancelled", "cancelled", (0, 0, 0, 0)),
    ],
)
def test_each_outcome_is_counted_where_controller_runtime_counts_it(outcome, result, counts):
    """Dashboards and alerts for controller-runtime work unchanged."""
    errors, terminal, panics, timeouts = counts
    metrics = Metrics()
    metrics.hook(reconciled(outcome))
    prefix = "controller_runtime_"
    assert value(metrics, f"{prefix}reconcile_total", controller="job", result=result) == 1
    assert value(metrics, f"{prefix}reconcile_errors_total", controller="job") == errors
    assert value(metrics, f"{prefix}terminal_reconcile_errors_total", controller="job") == terminal
    assert value(metrics, f"{prefix}reconcile_panics_total", controller="job") == panics
    assert value(metrics, f"{prefix}reconcile_timeouts_total", controller="job") == timeouts
    assert value(metrics, f"{prefix}reconcile_time_seconds_count", controller="job") == 1
    assert value(metrics, f"{prefix}reconcile_time_seconds_sum", controller="job") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("fact", "name", "labels", "wanted"),
    [
        (RequestSent("GET", "cluster", "v1/Pod", 200, 0.1), "rest_client_requests_total", {"code": "200", "method": "GET", "host": "cluster"}, 1),
        (RequestSent("GET", "cluster", "v1/Pod", 0, 0.1), "rest_client_requests_total", {"code": "<error>", "method": "GET", "host": "cluster"}, 1),
        (LeaderChanged("ns/lease", leading=True), "leader_election_master_status", {"name": "ns/lease"}, 1),
        (LeaderChanged("ns/lease", leading=False), "leader_election_master_status", {"name": "ns/lease"}, 0),
        (WatchEnded("v1/Pod", "idle"), "reconcile_watch_ends_total", {"resource": "v1/Pod", "reason": "idle"}, 1),
        (Relisted("v1/Pod", 3, 0.1, "list"), "reconcile_informer_relists_total", {"resource": "v1/Pod", "mode": "list"}, 1),
        (Quarantined("v1/Pod", KEY, "nested"), "reconcile_quarantined_objects_total", {"resource": "v1/Pod"}, 1),
        (Parked("job", KEY, "v1/Pod", 0.1, timed_out=False), "reconcile_freshness_parks_total", {"controller": "job", "resource": "v1/Pod"}, 1),
        (Parked("job", KEY, "v1/Pod", 0.1, timed_out=False), "reconcile_freshness_timeouts_total", {"controller": "job", "resource": "v1/Pod"}, 0),
        (Parked("job", KEY, "v1/Pod", 15, timed_out=True), "reconcile_freshness_timeouts_total", {"controller": "job", "resource": "v1/Pod"}, 1),
        (ComponentFailed("informer v1/Pod", "boom", 1.0), "reconcile_component_failures_total", {"component": "informer v1/Pod"}, 1),
        (LoopStalled(0.3), "reconcile_loop_stalls_total", {}, 1),
        (LoopStalled(0.3), "reconcile_loop_stalled_seconds_total", {}, 0.3),
        (EventDropped("queue full"), "reconcile_events_dropped_total", {"reason": "queue full"}, 1),
    ],
)  # fmt: skip
def test_each_fact_has_its_metric(fact, name, labels, wanted):
    """Whatever the hooks tell can be alerted on."""
    metrics = Metrics()
    hooks = Hooks()
    hooks.add(metrics.hook)
    hooks.emit(fact)
    assert value(metrics, name, **labels) == wanted


def test_collectors_are_asked_at_each_scrape():
    """A gauge shows the state at the time of the scrape."""
    metrics = Metrics()
    depth = 1
    metrics.add_collector(lambda: [Reading("workqueue_depth", ("job", "job"), depth)])
    assert value(metrics, "workqueue_depth", name="job", controller="job") == 1
    depth = 7
    assert value(metrics, "workqueue_depth", name="job", controller="job") == 7


def test_two_informers_of_one_kind_make_one_series():
    """Prometheus refuses a scrape in which one series stands twice: sizes add up, the greatest age counts, and both
    must have synced."""
    metrics = Metrics()
    for objects, age, synced in ((3, 1.0, 1), (4, 9.0, 0)):
        readings = [
            Reading("reconcile_informer_objects", ("v1/Pod",), objects),
            Reading("reconcile_informer_last_event_age_seconds", ("v1/Pod",), age),
            Reading("reconcile_informer_synced", ("v1/Pod",), synced),
        ]
        metrics.add_collector(lambda readings=readings: readings)
    assert value(metrics, "reconcile_informer_objects", resource="v1/Pod") == 7
    assert value(metrics, "reconcile_informer_last_event_age_seconds", resource="v1/Pod") == 9
    assert value(metrics, "reconcile_informer_synced", resource="v1/Pod") == 0


def test_a_collector_that_raises_hides_no_other():
    """One broken part is counted, and everything else is still to be seen."""
    metrics = Metrics()

    def broken():
        yield Reading("workqueue_depth", ("broken", "broken"), 1)
        raise RuntimeError("boom")

    metrics.add_collector(broken)
    metrics.add_collector(lambda: [Reading("workqueue_depth", ("job", "job"), 2)])
    found = values(metrics)
    assert found["workqueue_depth", (("controller", "job"), ("name", "job"))] == 2
    assert ("workqueue_depth", (("controller", "broken"), ("name", "broken"))) not in found
    assert value(metrics, "reconcile_metrics_collector_errors_total") == 2  # this scrape and the one above


def test_every_reading_that_collectors_may_give_is_rendered():
    """The table of readings and the renderer agree."""
    metrics = Metrics()
    for name, kind in READINGS.items():
        metrics.add_collector(lambda name=name, kind=kind: [Reading(name, tuple("x" for _ in kind.labels), 1.5)])
    found = values(metrics)
    for name, kind in READINGS.items():
        assert found[name, tuple(sorted((label, "x") for label in kind.labels))] == 1.5


def test_labels_are_bounded():
    """A label that somebody fed from data fills one series, not the memory of everyone who scrapes."""
    metrics = Metrics()
    for number in range(SERIES_MAX + 50):
        metrics.hook(EventDropped(f"reason {number}"))
    found = [identity for identity in values(metrics) if identity[0] == "reconcile_events_dropped_total"]
    assert len(found) == SERIES_MAX + 1
    assert value(metrics, "reconcile_events_dropped_total", reason="other") == 50


def test_queue_observer_fills_the_histograms():
    """How long keys wait and are worked on is there under the names of client-go."""
    metrics = Metrics()
    waited, worked = metrics.queue_observer("job", "job")
    waited(0.5)
    worked(2.0)
    labels = {"name": "job", "controller": "job"}
    assert value(metrics, "workqueue_queue_duration_seconds_sum", **labels) == 0.5
    assert value(metrics, "workqueue_work_duration_seconds_sum", **labels) == 2.0


def test_scrape_has_process_metrics_and_no_creation_times():
    """Memory and CPU come with it; ``_created`` series, which nobody reads, do not."""
    metrics = Metrics()
    metrics.hook(reconciled("success"))
    names = {identity[0] for identity in values(metrics)}
    assert "process_resident_memory_bytes" in names
    assert not [name for name in names if name.endswith("_created")]


def test_hostile_label_values_stay_inside_their_quotes():
    """A quote, backslash or newline in a label does not make another line."""
    metrics = Metrics()
    metrics.hook(EventDropped('a"b\\c\nd 1'))
    assert value(metrics, "reconcile_events_dropped_total", reason='a"b\\c\nd 1') == 1
