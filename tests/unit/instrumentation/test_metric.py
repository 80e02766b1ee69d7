"""Metrics of a controller's own: declared once, checked early, bounded, and at zero from the start."""

from __future__ import annotations

import math
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconcile import App, Counter, Histogram, Measured, Object, UsageError
from reconcile.instrumentation.hooks import Fact, Hooks
from reconcile.instrumentation.metric import SERIES_MAX
from reconcile.instrumentation.prometheus import Metrics
from reconcile.runtime.context import Reporter
from reconcile.testing.context import RecordingContext

PLAIN = Counter("shop_orders_total", "Orders")
BY_RESULT = Counter("shop_orders_finished_total", "Orders that ended", labels=("result",))
SECONDS = Histogram("shop_order_seconds", "How long an order took", buckets=(0.5, 2.0))


def served(*declared: Counter | Histogram) -> tuple[Metrics, Hooks]:
    metrics, hooks = Metrics(), Hooks()
    for metric in declared:
        metrics.declare(metric)
    hooks.add(metrics.hook)
    return metrics, hooks


def samples(metrics: Metrics, prefix: str) -> dict[tuple[str, ...], float]:
    """What a scrape shows of names with the prefix: by name and label values."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith(prefix)
    }


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda: Counter("Shop", "x"), "lower-case"),
        (lambda: Counter("shop_orders", "x"), "ends in '_total'"),
        (lambda: Counter("reconcile_orders_total", "x"), "the framework's"),
        (lambda: Counter("workqueue_orders_total", "x"), "the framework's"),
        (lambda: Counter("shop_total", "x", labels="result"), "want a tuple"),  # type: ignore[arg-type]  the mistake
        (lambda: Counter("shop_total", "x", labels=("a", "a")), "different names"),
        (lambda: Counter("shop_total", "x", labels=("__a",)), "can be called '__a'"),
        (lambda: Counter("shop_total", "x", series_max=0), "series_max=0"),
        (lambda: Histogram("shop_seconds", "x", labels=("le",)), "can be called 'le'"),
        (lambda: Histogram("shop_seconds_count", "x"), "put behind its name"),
        (lambda: Histogram("shop_seconds", "x", buckets=()), "want bounds"),
        (lambda: Histogram("shop_seconds", "x", buckets=(2.0, 1.0)), "lowest first"),
    ],
)
def test_a_declaration_that_cannot_be_served_is_refused_where_it_stands(declare, text: str) -> None:
    """Importing the module fails, not a scrape weeks later."""
    with pytest.raises(UsageError, match=text):
        declare()


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (lambda: Measured(BY_RESULT, 1), "want values for: result"),
        (lambda: Measured(PLAIN, 1, ("sold",)), "want values for: none"),
        (lambda: Measured(BY_RESULT, 1, (3,)), "3 is no text"),  # type: ignore[arg-type]  the mistake
        (lambda: Measured(PLAIN, -1), "≥ 0"),
        (lambda: Measured(PLAIN, math.nan), "finite"),
        (lambda: Measured(SECONDS, math.inf), "finite"),
    ],
)
def test_a_report_that_does_not_fit_its_metric_is_refused_where_it_is_made(report, text: str) -> None:
    """The reconcile that made it fails; the metrics of all others go on."""
    with pytest.raises(UsageError, match=text):
        report()


def test_what_is_reported_is_served() -> None:
    """Counters add up, histograms sort into their buckets."""
    metrics, hooks = served(PLAIN, BY_RESULT, SECONDS)
    report = Reporter("shop", frozenset([PLAIN, BY_RESULT, SECONDS]), hooks)
    for measured in (
        Measured(PLAIN, 1),
        Measured(PLAIN, 2),
        Measured(BY_RESULT, 1, ("sold",)),
        Measured(BY_RESULT, 4, ("lost",)),
        Measured(SECONDS, 0.1),
        Measured(SECONDS, 1.0),
        Measured(SECONDS, 9.0),
    ):
        report(measured)
    assert samples(metrics, "shop_") == {
        ("shop_orders_total",): 3,
        ("shop_orders_finished_total", "sold"): 1,
        ("shop_orders_finished_total", "lost"): 4,
        ("shop_order_seconds_bucket", "0.5"): 1,
        ("shop_order_seconds_bucket", "2.0"): 2,
        ("shop_order_seconds_bucket", "+Inf"): 3,
        ("shop_order_seconds_count",): 3,
        ("shop_order_seconds_sum",): pytest.approx(10.1),
    }


def test_what_has_no_labels_shows_at_zero_before_its_first_report() -> None:
    """An alert on an increase needs the zero; what has labels has no series until it is known which."""
    metrics, _hooks = served(PLAIN, BY_RESULT, SECONDS)
    found = samples(metrics, "shop_")
    assert found["shop_orders_total",] == 0
    assert found["shop_order_seconds_count",] == 0
    assert not [key for key in found if key[0] == "shop_orders_finished_total"]


@pytest.mark.parametrize("bound", [3, SERIES_MAX])
def test_no_metric_has_more_series_than_its_declaration_allows(bound: int) -> None:
    """A name that users choose cannot fill the memory: the rest is counted together, and nothing is lost."""
    metric = Counter("shop_customers_total", "Orders by customer", labels=("customer",), series_max=bound)
    metrics, hooks = served(metric)
    for number in range(bound + 10):
        for _ in range(2):
            hooks.emit(Measured(metric, 1, (f"c{number}",)))
    found = samples(metrics, "shop_customers_total")
    assert len(found) == bound + 1
    assert found["shop_customers_total", "other"] == 20
    assert sum(found.values()) == 2 * (bound + 10)


def test_a_metric_that_was_not_declared_is_refused_with_the_way_out() -> None:
    """It would be served nowhere, and nobody would know."""
    with pytest.raises(UsageError, match=r"controller 'shop' reports to metric shop_orders_total .* metrics=\["):
        Reporter("shop", frozenset([SECONDS]), Hooks())(Measured(PLAIN, 1))


def test_controllers_share_a_metric_but_not_a_name() -> None:
    """Two that report to one declaration add up; two declarations of one name are a mistake, told at the start."""
    app = App("shop")

    async def nothing(obj: Object, ctx: object) -> None: ...

    app.controller("v1/Pod", name="one", metrics=[PLAIN])(nothing)
    app.controller("v1/Pod", name="two", metrics=[PLAIN])(nothing)
    assert [declared.metrics for declared in app.controllers] == [(PLAIN,), (PLAIN,)]
    with pytest.raises(UsageError, match="has a metric shop_orders_total already"):
        app.controller("v1/Pod", name="three", metrics=[Counter("shop_orders_total", "Others")])(nothing)
    with pytest.raises(UsageError, match="has a metric shop_orders already"):
        app.controller("v1/Pod", name="four", metrics=[Histogram("shop_orders", "Same series")])(nothing)


def test_a_recording_context_records_reports() -> None:
    """A unit test of a controller sees what it measured."""
    context = RecordingContext({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d"}})
    context.report(BY_RESULT, 1, "sold")
    assert context.measurements == [Measured(BY_RESULT, 1, ("sold",))]
    with pytest.raises(UsageError):
        context.report(BY_RESULT, 1)


def test_a_report_is_a_fact_that_any_hook_hears() -> None:
    """Other ways to publish metrics need nothing but a hook."""
    heard: list[Fact] = []
    hooks = Hooks()
    hooks.add(heard.append)
    Reporter("shop", frozenset([PLAIN]), hooks)(Measured(PLAIN, 2))
    assert heard == [Measured(PLAIN, 2)]


@pytest.mark.parametrize("metric", [BY_RESULT, Histogram("shop_by_seconds", "x", labels=("result",))])
def test_a_report_costs_microseconds(metric: Counter | Histogram) -> None:
    """So that a controller may report each object; a counter takes 1 µs, a histogram the buckets that it passes beside; ten times that fails."""
    _metrics, hooks = served(metric)
    report = Reporter("shop", frozenset([metric]), hooks)
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            report(Measured(metric, 1, ("sold",)))
        best = min(best, (time.perf_counter() - began) / 2000)
    assert best < 10e-6
    print(f"{best * 1e6:.2f} µs")
