"""What to do with a Pod's containers now: which to start, which to stop, when to look again, and its phase. Pure.

Source: "Pod Lifecycle", "Init Containers" and "Sidecar Containers" in the Kubernetes documentation; KEP-753 (sidecars);
the restart delays are the kubelet's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from reconcile.cluster.node_agent.view import Container, ContainerRecord, PodSpec

REFUSED_RETRY_SECONDS = 10.0
"""After this long a container that the runtime would not make is tried again: what it needs may be there by then."""

DEADLINE_REASON = "DeadlineExceeded"
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


@attrs.frozen
class RestartDelays:
    """How long an exited container waits: not at all the first time, then ``first_seconds``, doubled up to the bound.

    Attributes:
        reset_seconds: one that ran for that long begins anew.
    """

    first_seconds: float = 10.0
    seconds_max: float = 300.0
    reset_seconds: float = 600.0

    def seconds(self, streak: int) -> float:
        """The delay before the next restart, after ``streak`` restarts in a row."""
        return 0.0 if streak == 0 else min(self.seconds_max, self.first_seconds * 2.0 ** min(streak - 1, 30))


@attrs.frozen
class Moment:
    """A Pod at one moment.

    Attributes:
        started_at: when the agent took it on.
        failure: reason and message of an end that was decided before and is not over yet.
        deletion_grace_seconds: for one that is being deleted.
    """

    spec: PodSpec
    records: Mapping[str, ContainerRecord]
    started_at: datetime
    now: datetime
    failure: tuple[str, str] | None = None
    deletion_grace_seconds: float | None = None


@attrs.frozen
class Plan:
    """What to do.

    Attributes:
        start: containers to be started now.
        stop: running containers to be ended, each within ``grace_seconds``.
        waiting: containers that wait for their restart: name → delay in seconds.
        phase: of the Pod as it is; final only when nothing runs any more.
        reason, message: why it fails, where that is more than its containers' exits.
        wake_seconds: look again after that long, if nothing happens before; None for never.
    """

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    grace_seconds: float = 0.0
    waiting: Mapping[str, float] = attrs.Factory(dict[str, float])
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    wake_seconds: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


def plan(moment: Moment, delays: RestartDelays) -> Plan:
    """Decide."""
    spec = moment.spec
    grace_seconds = moment.deletion_grace_seconds
    if grace_seconds is None:
        grace_seconds = spec.termination_grace_period_seconds
    if moment.failure is not None:
        return _ending(moment, grace_seconds, *moment.failure)
    if moment.deletion_grace_seconds is not None or _is_over(moment):
        return _ending(moment, grace_seconds, "", "")
    deadline_seconds = _deadline_seconds(moment)
    if deadline_seconds is not None and deadline_seconds <= 0:
        return _ending(moment, grace_seconds, DEADLINE_REASON, DEADLINE_MESSAGE)
    start, waits = _to_start(moment, delays)
    waiting = {name: seconds for name, seconds in waits.items() if moment.records[name].has_exited}
    due = [*(_seconds_left(moment, name, seconds) for name, seconds in waits.items())]
    due += [] if deadline_seconds is None else [deadline_seconds]
    return Plan(start, waiting=waiting, phase=_phase(moment), wake_seconds=min(due, default=None))


def _deadline_seconds(moment: Moment) -> float | None:
    """Seconds until ``activeDeadlineSeconds`` is over."""
    allowed = moment.spec.active_deadline_seconds
    return None if allowed is None else (moment.started_at - moment.now).total_seconds() + allowed


def _is_over(moment: Moment) -> bool:
    """Whether nothing is left to be run: an init container has failed for good, or all containers have ended so."""
    spec, records = moment.spec, moment.records
    for container in spec.initial:
        record = records[container.name]
        if not container.is_sidecar and record.has_exited and not record.has_succeeded:
            return spec.restart_policy == "Never"
    return all(_has_ended_for_good(spec, records[container.name]) for container in spec.containers)


def _has_ended_for_good(spec: PodSpec, record: ContainerRecord) -> bool:
    if not record.has_exited:
        return False
    return spec.restart_policy == "Never" or (spec.restart_policy == "OnFailure" and record.has_succeeded)


def _ending(moment: Moment, grace_seconds: float, reason: str, message: str) -> Plan:
    """Stop what runs; when nothing does, the phase is final."""
    running = tuple(name for name, record in moment.records.items() if record.is_running)
    if running:
        return Plan(stop=running, grace_seconds=grace_seconds, phase=_phase(moment), reason=reason, message=message)
    spec, records = moment.spec, moment.records
    succeeded = not reason and all(records[container.name].has_succeeded for container in spec.containers)
    return Plan(phase="Succeeded" if succeeded else "Failed", reason=reason, message=message)


def _to_start(moment: Moment, delays: RestartDelays) -> tuple[tuple[str, ...], Mapping[str, float]]:
    """The containers to start now, and those that wait: name → their whole delay."""
    start: list[str] = []
    waits: dict[str, float] = {}

    def consider(container: Container) -> None:
        seconds = _delay_seconds(moment.records[container.name], delays)
        if _seconds_left(moment, container.name, seconds) <= 0:
            start.append(container.name)
        else:
            waits[container.name] = seconds

    for container in moment.spec.initial:
        record = moment.records[container.name]
        if container.is_sidecar:
            if not record.is_running:
                consider(container)
            if record.current is None:  # the next one waits until it has started
                return tuple(start), waits
        elif not record.has_succeeded:
            if not record.is_running:
                consider(container)
            return tuple(start), waits
    for container in moment.spec.containers:
        record = moment.records[container.name]
        if not record.is_running and not _has_ended_for_good(moment.spec, record):
            consider(container)
    return tuple(start), waits


def _delay_seconds(record: ContainerRecord, delays: RestartDelays) -> float:
    if record.refused_at is not None:
        return REFUSED_RETRY_SECONDS
    return delays.seconds(record.streak) if record.has_exited else 0.0


def _seconds_left(moment: Moment, name: str, seconds: float) -> float:
    """Of a delay of that length."""
    record = moment.records[name]
    since = record.refused_at or (record.current.finished_at if record.current is not None else None)
    return 0.0 if since is None else (since + timedelta(seconds=seconds) - moment.now).total_seconds()


def _phase(moment: Moment) -> str:
    """Of a Pod that is not over."""
    spec, records = moment.spec, moment.records
    for container in spec.initial:
        record = records[container.name]
        if not (record.current is not None if container.is_sidecar else record.has_succeeded):
            return "Pending"
    return "Pending" if _unstarted(spec.containers, records) else "Running"


def _unstarted(containers: Sequence[Container], records: Mapping[str, ContainerRecord]) -> bool:
    return any(records[container.name].current is None for container in containers)
