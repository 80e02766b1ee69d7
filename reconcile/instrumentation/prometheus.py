"""Prometheus: facts become counters and histograms, and the state of queues and caches is asked for at each scrape.

Names are those that dashboards for controller-runtime and client-go know; ``reconcile_*`` is what those lack.

Guarantees:
    * No label of the framework's own comes from object data. Each name has at most ``SERIES_MAX`` label sets, or what
      a controller's declaration says; what would be one more is counted under ``other``
      (kubernetes-sigs/controller-runtime#3396: unbounded labels made 810 000 series).
    * A collector that raises loses its own readings and nobody else's, and is counted.

Caveats:
    Importing it costs 10 ms beside asyncio (40 ms alone), so it is imported only where metrics are served.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar, assert_never, cast

import attrs
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from reconcile.instrumentation import metric as declared
from reconcile.instrumentation.hooks import (
    ComponentFailed,
    EventDropped,
    Fact,
    LeaderChanged,
    LoopStalled,
    Parked,
    Quarantined,
    Reconciled,
    Relisted,
    RequestSent,
    WatchEnded,
)
from reconcile.instrumentation.metric import SECONDS, SERIES_MAX, Measured
from reconcile.instrumentation.reading import QUEUE, READINGS, Collector

M = TypeVar("M", Counter, Gauge, Histogram)

_log = logging.getLogger("reconcile.instrumentation")

QUEUE_SECONDS = (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Upper bounds of the histograms' buckets: a retry's longest delay is 1 000 s."""


