"""Deployments, ReplicaSets, StatefulSets, DaemonSets, disruption budgets: counts, selectors, templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    at_least_zero,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
)
from reconcile.cluster.api_server.validation_metadata import check_selector
from reconcile.cluster.api_server.validation_pod import check_pod_template
from reconcile.errors import DecodeError
from reconcile.model.selector import LabelSelector

__all__ = ["check_budget", "check_workload", "check_workload_status", "check_workload_update"]

_STRATEGIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Deployment": ("strategy", ("Recreate", "RollingUpdate")),
    "DaemonSet": ("updateStrategy", ("RollingUpdate", "OnDelete")),
}
_COUNTS: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"),
    "ReplicaSet": ("replicas", "minReadySeconds"),
    "StatefulSet": ("replicas", "minReadySeconds"),
    "DaemonSet": ("minReadySeconds", "revisionHistoryLimit"),
}
_STATEFUL_SET_FIXED = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")


def check_workload(kind: str, obj: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a new one, its metadata aside."""
    spec = obj["spec"]
    problems = [one for name in _COUNTS[kind] for one in at_least_zero(f"spec.{name}", spec.get(name))]
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        text = "must be greater than minReadySeconds"
        problems.append(invalid("spec.progressDeadlineSeconds", deadline, text))
    problems += _check_selector(kind, spec)
    problems += _check_stateful_set(spec) if kind == "StatefulSet" else _check_strategy(kind, spec)
    template = spec.get("template")
    if template is None:
        return [*problems, required("spec.template")]
    if kind == "DaemonSet" or _is_readable(spec.get("selector")):
        problems += check_pod_template(template, "spec.template")
    elif kind != "StatefulSet":
        return problems
    restart = template["spec"].get("restartPolicy", "")
    if restart != "Always":
        problems.append(not_supported("spec.template.spec.restartPolicy", restart, ("Always",)))
    if template["spec"].get("activeDeadlineSeconds") is not None:
        shown = "ReplicaSet" if kind == "Deployment" else kind
        field = "spec.template.spec.activeDeadlineSeconds"
        problems.append(forbidden(field, f"activeDeadlineSeconds in {shown} is not Supported"))
    return problems


