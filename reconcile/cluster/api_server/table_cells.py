"""The cells of a row, for each kind whose columns say more than its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from reconcile.errors import DecodeError
from reconcile.model import timestamp

Cells: TypeAlias = Callable[[dict[str, Any], datetime], list[Any]]

_NONE = "<none>"
_UNKNOWN = "<unknown>"


def age(obj: Mapping[str, Any], now: datetime) -> str:
    """How long ago an object was created."""
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def since(time: str | None, now: datetime) -> str:
    """How long ago, in the two units that say most."""
    if not time:
        return _UNKNOWN
    try:
        return duration((now - timestamp.parse(time)).total_seconds())
    except DecodeError:
        return "<invalid>"


def duration(seconds: float) -> str:
    """``45s``, ``3m20s``, ``5h``, ``2d3h``, ``400d``, ``3y20d``: as kubectl shows ages."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(0, total)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(first: int, unit: str, second: int, smaller: str) -> str:
    return f"{first}{unit}{second}{smaller}" if second else f"{first}{unit}"


def at_path(obj: Any, path: str) -> Any:
    """The first value at a simple JSON path, ``.spec.items[0].name`` or ``.conditions[?(@.type=="Ready")].status``."""
    for name, condition, index in _STEP.findall(path):
        if name:
            obj = obj.get(name.replace("\\.", ".")) if isinstance(obj, dict) else None
        elif condition:
            field, wanted = _CONDITION.fullmatch(condition).groups()  # type: ignore[union-attr]  # _STEP has matched it
            obj = next((one for one in obj or () if isinstance(one, dict) and str(one.get(field)) == wanted), None)
        elif isinstance(obj, list):
            position = 0 if index == "*" else int(index)
            obj = obj[position] if -len(obj) <= position < len(obj) else None
        else:
            obj = None
        if obj is None:
            return None
    return obj


_CONDITION = re.compile(r"""@\.(\w+)\s*==\s*["']([^"']*)["']""")
_STEP = re.compile(r"""\.((?:[^.\[\]\\]|\\.)+)|\[\?\((@\.\w+\s*==\s*["'][^"']*["'])\)\]|\[(-?\d+|\*)\]""")


def _labels(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items())) or _NONE


