"""Pods and templates of Pods: what a specification may say, and what of a Pod may change.

Source of the rules: the API reference of Pod, KEP-3521 (scheduling gates), and what a real server answers. Not checked:
security contexts, affinity terms, the details of volumes, DNS configuration, dynamic resources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    at_least_zero,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from reconcile.cluster.api_server.name_rules import dns_label, dns_subdomain, label_value, qualified_name
from reconcile.cluster.api_server.validation_container import (
    check_containers,
    check_host_network,
    check_init_containers,
)
from reconcile.cluster.api_server.validation_metadata import check_annotations, check_labels

__all__ = ["check_pod", "check_pod_status", "check_pod_template", "check_pod_update"]

_SECONDS_MAX = 2**31 - 1
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod(pod: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a new Pod, its metadata aside."""
    spec = pod["spec"]
    problems = [*_check_spec(spec, "spec"), *_check_pod_only(spec)]
    if spec.get("ephemeralContainers"):
        problems.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        problems.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return problems


def check_pod_template(template: Mapping[str, Any], path: str) -> list[Invalid]:
    """What is wrong with the template of a Pod in another object."""
    metadata, spec = template.get("metadata") or {}, template["spec"]
    problems = [
        *check_labels(f"{path}.labels", metadata.get("labels")),
        *check_annotations(f"{path}.annotations", metadata.get("annotations")),
        *_check_spec(spec, f"{path}.spec"),
    ]
    if spec.get("ephemeralContainers"):
        text = "ephemeral containers not allowed in pod template"
        problems.append(forbidden(f"{path}.spec.ephemeralContainers", text))
    return problems