def check_workload_update(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of one, its metadata aside."""
    fixed = _STATEFUL_SET_FIXED if kind == "StatefulSet" else ("selector",)
    before, after = old["spec"], new["spec"]
    changes = [one for name in fixed for one in immutable(f"spec.{name}", before.get(name), after.get(name))]
    return [*check_workload(kind, new), *changes]


def check_workload_status(obj: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with the counts in a Deployment's or ReplicaSet's status."""
    status = obj.get("status") or {}
    total, ready = status.get("replicas") or 0, status.get("readyReplicas") or 0
    counted = (
        "replicas",
        "readyReplicas",
        "availableReplicas",
        "updatedReplicas",
        "fullyLabeledReplicas",
        "currentReplicas",
    )
    problems = [one for name in counted for one in at_least_zero(f"status.{name}", status.get(name))]
    problems += [
        invalid(f"status.{name}", status[name], "cannot be greater than status.replicas")
        for name in counted[1:]
        if (status.get(name) or 0) > total
    ]
    if (status.get("availableReplicas") or 0) > ready:
        field = "status.availableReplicas"
        problems.append(invalid(field, status["availableReplicas"], "cannot be greater than readyReplicas"))
    return problems


_EMPTY = {
    "Deployment": "deployment",
    "ReplicaSet": "deployment",
    "StatefulSet": "statefulset",
    "DaemonSet": "daemonset",
}
"""How a real server calls the kind whose selector is empty."""


def _check_selector(kind: str, spec: Mapping[str, Any]) -> list[Invalid]:
    selector = spec.get("selector")
    labels = (spec.get("template") or {}).get("metadata", {}).get("labels")
    mismatch = invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    if selector is None:
        return [mismatch] if kind == "DaemonSet" else [required("spec.selector"), mismatch]
    problems = check_selector("spec.selector", selector)
    if not any(selector.get(name) for name in ("matchLabels", "matchExpressions")):
        problems.append(invalid("spec.selector", selector, f"empty selector is invalid for {_EMPTY[kind]}"))
    if not _is_readable(selector):
        text = {"StatefulSet": "", "DaemonSet": None}.get(kind, "invalid label selector")
        return problems if text is None else [*problems, invalid("spec.selector", selector, text)]
    return problems if LabelSelector.from_plain(selector).matches(labels or {}) else [*problems, mismatch]


def _is_readable(selector: Mapping[str, Any] | None) -> bool:
    """Whether a selector can be matched at all; a template is looked at only then."""
    try:
        LabelSelector.from_plain(selector or {})
    except DecodeError:
        return False
    return True


def _check_strategy(kind: str, spec: Mapping[str, Any]) -> list[Invalid]:
    if kind not in _STRATEGIES:
        return []
    name, kinds = _STRATEGIES[kind]
    strategy, field = spec.get(name) or {}, f"spec.{name}"
    chosen, update = strategy.get("type", ""), strategy.get("rollingUpdate")
    if chosen not in kinds:
        return [not_supported(field, strategy, kinds)]
    if chosen == "Recreate" and update is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{field}.rollingUpdate", text)]
    if chosen != "RollingUpdate" or update is None:
        return []
    least, most = update.get("maxUnavailable"), update.get("maxSurge")
    where = f"{field}.rollingUpdate"
    problems = [
        *_check_share(f"{where}.maxUnavailable", least, percent_max=100),
        *_check_share(f"{where}.maxSurge", most, percent_max=100 if kind == "DaemonSet" else None),
    ]
    has_none, has_no_surge = _is_none(least), _is_none(most)
    if kind == "Deployment":
        if has_none and has_no_surge:
            problems.append(invalid(f"{where}.maxUnavailable", least, "may not be 0 when `maxSurge` is 0"))
    elif has_none and has_no_surge:
        problems.append(required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not has_none and not has_no_surge:
        problems.append(invalid(f"{where}.maxSurge", most, "may not be set when maxUnavailable is non-zero"))
    return problems


def _is_none(value: Any) -> bool:
    """Whether a number of Pods or a percentage is zero; what cannot be read counts as that."""
    if isinstance(value, str):
        return not re.fullmatch("[0-9]+%", value) or int(value[:-1]) == 0
    return bool(value == 0)


def _check_stateful_set(spec: Mapping[str, Any]) -> list[Invalid]:
    problems: list[Invalid] = []
    policy, strategy = spec.get("podManagementPolicy", ""), spec.get("updateStrategy") or {}
    if policy not in ("OrderedReady", "Parallel"):
        problems.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    field, update = "spec.updateStrategy", strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "RollingUpdate":
            problems += at_least_zero(f"{field}.rollingUpdate.partition", (update or {}).get("partition"))
        case "OnDelete":
            if update is not None:
                text = "only allowed for updateStrategy 'RollingUpdate'"
                problems.append(invalid(f"{field}.rollingUpdate", update, text))
        case _:
            problems.append(invalid(field, strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    return problems


def _check_share(field: str, value: Any, *, percent_max: int | None = None) -> list[Invalid]:
    """A number of Pods, or a percentage of them."""
    if isinstance(value, str):
        if not re.fullmatch("[0-9]+%", value):
            text = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            return [invalid(field, value, text)]
        is_more = percent_max is not None and int(value[:-1]) > percent_max
        return [invalid(field, value, "must not be greater than 100%")] if is_more else []
    return at_least_zero(field, value)


def check_budget(budget: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a PodDisruptionBudget, its metadata aside."""
    spec = budget["spec"]
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    problems: list[Invalid] = []
    if least is not None and most is not None:
        problems.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            problems += _check_share(f"spec.{name}", value, percent_max=100)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy not in (None, "AlwaysAllow", "IfHealthyBudget"):
        problems.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget")))
    return [*problems, *check_selector("spec.selector", spec.get("selector"))]
