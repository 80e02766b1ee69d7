"""Metrics of a controller's own: declared once as values at module level, reported to by ``Context.report``.

As in::

    ORDERS_FINISHED = Counter("shop_orders_finished_total", "Orders that ended", labels=("result",))

    @app.controller("shop.example.com/v1/Order", metrics=[ORDERS_FINISHED])
    async def order(obj: Order, ctx: Context) -> None:
        ctx.report(ORDERS_FINISHED, 1, "delivered")

What is measured travels as a fact (``Measured``), so a hook of the application hears it too, and is served at
``/metrics`` beside the framework's own metrics.

Guarantees:
    * A metric has at most ``series_max`` label sets; what would be one more is counted under ``other``.
    * A declared metric without labels shows at zero before its first report; one with labels has no series till then.
    * A wrong name, number of labels or value raises UsageError where it is declared or reported, not at a scrape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, TypeAlias

import attrs
import msgspec

from reconcile.errors import UsageError
from reconcile.model.delta import Delta

SERIES_MAX = 500
"""Label sets of one name: hundreds of controllers and resources fit, an unbounded label does not."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of a histogram's buckets that suit what takes as long as a reconcile: its default deadline is 300 s."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_PREFIXES = ("controller_runtime_", "leader_election_", "process_", "reconcile_", "rest_client_", "workqueue_")
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created")


def _check(name: str, labels: Any, series_max: int) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"metric {name!r}: want lower-case letters, digits and '_'")
    if name.startswith(_OWN_PREFIXES):
        raise UsageError(f"metric {name!r}: names that begin with {', '.join(_OWN_PREFIXES)} are the framework's")
    if isinstance(labels, str) or len(set(labels)) != len(labels):
        raise UsageError(f"metric {name!r}: labels={labels!r}: want a tuple of different names")
    for label in labels:
        if not _LABEL.fullmatch(label) or label in {"le", "quantile"}:
            raise UsageError(f"metric {name!r}: no label can be called {label!r}")
    if series_max < 1:
        raise UsageError(f"metric {name!r}: series_max={series_max!r}: want a number above zero")


@attrs.frozen(eq=False)
class Counter:
    """Something that only grows.

    Args:
        name: as scraped; ends in ``_total``.
        documentation: what it counts.
        labels: names of its labels, in the order in which reports give their values.
        series_max: label sets that it may have; set it low where a value comes from objects, which are anybody's.

    Raises:
        UsageError: no metric can be called that, or have such labels.
    """

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    series_max: int = SERIES_MAX

    def __attrs_post_init__(self) -> None:
        _check(self.name, self.labels, self.series_max)
        if not self.name.endswith("_total"):
            raise UsageError(f"counter {self.name!r}: want a name that ends in '_total' (Prometheus' naming)")


@attrs.frozen(eq=False)
class Histogram:
    """How values are spread: how many were below each bound, how many there were, and their sum.

    Args:
        name: as scraped, without suffix; name the unit, as in ``_seconds``.
        documentation: what is observed.
        labels: as of a Counter. Each label set costs as many series as there are buckets, and two.
        buckets: upper bounds, lowest first; the one without bound is added.
        series_max: as of a Counter.

    Raises:
        UsageError: no metric can be called that, or have such labels or buckets.
    """

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS
    series_max: int = SERIES_MAX

    def __attrs_post_init__(self) -> None:
        _check(self.name, self.labels, self.series_max)
        if self.name.endswith(_SUFFIXES):
            raise UsageError(f"histogram {self.name!r}: {', '.join(_SUFFIXES)} are put behind its name, not into it")
        if not self.buckets or list(self.buckets) != sorted(set(self.buckets)):
            raise UsageError(f"histogram {self.name!r}: buckets={self.buckets!r}: want bounds, lowest first")


Metric: TypeAlias = Counter | Histogram
"""Each is itself and no other: two declarations of one name are two metrics, and an App refuses the second."""


class Measured(msgspec.Struct, frozen=True, gc=False):
    """A report: a counter grew by ``value``, or a histogram was given ``value``. ``labels`` are the labels' values.

    Raises:
        UsageError: too many labels or too few, or one that is no text; or a value below 0, or not finite.
    """

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        metric = self.metric
        if len(self.labels) != len(metric.labels):
            wanted = ", ".join(metric.labels) or "none"
            raise UsageError(f"report to metric {metric.name}: labels {self.labels!r}; want values for: {wanted}")
        for label in self.labels:
            if type(label) is not str:
                raise UsageError(f"report to metric {metric.name}: label value {label!r} is no text")
        if not 0 <= self.value < inf:  # also a histogram: Prometheus takes a sum that shrinks for a restart
            raise UsageError(f"report to metric {metric.name}: value {self.value!r}; want a finite number ≥ 0")


Measure: TypeAlias = Callable[[Delta], Iterable[Measured]]
"""What a change of a watched object says for the metrics: ``Builder.owns(…, measure=…)``."""
