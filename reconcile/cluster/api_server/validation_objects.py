"""ConfigMaps, Secrets, Leases, Nodes, RBAC: rules that are a few lines a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    forbidden,
    immutable,
    invalid,
    not_supported,
    required,
    too_long,
)
from reconcile.cluster.api_server.name_rules import config_key, path_segment, qualified_name
from reconcile.model import json

__all__ = ["CREATED", "UPDATED"]

DATA_BYTES_MAX = 1024 * 1024
"""Of a ConfigMap or Secret, all values together."""
_FROZEN = "field is immutable when `immutable` is set"

Check = Callable[[Mapping[str, Any]], list[Invalid]]
UpdateCheck = Callable[[Mapping[str, Any], Mapping[str, Any]], list[Invalid]]


def _config_map(obj: Mapping[str, Any]) -> list[Invalid]:
    problems: list[Invalid] = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in data:
        problems += [invalid(f"data[{key}]", key, text) for text in config_key(key)]
        if key in binary:
            problems.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in binary:
        problems += [invalid(f"binaryData[{key}]", key, text) for text in config_key(key)]
    size = sum(len(value.encode()) for value in data.values()) + sum(map(_decoded_length, binary.values()))
    return [*problems, too_long("", DATA_BYTES_MAX)] if size > DATA_BYTES_MAX else problems


def _decoded_length(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=", -2)


def _config_map_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    return [*_frozen(old, new, ("data", "binaryData")), *_config_map(new)]


def _frozen(old: Mapping[str, Any], new: Mapping[str, Any], names: tuple[str, ...]) -> list[Invalid]:
    if not old.get("immutable"):
        return []
    problems = [] if new.get("immutable") else [forbidden("immutable", _FROZEN)]
    return problems + [forbidden(name, _FROZEN) for name in names if (old.get(name) or {}) != (new.get(name) or {})]


_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _secret(obj: Mapping[str, Any]) -> list[Invalid]:
    data, kind = obj.get("data") or {}, obj.get("type", "")
    problems = [invalid(f"data[{key}]", key, text) for key in data for text in config_key(key)]
    if sum(map(_decoded_length, data.values())) > DATA_BYTES_MAX:
        problems.append(too_long("data", DATA_BYTES_MAX))
    problems += [required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        problems += [required("data[username]"), required("data[password]")]
    annotation = "kubernetes.io/service-account.name"
    annotations = obj["metadata"].get("annotations") or {}
    if kind == "kubernetes.io/service-account-token" and not annotations.get(annotation):
        problems.append(required(f"metadata.annotations[{annotation}]"))
    return problems


def _secret_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    return [
        *immutable("type", old.get("type"), new.get("type")),
        *_frozen(old, new, ("data",)),
        *_secret(new),
    ]


def _lease(obj: Mapping[str, Any]) -> list[Invalid]:
    spec = obj.get("spec") or {}
    problems: list[Invalid] = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        problems.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        text = "must be greater than or equal to 0"
        problems.append(invalid("spec.leaseTransitions", transitions, text))
    return problems


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _node(obj: Mapping[str, Any]) -> list[Invalid]:
    problems: list[Invalid] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        field = f"metadata.taints[{index}]"  # so a real server calls it
        key, effect = taint.get("key", ""), taint.get("effect", "")
        problems += [invalid(f"{field}.key", key, text) for text in qualified_name(key)]
        if not effect:
            problems.append(required(f"{field}.effect"))
        elif effect not in _EFFECTS:
            problems.append(not_supported(f"{field}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            problems.append(
                Invalid(
                    "FieldValueDuplicate",
                    field,
                    f"Duplicate value: {json.encode(taint).decode()}: taints must be unique by key and effect pair",
                )
            )
        seen.add((key, effect))
    return problems


def _node_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    problems = _node(new)
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if before.get("podCIDR") and before.get("podCIDR") != after.get("podCIDR"):
        problems.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.get("providerID") and before.get("providerID") != after.get("providerID"):
        text = 'node updates may not change providerID except from "" to valid'
        problems.append(forbidden("spec.providerID", text))
    return problems


def _role(obj: Mapping[str, Any], *, is_cluster_role: bool = False) -> list[Invalid]:
    problems: list[Invalid] = []
    for index, rule in enumerate(obj.get("rules") or ()):
        field = f"rules[{index}]"
        if not rule.get("verbs"):
            problems.append(required(f"{field}.verbs"))
        if rule.get("nonResourceURLs"):
            if not is_cluster_role:
                text = "namespaced rules cannot apply to non-resource URLs"
                problems.append(invalid(f"{field}.nonResourceURLs", rule["nonResourceURLs"], text))
            if any(rule.get(name) for name in ("apiGroups", "resources", "resourceNames")):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                problems.append(invalid(f"{field}.nonResourceURLs", rule["nonResourceURLs"], text))
            continue
        if not rule.get("apiGroups"):
            problems.append(required(f"{field}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            problems.append(required(f"{field}.resources", "resource rules must supply at least one resource"))
    return problems


def _cluster_role(obj: Mapping[str, Any]) -> list[Invalid]:
    return _role(obj, is_cluster_role=True)


def _binding(obj: Mapping[str, Any], kinds: tuple[str, ...]) -> list[Invalid]:
    problems: list[Invalid] = []
    reference, group = obj.get("roleRef") or {}, "rbac.authorization.k8s.io"
    if reference.get("apiGroup") != group:
        problems.append(not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), (group,)))
    if reference.get("kind") not in kinds:
        problems.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
    name = reference.get("name", "")
    if not name:
        problems.append(required("roleRef.name"))
    else:
        problems += [invalid("roleRef.name", name, text) for text in path_segment(name)]
    for index, subject in enumerate(obj.get("subjects") or ()):
        problems += _subject(subject, f"subjects[{index}]", is_namespaced="Role" in kinds)
    return problems


def _subject(subject: Mapping[str, Any], field: str, *, is_namespaced: bool) -> list[Invalid]:
    problems = [] if subject.get("name") else [required(f"{field}.name")]
    kind, group = subject.get("kind", ""), subject.get("apiGroup", "")
    wanted = {"ServiceAccount": "", "User": "rbac.authorization.k8s.io", "Group": "rbac.authorization.k8s.io"}
    if kind not in wanted:
        return [*problems, not_supported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group"))]
    if group != wanted[kind]:
        problems.append(not_supported(f"{field}.apiGroup", group, (wanted[kind],)))
    if kind == "ServiceAccount" and not is_namespaced and not subject.get("namespace"):
        problems.append(required(f"{field}.namespace"))
    return problems


def _role_binding(obj: Mapping[str, Any]) -> list[Invalid]:
    return _binding(obj, ("Role", "ClusterRole"))


def _cluster_role_binding(obj: Mapping[str, Any]) -> list[Invalid]:
    return _binding(obj, ("ClusterRole",))


def _binding_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    if old.get("roleRef") == new.get("roleRef"):
        return []
    return [invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]


def _priority_class_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    problems = immutable("preemptionPolicy", old.get("preemptionPolicy"), new.get("preemptionPolicy"))
    if (old.get("value") or 0) != (new.get("value") or 0):
        problems.append(forbidden("value", "may not be changed in an update."))
    return problems


def _namespace(obj: Mapping[str, Any]) -> list[Invalid]:
    finalizers = (obj.get("spec") or {}).get("finalizers") or ()
    return [
        invalid("spec.finalizers", name, text)
        for name in finalizers
        for text in (qualified_name(name) if name != "kubernetes" else [])
    ]


EVENT_ACTION_LENGTH_MAX = 128
EVENT_REASON_LENGTH_MAX = 128
EVENT_INSTANCE_LENGTH_MAX = 128
EVENT_NOTE_LENGTH_MAX = 1024


def _event(obj: Mapping[str, Any]) -> list[Invalid]:
    """An Event of the newer kind (``eventTime``) says who reports it; an older one lives in its object's namespace."""
    is_strict = str(obj.get("apiVersion", "")).startswith("events.k8s.io/")
    about = obj.get("regarding" if is_strict else "involvedObject") or {}
    namespace, own = about.get("namespace", ""), obj["metadata"].get("namespace", "")
    problems: list[Invalid] = []
    if obj.get("eventTime") is None:
        is_alike = namespace == own or (not namespace and own == "default")
    else:
        is_alike = bool(namespace) or own in ("default", "kube-system")
        problems += _reported(obj, is_strict=is_strict)
    if not is_alike:
        problems.append(invalid("involvedObject.namespace", namespace, "does not match event.namespace"))
    return [*problems, *_strict_event(obj)] if is_strict else problems


