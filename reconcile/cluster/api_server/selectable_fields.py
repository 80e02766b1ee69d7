"""What field selectors may ask of each kind, beyond ``metadata.name`` and ``metadata.namespace``.

Source: kube-apiserver's own lists; an unset field is the empty text, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

FieldsOf: TypeAlias = Callable[[dict[str, Any]], Mapping[str, str]]


def paths(*names: str) -> FieldsOf:
    """A reader of plain paths."""
    split = tuple((name, tuple(name.split("."))) for name in names)

    def read(obj: dict[str, Any]) -> dict[str, str]:
        return {name: _text(obj, path) for name, path in split}

    return read


def _text(obj: Any, path: tuple[str, ...]) -> str:
    for part in path:
        if not isinstance(obj, dict):
            return ""
        obj = obj.get(part)
    if obj is None:
        return ""
    if obj is True or obj is False:
        return "true" if obj else "false"
    return str(obj)


def _booleans(read: FieldsOf, *names: str) -> FieldsOf:
    """Unset means ``false``."""
    return lambda obj: {name: text or ("false" if name in names else "") for name, text in read(obj).items()}


def _numbers(read: FieldsOf) -> FieldsOf:
    """Unset means ``0``."""
    return lambda obj: {name: text or "0" for name, text in read(obj).items()}


def _event(obj: dict[str, Any]) -> Mapping[str, str]:
    fields = dict(_EVENT(obj))
    source = (obj.get("source") or {}).get("component") or ""
    fields["source"] = source or obj.get("reportingComponent") or ""
    return fields


_EVENT = paths(
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
)

SELECTABLE: Mapping[str, FieldsOf] = {
    "pods": _booleans(
        paths(
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ),
        "spec.hostNetwork",
    ),
    "events": _event,
    "nodes": _booleans(paths("spec.unschedulable"), "spec.unschedulable"),
    "namespaces": paths("status.phase"),
    "secrets": paths("type"),
    "services": paths("spec.clusterIP", "spec.type"),
    "jobs.batch": _numbers(paths("status.successful")),
    "replicasets.apps": _numbers(paths("status.replicas")),
    "replicationcontrollers": _numbers(paths("status.replicas")),
}
