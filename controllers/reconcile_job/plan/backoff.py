"""Backoff: how long a failed Pod's replacement waits.

After ``n`` consecutive failures ``min(10 s · 2^(n-1), 10 min)`` from the latest one, for the whole Job or, with
``backoffLimitPerIndex``, for each index (KEP-3850). The count of an index is on its Pods. That of the whole Job lives
in memory; after a restart it is taken from the Pods that have ended, so that it is lost only with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import attrs

from reconcile_job.plan.view import PodView

DELAY_SECONDS_FIRST = 10.0
DELAY_SECONDS_MAX = 600.0
DOUBLINGS_MAX = 6
"""10 s doubled six times is past the maximum; a larger exponent says nothing more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen
class BackoffRecord:
    """Consecutive failures since the last success, and when the latest was."""

    failures: int = 0
    last_failure: datetime | None = None

    def remaining_seconds(self, now: datetime) -> float:
        """How long to wait yet before a replacement; 0 for not at all."""
        return remaining_seconds(self.failures, self.last_failure, now)

    def updated(self, succeeded: Iterable[PodView], failed: Iterable[PodView]) -> BackoffRecord:
        """The record after these newly finished Pods (the ones that policy ignores included)."""
        failures = sorted(map(finished_at, failed))
        last_success = max(map(finished_at, succeeded), default=None)
        if last_success is None:
            return BackoffRecord(self.failures + len(failures), failures[-1]) if failures else self
        later = [time for time in failures if time > last_success]
        return BackoffRecord(len(later), later[-1] if later else None)


def remaining_seconds(failures: int, last_failure: datetime | None, now: datetime) -> float:
    """What remains of the delay after ``failures`` in a row."""
    if failures <= 0 or last_failure is None:
        return 0.0
    delay = min(DELAY_SECONDS_FIRST * (1 << min(failures - 1, DOUBLINGS_MAX)), DELAY_SECONDS_MAX)
    return max(0.0, delay - (now - last_failure).total_seconds())


def remaining_seconds_of_index(failed: PodView | None, now: datetime) -> float:
    """What remains before the index of ``failed``, its latest failed Pod, may run again."""
    if failed is None:
        return 0.0
    return remaining_seconds(absolute_failure_count(failed) + 1, finished_at(failed), now)


def absolute_failure_count(pod: PodView) -> int:
    """How often the Pod's index had failed before it, counted or ignored."""
    return pod.failure_count + pod.ignored_failure_count


def finished_at(pod: PodView) -> datetime:
    """When the Pod finished, from the best witness there is.

    Its containers if all have ended, else when it stopped being ready, else when its deletion was asked for, else when
    it was created.
    """
    meta = pod.metadata
    ended = _containers_ended_at(pod)
    if ended is not None:
        return ended
    for condition in pod.status.conditions or ():
        if condition.type == "Ready" and condition.status == "False" and condition.last_transition_time is not None:
            return condition.last_transition_time
    if meta.deletion_timestamp is not None:
        return meta.deletion_timestamp - _as_the_server_adds(meta.deletion_grace_period_seconds or 0)
    return meta.creation_timestamp or _EPOCH


def _as_the_server_adds(seconds: int) -> timedelta:
    """A grace period as the API server adds it to a time: in nanoseconds, and 64 bits of them.

    It admits any number of seconds. Of more than 292 years what is left after the overflow is in the timestamp.
    """
    nanoseconds = (seconds * 10**9 + 2**63) % 2**64 - 2**63
    return timedelta(microseconds=nanoseconds // 1000)


def _containers_ended_at(pod: PodView) -> datetime | None:
    sidecars = {item.name for item in pod.spec.init_containers or () if item.restart_policy == "Always"}
    statuses = [
        *(pod.status.container_statuses or ()),
        *(status for status in pod.status.init_container_statuses or () if status.name in sidecars),
    ]
    latest: datetime | None = None
    for status in statuses:
        ended = status.state.terminated if status.state is not None else None
        if ended is None or ended.finished_at is None:
            return None
        latest = ended.finished_at if latest is None else max(latest, ended.finished_at)
    return latest