class Metrics:
    """All metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._collectors: list[Collector] = []
        self._declared: dict[declared.Metric, Counter | Histogram] = {}
        # What takes a report, by the values of its labels: a look-up less for each, and reports are many.
        self._reports: dict[declared.Metric, dict[tuple[str, ...], Callable[[float], None]]] = {}
        self._series_max: dict[int, int] = {}
        self._known: dict[int, set[tuple[str, ...]]] = {}
        self._series: dict[int, dict[tuple[str, ...], Counter | Gauge | Histogram]] = {}
        self.registry.register(self)  # first, so that what collectors do to the counters shows in the same scrape
        ProcessCollector(registry=self.registry)
        controller = ("controller",)
        counter, histogram = self._counter, self._histogram
        self._reconciles = counter(
            "controller_runtime_reconcile_total", "Runs of the reconcile function", ("controller", "result")
        )
        self._errors = counter("controller_runtime_reconcile_errors_total", "Runs that failed", controller)
        self._terminal = counter(
            "controller_runtime_terminal_reconcile_errors_total", "Runs that failed and are not retried", controller
        )
        self._panics = counter(
            "controller_runtime_reconcile_panics_total", "Runs that ended with an unexpected exception", controller
        )
        self._timeouts = counter(
            "controller_runtime_reconcile_timeouts_total", "Runs cancelled at their deadline", controller
        )
        self._seconds = histogram("controller_runtime_reconcile_time_seconds", "Length of a run", controller, SECONDS)
        self._queue_seconds = histogram(
            "workqueue_queue_duration_seconds", "How long a key waited for a worker", QUEUE, QUEUE_SECONDS
        )
        self._work_seconds = histogram(
            "workqueue_work_duration_seconds", "How long a worker had a key", QUEUE, QUEUE_SECONDS
        )
        self._requests = counter(
            "rest_client_requests_total", "HTTP requests to API servers", ("code", "method", "host")
        )
        self._leading = Gauge(
            "leader_election_master_status", "1 while this process leads", ("name",), registry=self.registry
        )
        self._watch_ends = counter("reconcile_watch_ends_total", "Watches that ended", ("resource", "reason"))
        self._relists = counter("reconcile_informer_relists_total", "Full states received", ("resource", "mode"))
        self._quarantined = counter(
            "reconcile_quarantined_objects_total", "Versions of objects that could not be decoded", ("resource",)
        )
        self._parks = counter(
            "reconcile_freshness_parks_total",
            "Keys that waited for the cache to show their own writes, by the resource that was waited for",
            ("controller", "resource"),
        )
        self._park_timeouts = counter(
            "reconcile_freshness_timeouts_total", "Keys that gave up that wait at its bound", ("controller", "resource")
        )
        self._failures = counter(
            "reconcile_component_failures_total",
            "Parts of the framework that failed and were restarted",
            ("component",),
        )
        self._stalls = counter("reconcile_loop_stalls_total", "Times that code blocked the event loop", ())
        self._stalled_seconds = counter("reconcile_loop_stalled_seconds_total", "How long it was blocked", ())
        self._dropped = counter("reconcile_events_dropped_total", "Events that were not written", ("reason",))
        self._broken = counter("reconcile_metrics_collector_errors_total", "Collectors that raised at a scrape", ())

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, documentation, labels, registry=self.registry, buckets=buckets)

    def _bounded(self, metric: object, values: tuple[str, ...]) -> tuple[str, ...]:
        """``values``, or ``other`` in each place once the metric has all the label sets that it may have."""
        known = self._known.setdefault(id(metric), set())
        if values not in known:
            if len(known) >= self._series_max.get(id(metric), SERIES_MAX):
                return ("other",) * len(values)
            known.add(values)
        return values

    def _child(self, metric: M, *values: str) -> M:
        """The metric's series with these label values, remembered: the library's look-up takes five times as long."""
        if not values:
            return metric
        series = self._series.setdefault(id(metric), {})
        child = series.get(values)
        if child is None:
            bounded = self._bounded(metric, values)
            child = series[bounded] = series.get(bounded) or metric.labels(*bounded)
        return cast("M", child)

    def _add(self, counter: Counter, *values: str, amount: float = 1.0) -> None:
        self._child(counter, *values).inc(amount)

    def declare(self, metric: declared.Metric) -> None:
        """Serve a controller's own metric. Declaring it again, as several controllers may, changes nothing."""
        if metric in self._declared:
            return
        if isinstance(metric, declared.Counter):
            made: Counter | Histogram = self._counter(metric.name, metric.documentation, metric.labels)
        else:
            made = self._histogram(metric.name, metric.documentation, metric.labels, metric.buckets)
        self._declared[metric], self._reports[metric] = made, {}
        self._series_max[id(made)] = metric.series_max

    def hook(self, fact: Fact) -> None:
        """Count a fact; give it to ``Hooks.add``."""
        match fact:
            case Reconciled():
                self._reconciled(fact)
            case Measured():
                self._measured(fact)
            case RequestSent(method=method, host=host, code=code):
                self._add(self._requests, str(code) if code else "<error>", method, host)
            case WatchEnded(resource=resource, reason=reason):
                self._add(self._watch_ends, resource, reason)
            case Relisted(resource=resource, mode=mode):
                self._add(self._relists, resource, mode)
            case Quarantined(resource=resource):
                self._add(self._quarantined, resource)
            case Parked(controller=controller, resource=resource, timed_out=timed_out):
                self._add(self._parks, controller, resource)
                self._add(self._park_timeouts, controller, resource, amount=float(timed_out))
            case LeaderChanged(lease=lease, leading=leading):
                self._child(self._leading, lease).set(float(leading))
            case ComponentFailed(component=component):
                self._add(self._failures, component)
            case LoopStalled(seconds=seconds):
                self._add(self._stalls)
                self._add(self._stalled_seconds, amount=seconds)
            case EventDropped(reason=reason):
                self._add(self._dropped, reason)
            case _:
                assert_never(fact)

    def _reconciled(self, fact: Reconciled) -> None:
        name, outcome = fact.controller, fact.outcome
        failed = outcome in {"error", "terminal", "timeout", "panic"}
        self._add(self._reconciles, name, "error" if failed else outcome)
        self._child(self._seconds, name).observe(fact.seconds)
        # Looked up in any case, so that a series is there, at zero, before its first failure: alerts ask for increases.
        errors, terminal = self._child(self._errors, name), self._child(self._terminal, name)
        panics, timeouts = self._child(self._panics, name), self._child(self._timeouts, name)
        if failed:
            errors.inc()
            terminal.inc(outcome == "terminal")
            panics.inc(outcome == "panic")
            timeouts.inc(outcome == "timeout")

    def _measured(self, fact: Measured) -> None:
        reports = self._reports[fact.metric]
        report = reports.get(fact.labels)
        if report is None:
            collector = self._declared[fact.metric]
            if isinstance(collector, Counter):
                report = self._child(collector, *fact.labels).inc
            else:
                report = self._child(collector, *fact.labels).observe
            if not fact.labels or fact.labels in self._series[id(collector)]:  # has a series of its own
                reports[fact.labels] = report
        report(fact.value)

    def queue_observer(self, name: str, controller: str) -> tuple[Callable[[float], None], Callable[[float], None]]:
        """What a workqueue calls with the seconds that a key waited, and with those that a worker had it."""
        labels = (name, controller)
        return self._child(self._queue_seconds, *labels).observe, self._child(self._work_seconds, *labels).observe

    def add_collector(self, collector: Collector) -> None:
        """Ask ``collector`` at each scrape. It must be quick: it runs on the event loop."""
        self._collectors.append(collector)

    def collect(self) -> Iterator[Metric]:
        """What the collectors say now (called by the registry)."""
        values: dict[str, dict[tuple[str, ...], float]] = {}
        for collector in self._collectors:
            try:
                for reading in tuple(collector()):
                    pulled = READINGS[reading.name]
                    of_name = values.setdefault(reading.name, {})
                    labels = self._bounded(pulled, reading.labels)
                    present = of_name.get(labels)
                    value = float(reading.value)
                    of_name[labels] = value if present is None else pulled.combine(present, value)
            except Exception:  # noqa: BLE001  one part that cannot be asked must not hide the others
                self._broken.inc()
                _log.exception("metrics collector %r raised", collector)
        for name, of_name in values.items():
            pulled = READINGS[name]
            family_type = CounterMetricFamily if pulled.type == "counter" else GaugeMetricFamily
            family = family_type(name, pulled.documentation, labels=pulled.labels)
            for labels, value in sorted(of_name.items()):
                family.add_metric(labels, value)
            yield family

    def describe(self) -> Iterator[Metric]:
        """Nothing to check for duplicates at registration: names are fixed above (called by the registry)."""
        return iter(())

    def render(self) -> bytes:
        """The exposition in Prometheus' text format, version 0.0.4."""
        return generate_latest(_WithoutCreated(self.registry))


@attrs.frozen
class _WithoutCreated:
    """The registry without ``*_created``: in the text format each would be one more series, read by nobody."""

    _registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
