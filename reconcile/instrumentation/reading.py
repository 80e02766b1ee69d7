"""Readings: what queues, workers and caches say about themselves when they are asked, at each scrape.

The names stand here, apart from what renders them, so that the parts which report need not know Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

import attrs


@attrs.frozen
class Reading:
    """One value. ``name`` is a key of ``READINGS``, ``labels`` the values of its labels, in that order."""

    name: str
    labels: tuple[str, ...]
    value: float


Collector: TypeAlias = Callable[[], Iterable[Reading]]


@attrs.frozen
class ReadingKind:
    """What a name means. ``combine`` makes one of two readings of the same thing (one kind under two selectors)."""

    type: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    documentation: str
    combine: Callable[[float, float], float] = float.__add__


QUEUE = ("name", "controller")

READINGS: Mapping[str, ReadingKind] = {
    "workqueue_depth": ReadingKind("gauge", QUEUE, "Keys that wait for a worker"),
    "workqueue_adds_total": ReadingKind("counter", QUEUE, "Keys added to the queue"),
    "workqueue_retries_total": ReadingKind("counter", QUEUE, "Keys put back with backoff"),
    "workqueue_unfinished_work_seconds": ReadingKind("gauge", QUEUE, "Ages of all work in progress, added up"),
    "workqueue_longest_running_processor_seconds": ReadingKind(
        "gauge", QUEUE, "Age of the oldest work in progress", max
    ),
    "controller_runtime_max_concurrent_reconciles": ReadingKind("gauge", ("controller",), "Workers of the controller"),
    "controller_runtime_active_workers": ReadingKind("gauge", ("controller",), "Workers that reconcile a key now"),
    "reconcile_workqueue_parked": ReadingKind("gauge", QUEUE, "Keys that wait for the cache to show their own writes"),
    "reconcile_workqueue_delayed": ReadingKind("gauge", QUEUE, "Keys that wait for their time"),
    "reconcile_freshness_failed_open_total": ReadingKind(
        "counter", ("controller",), "Writes whose version could not be compared, so that nothing waited for them"
    ),
    "reconcile_informer_objects": ReadingKind("gauge", ("resource",), "Objects in the cache"),
    "reconcile_informer_bytes": ReadingKind("gauge", ("resource",), "Bytes of JSON in the cache"),
    "reconcile_informer_quarantined": ReadingKind("gauge", ("resource",), "Objects that cannot be decoded, now"),
    "reconcile_informer_synced": ReadingKind("gauge", ("resource",), "1 if the cache holds the full state", min),
    "reconcile_informer_last_event_age_seconds": ReadingKind(
        "gauge", ("resource",), "Seconds since the watch showed any sign of life", max
    ),
}
"""The names that dashboards know, and ``reconcile_*`` for what those lack."""
