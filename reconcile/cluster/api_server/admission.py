"""Admission: what is refused or filled in for reasons outside the object. The built-in plugins that controllers meet.

NamespaceLifecycle, DefaultTolerationSeconds, Priority and TaintNodesByCondition ("Admission Control" in the Kubernetes
documentation); the others need configuration or controllers that the embedded cluster does not have.
"""

from __future__ import annotations

from typing import Any

from reconcile.cluster.api_server import failure
from reconcile.cluster.api_server.backend import Backend, Call

IMMORTAL_NAMESPACES = ("default", "kube-system", "kube-public")
"""Never deleted (NamespaceLifecycle)."""

_UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_TOLERATION_SECONDS = 300
_SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def check_namespace(backend: Backend, call: Call, namespace: str, name: str) -> None:
    """A namespace must be there, and not on its way out, to create something in it. Raises Failure (404, 403)."""
    found = backend.storage.table("namespaces").get(namespace)
    if found is None:
        raise failure.not_found("", "namespaces", namespace)
    if b'"deletionTimestamp"' in found.body and found.decode()["metadata"].get("deletionTimestamp"):
        raise failure.forbidden(
            call.resource.group,
            call.resource.plural,
            name,
            f"unable to create new content in namespace {namespace} because it is being terminated",
            [failure.cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")],
        )


def admit_creation(backend: Backend, call: Call, obj: dict[str, Any]) -> None:
    """Fill in what the plugins fill in. Raises Failure (403)."""
    match call.resource.name:
        case "pods":
            _set_priority(backend, obj)
            _add_tolerations(obj.setdefault("spec", {}))
        case "nodes":
            _add_taint(obj)


def admit_change(call: Call, subresource: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Fill in again what a whole object that somebody wrote himself does not say."""
    if call.resource.name != "pods" or subresource:
        return
    spec, before = new.setdefault("spec", {}), old.get("spec") or {}
    for name in ("priority", "preemptionPolicy"):
        if name not in spec and name in before:
            spec[name] = before[name]
    _add_tolerations(spec)


def _add_tolerations(spec: dict[str, Any]) -> None:
    tolerations = spec.get("tolerations") or []
    missing = [
        key
        for key in _UNREACHABLE
        if not any(
            one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "") for one in tolerations
        )
    ]
    if missing:
        spec["tolerations"] = [
            *tolerations,
            *(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATION_SECONDS}
                for key in missing
            ),
        ]


def _set_priority(backend: Backend, pod: dict[str, Any]) -> None:
    spec = pod.setdefault("spec", {})
    name = spec.get("priorityClassName", "")
    classes = backend.storage.table("priorityclasses.scheduling.k8s.io")
    value, policy = 0, "PreemptLowerPriority"
    if name in _SYSTEM_PRIORITIES:
        value = _SYSTEM_PRIORITIES[name]
    elif name:
        found = classes.get(name)
        if found is None:
            raise failure.forbidden(
                "", "pods", pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found"
            )
        chosen = found.decode()
        value, policy = int(chosen.get("value") or 0), chosen.get("preemptionPolicy") or policy
    else:
        for one in classes.objects.values():
            chosen = one.decode()
            if chosen.get("globalDefault"):
                spec["priorityClassName"] = one.name
                value, policy = int(chosen.get("value") or 0), chosen.get("preemptionPolicy") or policy
                break
    spec["priority"] = value
    spec.setdefault("preemptionPolicy", policy)


def _add_taint(node: dict[str, Any]) -> None:
    """A node is not ready until its kubelet has said so."""
    spec = node.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any(one.get("key") == _UNREACHABLE[0] and one.get("effect") == "NoSchedule" for one in taints):
        spec["taints"] = [*taints, {"key": _UNREACHABLE[0], "effect": "NoSchedule"}]