def _reported(obj: Mapping[str, Any], *, is_strict: bool) -> list[Invalid]:
    field = "reportingController" if is_strict else "reportingComponent"
    reporter = obj.get(field, "")
    problems = [] if reporter else [required(field)]
    problems += [invalid(field, reporter, text) for text in qualified_name(reporter)]
    for name, length_max in (
        ("reportingInstance", EVENT_INSTANCE_LENGTH_MAX),
        ("action", EVENT_ACTION_LENGTH_MAX),
        ("reason", EVENT_REASON_LENGTH_MAX),
    ):
        if not obj.get(name):
            problems.append(required(name))
        elif len(obj[name]) > length_max:
            problems.append(invalid(name, "", f"can have at most {length_max} characters"))
    if len(obj.get("note" if is_strict else "message", "")) > EVENT_NOTE_LENGTH_MAX:
        problems.append(invalid("message", "", f"can have at most {EVENT_NOTE_LENGTH_MAX} characters"))
    return problems


def _strict_event(obj: Mapping[str, Any]) -> list[Invalid]:
    problems = [] if obj.get("eventTime") is not None else [required("eventTime")]
    if obj.get("type") not in ("Normal", "Warning"):
        problems.append(invalid("type", "", f"has invalid value: {obj.get('type', '')}"))
    for name in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource"):
        if obj.get(name):
            shown = name.removeprefix("deprecated")
            problems.append(invalid(shown[0].lower() + shown[1:], "", "needs to be unset"))
    return problems


CREATED: Mapping[str, Check] = {
    "ClusterRole": _cluster_role,
    "ClusterRoleBinding": _cluster_role_binding,
    "ConfigMap": _config_map,
    "Event": _event,
    "Lease": _lease,
    "Namespace": _namespace,
    "Node": _node,
    "Role": _role,
    "RoleBinding": _role_binding,
    "Secret": _secret,
}
"""What is wrong with a new object of a kind, its metadata aside."""

UPDATED: Mapping[str, UpdateCheck] = {
    "ClusterRoleBinding": _binding_update,
    "ConfigMap": _config_map_update,
    "Node": _node_update,
    "PriorityClass": _priority_class_update,
    "RoleBinding": _binding_update,
    "Secret": _secret_update,
}
"""What is wrong with a change, where that is more than what is wrong with the new object."""