def _selector(selector: Mapping[str, Any] | None) -> str:
    """A label selector as text."""
    if not selector:
        return _NONE
    parts = [f"{name}={value}" for name, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        values = f"({','.join(sorted(one.get('values') or ()))})"
        parts.append(
            {
                "In": f"{one['key']} in {values}",
                "NotIn": f"{one['key']} notin {values}",
                "Exists": one["key"],
                "DoesNotExist": f"!{one['key']}",
            }.get(one.get("operator", ""), one["key"])
        )
    return ",".join(parts) or _NONE


def _containers(spec: Mapping[str, Any]) -> list[str]:
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or []
    return [",".join(one.get("name", "") for one in containers), ",".join(one.get("image", "") for one in containers)]


def _parts(obj: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return obj["metadata"]["name"], obj.get("spec") or {}, obj.get("status") or {}


def _condition(status: Mapping[str, Any], type: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == type), {})


def _pod(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    statuses = status.get("containerStatuses") or []
    ready = sum(bool(one.get("ready")) for one in statuses)
    restarts = sum(int(one.get("restartCount") or 0) for one in statuses)
    ips = [one.get("ip", "") for one in status.get("podIPs") or ()]
    gates = spec.get("readinessGates")
    passed = sum(_condition(status, one.get("conditionType", "")).get("status") == "True" for one in gates or ())
    return [
        name,
        f"{ready}/{len(spec.get('containers') or ())}",
        _pod_reason(obj, spec, status, statuses),
        str(restarts),
        age(obj, now),
        (ips[0] if ips else status.get("podIP")) or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"{passed}/{len(gates)}" if gates else _NONE,
    ]


def _pod_reason(obj: dict[str, Any], spec: Any, status: Any, statuses: list[Any]) -> str:
    """One word for how a Pod is doing."""
    reason = status.get("reason") or status.get("phase") or ""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    total = len(spec.get("initContainers") or ())
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        state = one.get("state") or {}
        if (state.get("terminated") or {}).get("exitCode") == 0 and state.get("terminated"):
            continue
        return "Init:" + (_state_reason(state, f"{index}/{total}", waits_for="PodInitializing"))
    has_running = False
    for one in reversed(statuses):
        state = one.get("state") or {}
        if (state.get("waiting") or {}).get("reason") or state.get("terminated"):
            reason = _state_reason(state, reason)
        elif one.get("ready") and state.get("running") is not None:
            has_running = True
    if reason == "Completed" and has_running:
        reason = "Running" if _condition(status, "Ready").get("status") == "True" else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return str(reason)


def _state_reason(state: Mapping[str, Any], otherwise: str, *, waits_for: str = "") -> str:
    terminated, waiting = state.get("terminated"), state.get("waiting") or {}
    if terminated:
        if terminated.get("reason"):
            return str(terminated["reason"])
        signal = terminated.get("signal")
        return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"
    if waiting.get("reason") and waiting["reason"] != waits_for:
        return str(waiting["reason"])
    return otherwise


def _job(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    wanted, parallelism, done = spec.get("completions"), spec.get("parallelism") or 0, status.get("succeeded") or 0
    if wanted is not None:
        completions = f"{done}/{wanted}"
    else:
        completions = f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"
    state = "Running"
    if obj["metadata"].get("deletionTimestamp"):
        state = "Terminating"
    for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet", "Failed", "Complete"):
        if _condition(status, word).get("status") == "True":
            state = word
    took = ""
    if status.get("startTime"):
        end = timestamp.parse(status["completionTime"]) if status.get("completionTime") else now
        took = since(status["startTime"], end)
    return [name, state, completions, took, age(obj, now), *_containers(spec), _selector(spec.get("selector"))]


def _cron_job(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    last = status.get("lastScheduleTime")
    return [
        name,
        spec.get("schedule", ""),
        spec.get("timeZone") or _NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        since(last, now) if last else _NONE,
        age(obj, now),
        *_containers((spec.get("jobTemplate") or {}).get("spec") or {}),
        _selector(((spec.get("jobTemplate") or {}).get("spec") or {}).get("selector")),
    ]


def _deployment(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    return [
        name,
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now),
        *_containers(spec),
        _selector(spec.get("selector")),
    ]


def _replica_set(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    selector = spec.get("selector")
    shown = _labels(selector) if "apps/" not in obj.get("apiVersion", "") else _selector(selector)
    counts = [spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]
    return [name, *counts, age(obj, now), *_containers(spec), shown]


def _stateful_set(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    return [
        name,
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        age(obj, now),
        *_containers(spec),
    ]


def _daemon_set(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    selector = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
    return [
        name,
        *(status.get(one) or 0 for one in (*counts, "numberAvailable")),
        _labels(selector),
        age(obj, now),
        *_containers(spec),
        _selector(spec.get("selector")),
    ]


def _node(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    ready = _condition(status, "Ready").get("status")
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if spec.get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(one.removeprefix(prefix) for one in labels if one.startswith(prefix) and one != prefix)
    info = status.get("nodeInfo") or {}
    addresses: dict[Any, Any] = {one.get("type"): one.get("address") for one in reversed(status.get("addresses") or ())}
    return [
        name,
        ",".join(words),
        ",".join(roles) or _NONE,
        age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or _NONE,
        addresses.get("ExternalIP") or _NONE,
        info.get("osImage") or _UNKNOWN,
        info.get("kernelVersion") or _UNKNOWN,
        info.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _event(obj: dict[str, Any], now: datetime) -> list[Any]:
    target = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    return [
        since(last or first, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}",
        target.get("fieldPath", ""),
        ", ".join(part for part in (component, source.get("host") or obj.get("reportingInstance")) if part),
        str(obj.get("message") or obj.get("note") or "").strip(),
        since(first, now),
        series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1,
        obj["metadata"]["name"],
    ]


def _service(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, _ = _parts(obj)
    ports = [
        f"{one['port']}{':' + str(one['nodePort']) if one.get('nodePort') else ''}/{one.get('protocol', 'TCP')}"
        for one in spec.get("ports") or ()
    ]
    return [
        name,
        spec.get("type", ""),
        spec.get("clusterIP") or _NONE,
        ",".join(spec.get("externalIPs") or ()) or _NONE,
        ",".join(ports) or _NONE,
        age(obj, now),
        _labels(spec.get("selector")),
    ]


def _budget(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, status = _parts(obj)
    bounds = [str(spec[one]) if spec.get(one) is not None else "N/A" for one in ("minAvailable", "maxUnavailable")]
    return [name, *bounds, status.get("disruptionsAllowed") or 0, age(obj, now)]


def _namespace(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, _, status = _parts(obj)
    return [name, status.get("phase", ""), age(obj, now)]


def _lease(obj: dict[str, Any], now: datetime) -> list[Any]:
    name, spec, _ = _parts(obj)
    return [name, spec.get("holderIdentity") or "", age(obj, now)]


def _config_map(obj: dict[str, Any], now: datetime) -> list[Any]:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return [obj["metadata"]["name"], count, age(obj, now)]


def _secret(obj: dict[str, Any], now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _service_account(obj: dict[str, Any], now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now)]


def _priority_class(obj: dict[str, Any], now: datetime) -> list[Any]:
    return [
        obj["metadata"]["name"],
        obj.get("value") or 0,
        bool(obj.get("globalDefault")),
        age(obj, now),
        obj.get("preemptionPolicy", ""),
    ]


def _binding(obj: dict[str, Any], now: datetime) -> list[Any]:
    role, subjects = obj.get("roleRef") or {}, obj.get("subjects") or []

    def names(kind: str) -> str:
        chosen = [one for one in subjects if one.get("kind") == kind]
        return ",".join(f"{one['namespace']}/{one['name']}" if one.get("namespace") else one["name"] for one in chosen)

    shown = [names(kind) for kind in ("User", "Group", "ServiceAccount")]
    return [obj["metadata"]["name"], f"{role.get('kind')}/{role.get('name')}", age(obj, now), *shown]


CELLS: Mapping[str, Cells] = {
    "pods": _pod,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "replicationcontrollers": _replica_set,
    "statefulsets.apps": _stateful_set,
    "daemonsets.apps": _daemon_set,
    "nodes": _node,
    "events": _event,
    "events.events.k8s.io": _event,
    "services": _service,
    "poddisruptionbudgets.policy": _budget,
    "namespaces": _namespace,
    "leases.coordination.k8s.io": _lease,
    "configmaps": _config_map,
    "secrets": _secret,
    "serviceaccounts": _service_account,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
}
