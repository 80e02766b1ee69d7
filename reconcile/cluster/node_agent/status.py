"""A Pod's status as the kubelet writes it. Pure.

Source: the API reference of PodStatus, and "Pod Lifecycle" in the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from reconcile.cluster.node_agent.plan import Moment, Plan
from reconcile.cluster.node_agent.view import Container, ContainerRecord, PodSpec
from reconcile.cluster.runtimes.runtime import ContainerPhase, ContainerStatus
from reconcile.model.object import Object
from reconcile.model.timestamp import render

_NEVER = "1970-01-01T00:00:00Z"


def pod_status(
    pod: Object,
    moment: Moment,
    decided: Plan,
    *,
    before: Iterable[Mapping[str, Any]],
    runtime: str,
    host_address: str,
    address: str,
) -> dict[str, Any]:
    """What to write where the conditions were ``before``. It is merged: conditions of other types stay."""
    spec = moment.spec
    statuses = {one.name: _container_status(pod, one, moment, decided, runtime) for one in spec.everything}
    status: dict[str, Any] = {
        "observedGeneration": pod.metadata.generation,
        "phase": decided.phase,
        "hostIP": host_address,
        "hostIPs": [{"ip": host_address}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": render(moment.started_at),
        "conditions": _conditions(pod, moment, decided, before),
        "containerStatuses": [statuses[one.name] for one in spec.containers],
    }
    if spec.initial:
        status["initContainerStatuses"] = [statuses[one.name] for one in spec.initial]
    if decided.reason and decided.has_ended:
        status |= {"reason": decided.reason, "message": decided.message}
    return status


def _container_status(pod: Object, container: Container, moment: Moment, decided: Plan, runtime: str) -> dict[str, Any]:
    record = moment.records[container.name]
    is_initial = any(one.name == container.name for one in moment.spec.initial)
    is_finished_step = is_initial and not container.is_sidecar and record.has_succeeded
    state = _state(pod, container, moment, decided, runtime)
    last = record.current if "waiting" in state and record.has_exited else record.last
    status: dict[str, Any] = {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": (record.is_running and not (is_initial and not container.is_sidecar)) or is_finished_step,
        "started": record.is_running,
        "restartCount": record.restarts,
        "state": state,
        "lastState": {} if last is None else {"terminated": _terminated(last, runtime)},
    }
    if record.current is not None and record.current.id:
        status["containerID"] = f"{runtime}://{record.current.id}"
    return status


def _state(pod: Object, container: Container, moment: Moment, decided: Plan, runtime: str) -> dict[str, Any]:
    record = moment.records[container.name]
    if record.refused is not None:
        reason, message = record.refused
        return {"waiting": {"reason": reason, "message": message}}
    current = record.current
    if current is None:
        return {"waiting": {"reason": "PodInitializing" if moment.spec.initial else "ContainerCreating"}}
    if container.name in decided.waiting:
        seconds = _seconds(decided.waiting[container.name])
        text = (
            f"back-off {seconds} restarting failed container={container.name} pod={pod.name}_{pod.namespace}({pod.uid})"
        )
        return {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
    if current.phase is ContainerPhase.EXITED:
        return {"terminated": _terminated(current, runtime)}
    return {"running": {"startedAt": _time(current.started_at)}}


def _terminated(one: ContainerStatus, runtime: str) -> dict[str, Any]:
    terminated: dict[str, Any] = {
        "exitCode": one.exit_code,
        "reason": one.reason or ("Completed" if one.exit_code == 0 else "Error"),
        "startedAt": _time(one.started_at),
        "finishedAt": _time(one.finished_at),
    }
    if one.message:
        terminated["message"] = one.message
    if one.id:
        terminated["containerID"] = f"{runtime}://{one.id}"
    return terminated


@attrs.frozen
class _Said:
    """What a condition says. ``reason`` and ``message`` may be empty."""

    value: bool
    reason: str = ""
    message: str = ""


def _conditions(
    pod: Object, moment: Moment, decided: Plan, before: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    spec, records = moment.spec, moment.records
    unready = [one.name for one in _lasting(spec) if not records[one.name].is_running]
    unfinished = [one.name for one in spec.initial if not _is_initialized(one, records[one.name])]
    if decided.has_ended:
        ready = _Said(value=False, reason="PodCompleted" if decided.phase == "Succeeded" else "PodFailed")
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        ready = _Said(value=False, reason="ContainersNotReady", message=text)
    else:
        ready = _Said(value=True)
    initialized = _Said(value=True, reason="PodCompleted" if decided.phase == "Succeeded" else "")
    if unfinished and decided.phase != "Succeeded":
        text = f"containers with incomplete status: [{' '.join(unfinished)}]"
        initialized = _Said(value=False, reason="ContainersNotInitialized", message=text)
    wanted = {
        "PodReadyToStartContainers": _Said(value=not decided.has_ended),
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": ready,
    }
    known = {one["type"]: one for one in before}
    return [
        {
            "type": kind,
            "status": "True" if said.value else "False",
            "reason": said.reason or None,  # null takes away what stood there
            "message": said.message or None,
            "observedGeneration": pod.metadata.generation,
            "lastProbeTime": None,
            "lastTransitionTime": _transition(known.get(kind), said, moment.now),
        }
        for kind, said in wanted.items()
    ]


def _transition(before: Mapping[str, Any] | None, said: _Said, now: datetime) -> str:
    """When the condition became what it is."""
    if before is not None and before.get("status") == ("True" if said.value else "False"):
        return str(before["lastTransitionTime"])
    return render(now)


def _lasting(spec: PodSpec) -> Iterable[Container]:
    """The containers that are to run on: all but the steps of the start."""
    return (*(one for one in spec.initial if one.is_sidecar), *spec.containers)


def _is_initialized(container: Container, record: ContainerRecord) -> bool:
    return record.current is not None if container.is_sidecar else record.has_succeeded


def _time(value: datetime | None) -> str:
    return _NEVER if value is None else render(value)


def _seconds(value: float) -> str:
    """As Go writes durations: ``10s``, ``2m40s``."""
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
