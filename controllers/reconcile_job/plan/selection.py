"""Which active Pods go when there are too many: those whose loss costs least, first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import TypeAlias

from reconcile_job.plan.view import ContainerStatus, PodView

Rank: TypeAlias = tuple[bool, int, bool, float, int, int, float]

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_remove(active: Sequence[PodView], *, at_least: int, completions: int | None) -> list[PodView]:
    """The Pods to remove.

    Args:
        active: the active Pods.
        at_least: how many are too many.
        completions: the number of indexes of an Indexed Job, else None. Its Pods without a valid index and the second
            Pod of an index go even where none is too many.
    """
    chosen: list[PodView] = []
    rest: list[PodView] = list(active)
    if completions is not None:
        chosen, rest = _misplaced(active, completions)
    missing = at_least - len(chosen)
    if missing > 0:
        chosen.extend(sorted(rest, key=rank)[:missing])
    return chosen


def _misplaced(active: Sequence[PodView], completions: int) -> tuple[list[PodView], list[PodView]]:
    misplaced: list[PodView] = []
    kept: dict[int, PodView] = {}
    for pod in active:
        index = pod.index
        if index is None or index >= completions:
            misplaced.append(pod)
        elif index not in kept:
            kept[index] = pod
        elif rank(pod) > rank(kept[index]):
            misplaced.append(kept[index])
            kept[index] = pod
        else:
            misplaced.append(pod)
    return misplaced, list(kept.values())


def rank(pod: PodView) -> Rank:
    """Lower goes first.

    Unscheduled, then pending, then not ready, then ready for the shortest time, then restarted most often, then
    youngest.
    """
    ready_since = _ready_since(pod)
    sidecars = {item.name for item in pod.spec.init_containers or () if item.restart_policy == "Always"}
    containers = pod.status.container_statuses or ()
    restarts_of_sidecars = [item for item in pod.status.init_container_statuses or () if item.name in sidecars]
    created = pod.metadata.creation_timestamp
    return (
        bool(pod.spec.node_name),
        _PHASES.get(pod.status.phase, 0),
        pod.is_ready,
        -inf if ready_since is None else -(ready_since - _EPOCH).total_seconds(),
        -_restarts(containers),
        -_restarts(restarts_of_sidecars),
        -inf if created is None else -(created - _EPOCH).total_seconds(),
    )


def _ready_since(pod: PodView) -> datetime | None:
    for condition in pod.status.conditions or ():
        if condition.type == "Ready" and condition.status == "True":
            return condition.last_transition_time
    return None


def _restarts(statuses: Sequence[ContainerStatus]) -> int:
    return max((status.restart_count for status in statuses), default=0)
