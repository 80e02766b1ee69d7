"""Validation: what is wrong with an object or a change, kind by kind, in the API server's words.

Guarantees: the arguments are not changed; an empty answer means that the object may be stored.
Assumptions: the object was decoded and has its defaults and its system fields (uid, creationTimestamp).
Caveats: a kind without rules here has only its metadata checked; the list of differences in the documentation names
what is not checked. Where a real server shows a value in Go's form, the value is shown as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server.invalid import Invalid
from reconcile.cluster.api_server.name_rules import dns_label, dns_label_1035, dns_subdomain, path_segment
from reconcile.cluster.api_server.structural_check import check_custom
from reconcile.cluster.api_server.validation_cron_job import check_cron_job
from reconcile.cluster.api_server.validation_job import check_job, check_job_update
from reconcile.cluster.api_server.validation_job_status import check_job_status
from reconcile.cluster.api_server.validation_metadata import (
    NameRule,
    check_finalizer_prefixes,
    check_metadata,
    check_metadata_update,
)
from reconcile.cluster.api_server.validation_objects import CREATED, UPDATED
from reconcile.cluster.api_server.validation_pod import check_pod, check_pod_status, check_pod_update
from reconcile.cluster.api_server.validation_workloads import (
    check_budget,
    check_workload,
    check_workload_status,
    check_workload_update,
)

__all__ = ["validate_create", "validate_custom_create", "validate_custom_update", "validate_update"]

_NAME_RULES: Mapping[str, NameRule] = {
    "Namespace": dns_label,
    "StatefulSet": dns_label,
    "Service": dns_label_1035,
    "ClusterRole": path_segment,
    "ClusterRoleBinding": path_segment,
    "Role": path_segment,
    "RoleBinding": path_segment,
}
"""Kinds whose names are no DNS subdomains."""
_UNPREFIXED_FINALIZERS = ("CustomResourceDefinition", "Event", "Lease", "PodDisruptionBudget")
"""Kinds where any finalizer goes."""
_METADATA_LAST = ("Event", "PodDisruptionBudget")
"""Kinds whose metadata is looked at only if nothing else is wrong, and whose names need only fit into a path."""
_WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")


def validate_create(kind: str, obj: Mapping[str, Any], *, is_namespaced: bool) -> list[Invalid]:
    """What is wrong with a new object."""
    if kind in _METADATA_LAST:
        return _created(kind, obj) or check_metadata(
            obj["metadata"], is_namespaced=is_namespaced, name_rule=path_segment
        )
    rule = _NAME_RULES.get(kind, dns_subdomain)
    problems = check_metadata(obj["metadata"], is_namespaced=is_namespaced, name_rule=rule)
    if kind not in _UNPREFIXED_FINALIZERS:
        problems += check_finalizer_prefixes(obj["metadata"])
    return [*problems, *_created(kind, obj)]


def _created(kind: str, obj: Mapping[str, Any]) -> list[Invalid]:
    match kind:
        case "Pod":
            return check_pod(obj)
        case "Job":
            return check_job(obj)
        case "CronJob":
            return check_cron_job(obj, is_new=True)
        case "PodDisruptionBudget":
            return check_budget(obj)
        case _ if kind in _WORKLOADS:
            return check_workload(kind, obj)
        case _:
            check = CREATED.get(kind)
            return check(obj) if check is not None else []


def validate_update(kind: str, old: Mapping[str, Any], new: Mapping[str, Any], subresource: str = "") -> list[Invalid]:
    """What is wrong with a change that came through ``subresource``."""
    problems = check_metadata_update(old["metadata"], new["metadata"])
    if kind not in _UNPREFIXED_FINALIZERS:
        problems += check_finalizer_prefixes(new["metadata"])
    if subresource == "status":
        return [*problems, *_status_changed(kind, old, new)]
    return problems if subresource else [*problems, *_changed(kind, old, new)]


def validate_custom_create(
    schema: Mapping[str, Any] | None, obj: Mapping[str, Any], *, is_namespaced: bool
) -> list[Invalid]:
    """What is wrong with a new custom resource; without a schema only its metadata is looked at."""
    problems = check_metadata(obj["metadata"], is_namespaced=is_namespaced, name_rule=dns_subdomain)
    return [*problems, *(check_custom(schema, obj) if schema is not None else ())]


def validate_custom_update(
    schema: Mapping[str, Any] | None, old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[Invalid]:
    """What is wrong with a change of a custom resource, whatever it came through."""
    problems = check_metadata_update(old["metadata"], new["metadata"])
    return [*problems, *(check_custom(schema, new) if schema is not None else ())]


def _status_changed(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    match kind:
        case "Job":
            return check_job_status(old, new)
        case "Pod":
            return check_pod_status(new)
        case "Deployment" | "ReplicaSet" | "StatefulSet":
            return check_workload_status(new)
        case _:
            return []


def _changed(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    match kind:
        case "Pod":
            return check_pod_update(old, new)
        case "Job":
            return check_job_update(old, new)
        case "CronJob":
            return check_cron_job(new, is_new=False)
        case _ if kind in _WORKLOADS:
            return check_workload_update(kind, old, new)
        case _:
            check = UPDATED.get(kind)
            return check(old, new) if check is not None else _created(kind, new)
