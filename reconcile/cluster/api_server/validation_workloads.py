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

__all__ = ["check_budget", "check_workload", "check_workload_update"]

_STRATEGIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Deployment": ("strategy", ("Recreate", "RollingUpdate")),
    "DaemonSet": ("updateStrategy", ("RollingUpdate", "OnDelete")),
}
_STATEFUL_SET_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def check_workload(kind: str, obj: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a new one, its metadata aside."""
    spec = obj["spec"]
    problems: list[Invalid] = []
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        problems += at_least_zero(f"spec.{name}", spec.get(name))
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        text = "must be greater than minReadySeconds"
        problems.append(invalid("spec.progressDeadlineSeconds", deadline, text))
    problems += _check_selector(kind, spec)
    problems += _check_strategy(kind, spec)
    template = spec.get("template")
    if template is None:
        return [*problems, required("spec.template")]
    problems += check_pod_template(template, "spec.template")
    restart = template["spec"].get("restartPolicy", "")
    if restart != "Always" and restart in ("OnFailure", "Never"):
        problems.append(not_supported("spec.template.spec.restartPolicy", restart, ("Always",)))
    if template["spec"].get("activeDeadlineSeconds") is not None:
        field = "spec.template.spec.activeDeadlineSeconds"
        problems.append(forbidden(field, f"activeDeadlineSeconds in {kind} is not Supported"))
    return problems


def check_workload_update(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of one, its metadata aside."""
    before, after = old["spec"], new["spec"]
    problems = check_workload(kind, new)
    if kind == "StatefulSet":
        fixed, wanted = (
            {name: value for name, value in spec.items() if name not in _STATEFUL_SET_MUTABLE}
            for spec in (before, after)
        )
        if fixed != wanted:
            names = ", ".join(f"'{name}'" for name in _STATEFUL_SET_MUTABLE[:-1])
            text = (
                f"updates to statefulset spec for fields other than {names} and '{_STATEFUL_SET_MUTABLE[-1]}' are "
                "forbidden"
            )
            problems.append(forbidden("spec", text))
        return problems
    return [*problems, *immutable("spec.selector", before.get("selector"), after.get("selector"))]


def _check_selector(kind: str, spec: Mapping[str, Any]) -> list[Invalid]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    problems = check_selector("spec.selector", selector)
    if not any(selector.get(name) for name in ("matchLabels", "matchExpressions")):
        text = f"empty selector is invalid for {kind[0].lower()}{kind[1:]}"
        problems.append(invalid("spec.selector", selector, text.replace("replicaSet", "deployment")))
    labels = (spec.get("template") or {}).get("metadata", {}).get("labels")
    try:
        is_match = LabelSelector.from_plain(selector).matches(labels or {})
    except DecodeError:
        return problems  # said above
    if not is_match:
        text = "`selector` does not match template `labels`"
        problems.append(invalid("spec.template.metadata.labels", labels, text))
    return problems


def _check_strategy(kind: str, spec: Mapping[str, Any]) -> list[Invalid]:
    if kind not in _STRATEGIES:
        return []
    name, kinds = _STRATEGIES[kind]
    strategy, field = spec.get(name) or {}, f"spec.{name}"
    chosen, update = strategy.get("type", ""), strategy.get("rollingUpdate")
    if chosen not in kinds:
        return [not_supported(f"{field}.type", chosen, kinds)]
    if chosen == "Recreate" and update is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{field}.rollingUpdate", text)]
    if chosen != "RollingUpdate" or update is None:
        return []
    problems: list[Invalid] = []
    for one in ("maxUnavailable", "maxSurge"):
        problems += _check_share(f"{field}.rollingUpdate.{one}", update.get(one))
    if kind == "Deployment" and all(update.get(one) in (0, "0%") for one in ("maxUnavailable", "maxSurge")):
        problems.append(
            invalid(
                f"{field}.rollingUpdate.maxUnavailable", update["maxUnavailable"], "may not be 0 when `maxSurge` is 0"
            )
        )
    return problems


def _check_share(field: str, value: Any) -> list[Invalid]:
    """A number of Pods, or a percentage of them."""
    if isinstance(value, str):
        if not re.fullmatch("[0-9]+%", value):
            text = (
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')"
            )
            return [invalid(field, value, text)]
        return []
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
            problems += _check_share(f"spec.{name}", value)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy not in (None, "AlwaysAllow", "IfHealthyBudget"):
        problems.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget")))
    return [*problems, *check_selector("spec.selector", spec.get("selector"))]
