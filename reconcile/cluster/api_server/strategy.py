"""What becomes of an object when it is created or changed: whose part may change what, generations, selectors.

Source: kube-apiserver's strategies of each resource; the rules are the API conventions' ("Spec and Status").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconcile.cluster.api_server.pod_quality import quality_class
from reconcile.cluster.api_server.registry import ResourceType

_COUNTED = frozenset(
    {
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "deployments.apps",
        "replicasets.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "jobs.batch",
        "cronjobs.batch",
        "poddisruptionbudgets.policy",
        "priorityclasses.scheduling.k8s.io",
        "networkpolicies.networking.k8s.io",
        "ingresses.networking.k8s.io",
        "ingressclasses.networking.k8s.io",
        "endpointslices.discovery.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceslices.resource.k8s.io",
    }
)
"""Resources whose ``metadata.generation`` counts the changes of what is wanted."""

_STATUS_AT_CREATION = frozenset({"nodes", "customresourcedefinitions.apiextensions.k8s.io"})
"""A kubelet registers its node with the status."""

_LABELS_KEPT_BY_STATUS = frozenset({"deployments.apps"})

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def before_reading(resource: ResourceType, obj: dict[str, Any]) -> None:
    """On creation the status is the server's."""
    if resource.has_status and resource.name not in _STATUS_AT_CREATION:
        obj.pop("status", None)
    if resource.name == "daemonsets.apps":
        _set_template_generation(obj["metadata"], 1)


def _set_template_generation(metadata: dict[str, Any], value: int) -> None:
    """What ``extensions/v1beta1`` had as a field is carried on in an annotation."""
    metadata["annotations"] = {**(metadata.get("annotations") or {}), _TEMPLATE_GENERATION: str(value)}


def prepare_create(resource: ResourceType, obj: dict[str, Any]) -> bool:
    """An object with its defaults and its system fields, before it is validated.

    True: what was filled in has defaults of its own, as a Job's labels are those of its template.
    """
    if resource.is_custom or resource.name in _COUNTED:
        obj["metadata"]["generation"] = 1
    else:
        obj["metadata"].pop("generation", None)
    special = _CREATED.get(resource.name)
    if special is not None:
        special(obj)
    return special is not None


def prepare_update(resource: ResourceType, subresource: str, old: Mapping[str, Any], new: dict[str, Any]) -> None:
    """What of a change counts: the main resource does not change the status, nor ``/status`` the rest."""
    if subresource == "status":
        for name in (*old, *new):
            if name not in ("metadata", "status", "kind", "apiVersion"):
                _keep(name, old, new)
        metadata = new["metadata"]
        if resource.is_custom:
            new["metadata"] = {**old["metadata"], "managedFields": metadata.get("managedFields")}
        elif resource.name in _LABELS_KEPT_BY_STATUS:
            _keep("labels", old["metadata"], metadata)
        elif resource.name == "pods":
            _keep("ownerReferences", old["metadata"], metadata)
        return
    if resource.has_status and resource.name != "customresourcedefinitions.apiextensions.k8s.io":
        _keep("status", old, new)
    if resource.name == "daemonsets.apps":
        _count_template(old, new)
    if resource.name == "namespaces" and subresource != "finalize":
        _keep("finalizers", old.get("spec") or {}, new.setdefault("spec", {}))
    if (resource.is_custom or resource.name in _COUNTED) and _wants_other(resource, old, new):
        new["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1


def _count_template(old: Mapping[str, Any], new: dict[str, Any]) -> None:
    said = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "")
    known = int(said) if said.isdecimal() else 0
    changed = (old.get("spec") or {}).get("template") != (new.get("spec") or {}).get("template")
    _set_template_generation(new["metadata"], known + changed)


def _keep(name: str, old: Mapping[str, Any], new: dict[str, Any]) -> None:
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def _wants_other(resource: ResourceType, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    ignored = ("metadata", "status") if resource.has_status or not resource.is_custom else ("metadata",)
    if any(old.get(name) != new.get(name) for name in {*old, *new} if name not in ignored):
        return True
    if resource.name == "deployments.apps":
        return (old["metadata"].get("annotations") or {}) != (new["metadata"].get("annotations") or {})
    return False


# -- creation, kind by kind ---------------------------------------------------------------------------------------


_GATED: Mapping[str, Any] = {
    "type": "PodScheduled",
    "status": "False",
    "lastProbeTime": None,
    "lastTransitionTime": None,
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}
"""KEP-3521."""


def _pod(pod: dict[str, Any]) -> None:
    spec = pod.get("spec") or {}
    status: dict[str, Any] = {"phase": "Pending", "qosClass": quality_class(spec)}
    pod["status"] = status
    if spec.get("schedulingGates"):
        status["conditions"] = [{**_GATED, "lastTransitionTime": pod["metadata"].get("creationTimestamp")}]


def _namespace(namespace: dict[str, Any]) -> None:
    finalizers = (namespace.setdefault("spec", {})).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    namespace["status"] = {"phase": "Active"}
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"]["name"]


def _job(job: dict[str, Any]) -> None:
    """The selector and the labels of its Pods, from the Job's uid, unless they are given (``manualSelector``)."""
    spec = job.get("spec")
    if not isinstance(spec, dict) or spec.get("manualSelector"):
        return
    uid, name = job["metadata"]["uid"], job["metadata"].get("name", "")
    template = spec.setdefault("template", {})
    labels = (template.setdefault("metadata", {})).setdefault("labels", {})
    wanted = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    for key, value in wanted.items():
        labels.setdefault(key, value)
    spec["selector"] = spec.get("selector") or {}
    chosen = spec["selector"].setdefault("matchLabels", {})
    chosen.setdefault("batch.kubernetes.io/controller-uid", uid)


_CREATED: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "pods": _pod,
    "namespaces": _namespace,
    "jobs.batch": _job,
}