def _check_pod_only(spec: Mapping[str, Any]) -> list[Invalid]:
    problems = at_least_zero("spec.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    if spec.get("serviceAccountName"):
        return problems
    text = "must not be specified when serviceAccountName is not set"
    for index, volume in enumerate(spec.get("volumes") or ()):
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                field = f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken"
                problems.append(forbidden(field, text))
    return problems


def _check_spec(spec: Mapping[str, Any], path: str) -> list[Invalid]:
    volumes, problems = _check_volumes(spec.get("volumes") or (), f"{path}.volumes")
    containers = spec.get("containers") or ()
    problems += check_containers(containers, f"{path}.containers", volumes)
    problems += check_init_containers(spec.get("initContainers") or (), f"{path}.initContainers", volumes, containers)
    if spec.get("hostNetwork"):
        for kind in ("containers", "initContainers"):
            problems += check_host_network(spec.get(kind) or (), f"{path}.{kind}")
    restart, dns = spec.get("restartPolicy", ""), spec.get("dnsPolicy", "")
    if restart not in _RESTART_POLICIES:
        problems.append(not_supported(f"{path}.restartPolicy", restart, _RESTART_POLICIES))
    if dns not in _DNS_POLICIES:
        problems.append(not_supported(f"{path}.dnsPolicy", dns, _DNS_POLICIES))
    if dns == "None":
        servers = (spec.get("dnsConfig") or {}).get("nameservers")
        if spec.get("dnsConfig") is None:
            problems.append(required(f"{path}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"))
        elif not servers:
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            problems.append(required(f"{path}.dnsConfig.nameservers", text))
    problems += check_labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    problems += _check_gates(spec.get("schedulingGates") or (), f"{path}.schedulingGates")
    for name, rule in _NAMES:
        if value := spec.get(name):
            problems += [invalid(f"{path}.{name}", value, text) for text in rule(value)]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _SECONDS_MAX:
        text = f"must be between 1 and {_SECONDS_MAX}, inclusive"
        problems.append(invalid(f"{path}.activeDeadlineSeconds", deadline, text))
    problems += _check_tolerations(spec.get("tolerations") or (), f"{path}.tolerations")
    preemption = spec.get("preemptionPolicy")
    if preemption not in (None, "PreemptLowerPriority", "Never"):
        field = f"{path}.preemptionPolicy"
        problems.append(not_supported(field, preemption, ("PreemptLowerPriority", "Never")))
    return problems


_NAMES = (
    ("serviceAccountName", dns_subdomain),
    ("nodeName", dns_subdomain),
    ("hostname", dns_label),
    ("subdomain", dns_label),
    ("priorityClassName", dns_subdomain),
    ("runtimeClassName", dns_subdomain),
)


def _check_volumes(volumes: Sequence[Mapping[str, Any]], path: str) -> tuple[set[str], list[Invalid]]:
    """The names of the good ones, and what is wrong with the others."""
    names: set[str] = set()
    problems: list[Invalid] = []
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", volume.get("name", "")
        found = [
            forbidden(f"{where}.{one}", "may not specify more than 1 volume type")
            for one in sorted((one for one, value in volume.items() if one != "name" and value is not None), key=_rank)[
                1:
            ]
        ]
        if (source := volume.get("persistentVolumeClaim")) is not None and not source.get("claimName"):
            found.append(required(f"{where}.persistentVolumeClaim.claimName"))
        if (source := volume.get("configMap")) is not None and not source.get("name"):
            found.append(required(f"{where}.configMap.name"))
        if (source := volume.get("secret")) is not None and not source.get("secretName"):
            found.append(required(f"{where}.secret.secretName"))
        if (source := volume.get("hostPath")) is not None and not source.get("path"):
            found.append(required(f"{where}.hostPath.path"))
        if not name:
            found.append(required(f"{where}.name"))
        else:
            found += [invalid(f"{where}.name", name, text) for text in dns_label(name)]
        if name in names:
            found.append(duplicate(f"{where}.name", name))
        if not found:
            names.add(name)
        problems += found
    return names, problems


def _rank(source: str) -> tuple[bool, str]:
    """The order in which a real server looks for a volume's source."""
    return source not in _FIRST_SOURCES, str(_FIRST_SOURCES.index(source)) if source in _FIRST_SOURCES else source


_FIRST_SOURCES = ("emptyDir", "hostPath")


def _check_gates(gates: Sequence[Mapping[str, Any]], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name", "")
        problems += [invalid(f"{path}[{index}]", name, text) for text in qualified_name(name)]
        if name in seen:
            problems.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)
    return problems


def _check_tolerations(tolerations: Sequence[Mapping[str, Any]], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    for index, one in enumerate(tolerations):
        where = f"{path}[{index}]"
        key, operator, value = one.get("key", ""), one.get("operator", ""), one.get("value", "")
        effect = one.get("effect", "")
        if key:
            problems += [invalid(f"{where}.key", key, text) for text in qualified_name(key)]
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            problems.append(invalid(f"{where}.operator", operator, text))
        if one.get("tolerationSeconds") is not None and effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            problems.append(invalid(f"{where}.effect", effect, text))
        match operator:
            case "" | "Equal":
                if texts := label_value(value):
                    problems.append(invalid(f"{where}.operator", value, ";".join(texts)))
            case "Exists":
                if value:
                    text = "value must be empty when `operator` is 'Exists'"
                    problems.append(invalid(f"{where}.operator", value, text))
            case _:
                problems.append(not_supported(f"{where}.operator", operator, _TOLERATION_OPERATORS))
        if effect and effect not in _EFFECTS:
            problems.append(not_supported(f"{where}.effect", effect, _EFFECTS))
    return problems


_TOLERATION_OPERATORS = ("Equal", "Exists")


# ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def check_pod_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of a Pod, its metadata aside."""
    before, after = old["spec"], new["spec"]
    problems = [*_check_spec(after, "spec"), *_check_pod_only(after)]
    for kind in ("containers", "initContainers"):
        if len(before.get(kind) or ()) != len(after.get(kind) or ()):
            return [*problems, forbidden(f"spec.{kind}", "pod updates may not add or remove containers")]
        problems += _check_images(after.get(kind) or (), f"spec.{kind}")
    deadline_problem = _check_deadline(before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds"))
    if deadline_problem is not None:
        problems.append(deadline_problem)
        if after.get("activeDeadlineSeconds") is not None:
            return problems
    if _lost_tolerations(before, after):
        text = "existing toleration can not be modified except its tolerationSeconds"
        problems.append(forbidden("spec.tolerations", text))
    gates = {one.get("name") for one in before.get("schedulingGates") or ()}
    for index, gate in enumerate(after.get("schedulingGates") or ()):
        if gate.get("name") not in gates:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            problems.append(forbidden(f"spec.schedulingGates[{index}].name", text))
    if gates:
        problems += _check_gated(before, after)
    if _fixed(before, after, is_gated=bool(gates)) != _fixed(after, after, is_gated=bool(gates)):
        problems.append(forbidden("spec", f"pod updates may not change fields other than {_UPDATABLE}"))
    return problems


def _check_images(containers: Sequence[Mapping[str, Any]], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    for index, container in enumerate(containers):
        image = container.get("image", "")
        if not image:
            problems.append(required(f"{path}[{index}].image"))
        if image.strip() != image:
            problems.append(invalid(f"{path}[{index}].image", image, "must not have leading or trailing whitespace"))
    return problems


def _check_deadline(before: int | None, after: int | None) -> Invalid | None:
    field = "spec.activeDeadlineSeconds"
    if after is None:
        if before is None:
            return None
        return invalid(field, None, "must not update from a positive integer to nil value")
    if not 0 <= after <= _SECONDS_MAX:
        return invalid(field, after, f"must be between 0 and {_SECONDS_MAX}, inclusive")
    if before is not None and before < after:
        return invalid(field, after, "must be less than or equal to previous value")
    return None


def _lost_tolerations(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    def timeless(tolerations: Any) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in one.items() if name != "tolerationSeconds"} for one in tolerations or ()
        ]

    kept = timeless(after.get("tolerations"))
    return any(one not in kept for one in timeless(before.get("tolerations")))


def _check_gated(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Invalid]:
    """A Pod behind gates may be told more about where to run, never less."""
    old, new = before.get("nodeSelector") or {}, after.get("nodeSelector") or {}
    if all(new.get(name) == value for name, value in old.items()):
        return []
    return [invalid("spec.nodeSelector", new, "only additions are allowed (no mutations or deletions)")]


def _fixed(spec: Mapping[str, Any], wanted: Mapping[str, Any], *, is_gated: bool) -> dict[str, Any]:
    """The part of ``spec`` that may not change; ``wanted`` says whether a negative grace period became 1."""
    free = {"activeDeadlineSeconds", "tolerations", "schedulingGates"}
    if is_gated:
        free |= {"nodeSelector"}
    fixed = {name: value for name, value in spec.items() if name not in free and value not in (None, [], {}, "", False)}
    if is_gated:
        affinity = {name: value for name, value in (spec.get("affinity") or {}).items() if name != "nodeAffinity"}
        fixed.pop("affinity", None)
        if affinity:
            fixed["affinity"] = affinity
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0 and wanted.get("terminationGracePeriodSeconds") == 1:
        fixed["terminationGracePeriodSeconds"] = 1
    for kind in ("containers", "initContainers"):
        if kind in fixed:
            fixed[kind] = [{**one, "image": ""} for one in fixed[kind]]
    return fixed


def check_pod_status(new: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of a Pod's status."""
    problems: list[Invalid] = []
    status = new.get("status") or {}
    nominated = status.get("nominatedNodeName")
    if nominated:
        problems += [invalid("status.nominatedNodeName", nominated, text) for text in dns_subdomain(nominated)]
    for index, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type", "")
        problems += [invalid(f"status.conditions[{index}].Type", kind, text) for text in qualified_name(kind)]
    return problems
