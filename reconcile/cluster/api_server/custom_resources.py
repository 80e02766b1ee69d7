"""CustomResourceDefinitions: each write to one changes what is served, at once.

Source: "Extend the Kubernetes API with CustomResourceDefinitions" in the Kubernetes documentation.
"""

from __future__ import annotations

from typing import Any

from reconcile.cluster.api_server.backend import Backend
from reconcile.cluster.api_server.registry import Column, ResourceType, Subresource
from reconcile.cluster.api_server.selectable_fields import paths

_NAME = "customresourcedefinitions.apiextensions.k8s.io"
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_NAME_COLUMN = Column("Name", "string", "name", 0)


class CustomResources:
    """Listens to the writes of CustomResourceDefinitions."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        backend.listeners[_NAME] = self.heard

    def restore(self) -> None:
        """Serve what was stored before."""
        for one in self._backend.storage.table(_NAME).objects.values():
            self._serve(one.decode())

    def heard(self, obj: dict[str, Any], /, *, is_gone: bool) -> None:
        """One definition is created, changed or removed. Its status is filled in."""
        spec = obj.get("spec") or {}
        group, names = str(spec.get("group", "")), spec.get("names") or {}
        plural = str(names.get("plural", ""))
        if is_gone:
            self._backend.registry.remove(group, plural)
            table = self._backend.storage.table(f"{plural}.{group}")
            for key, one in list(table.objects.items()):
                self._backend.storage.remove(table, key, one.decode())
            return
        names.setdefault("singular", str(names.get("kind", "")).lower())
        names.setdefault("listKind", f"{names.get('kind', '')}List")
        created = obj["metadata"].get("creationTimestamp")
        obj["status"] = {
            "conditions": [
                _condition("NamesAccepted", "NoConflicts", "no conflicts found", created),
                _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", created),
            ],
            "acceptedNames": dict(names),
            "storedVersions": [one["name"] for one in spec.get("versions") or () if one.get("storage")],
        }
        self._serve(obj)

    def _serve(self, obj: dict[str, Any]) -> None:
        spec = obj["spec"]
        self._backend.registry.remove(str(spec["group"]), str(spec["names"]["plural"]))
        for version in spec.get("versions") or ():
            if version.get("served"):
                self._backend.registry.add(_resource(spec, version))


def _condition(type: str, reason: str, message: str, time: Any) -> dict[str, Any]:
    return {"type": type, "status": "True", "lastTransitionTime": time, "reason": reason, "message": message}


def _resource(spec: dict[str, Any], version: dict[str, Any]) -> ResourceType:
    group, names = spec["group"], spec["names"]
    subresources: dict[str, Subresource] = {}
    declared = version.get("subresources") or {}
    if "status" in declared:
        subresources["status"] = Subresource(group, version["name"], names["kind"], ("get", "patch", "update"))
    if "scale" in declared:
        subresources["scale"] = Subresource("autoscaling", "v1", "Scale", ("get", "patch", "update"))
    printed: list[dict[str, Any]] = version.get("additionalPrinterColumns") or [
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]
    columns = [Column(one["name"], one["type"], one.get("format", ""), one.get("priority", 0)) for one in printed]
    selectable = [str(one["jsonPath"]).lstrip(".") for one in version.get("selectableFields") or ()]
    return ResourceType(
        group=group,
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec.get("scope") == "Namespaced",
        verbs=_VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=subresources,
        columns=(_NAME_COLUMN, *columns),
        custom_columns=tuple(one["jsonPath"] for one in printed),
        fields_of=paths(*selectable) if selectable else None,
        is_custom=True,
        list_kind=names.get("listKind", ""),
        schema=(version.get("schema") or {}).get("openAPIV3Schema"),
        scale_paths=declared.get("scale"),
    )
