"""The registry: which resources are served, where, and what is special about each. Data, from ``data/resources.json``.

The file is derived from the real server's discovery by ``.ci/derive_resources.py``; CustomResourceDefinitions add to
it while the server runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import msgspec

from reconcile.cluster.api_server.schema import StructType
from reconcile.cluster.api_server.selectable_fields import SELECTABLE, FieldsOf
from reconcile.cluster.api_server.structural import custom_type
from reconcile.model import json
from reconcile.model.resource import Kind

_DATA = Path(__file__).with_name("data") / "resources.json"

# Read and written in either form; one is stored (k8s.io/api/events/v1 is the newer form of core/v1 Event).
_STORED_AS = {"events.events.k8s.io": "events"}

_RETURNED_WHEN_DELETED = frozenset(
    {
        "pods",
        "services",
        "serviceaccounts",
        "podtemplates",
        "persistentvolumes",
        "persistentvolumeclaims",
        "resourcequotas",
        "storageclasses.storage.k8s.io",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "volumeattributesclasses.storage.k8s.io",
        "resourceclaims.resource.k8s.io",
        "resourceslices.resource.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
    }
)
"""Of these a delete shows the object, of the others a Status (kube-apiserver's ``ReturnDeletedObject``)."""

_ORPHANED_BY_DEFAULT = frozenset({"jobs.batch", "replicationcontrollers"})
"""Whose dependents stay when nobody says otherwise: older than the garbage collector, and kept for that."""

_CREATED_BY_UPDATE = frozenset(
    {"leases.coordination.k8s.io", "events", "services", "endpoints", "endpointslices.discovery.k8s.io", "limitranges"}
)
"""A PUT makes what is not there (kube-apiserver's ``AllowCreateOnUpdate``)."""

_UNCONDITIONAL_REFUSED = frozenset(
    {"leases.coordination.k8s.io", "poddisruptionbudgets.policy", "csinodes.storage.k8s.io"}
)
"""A PUT must name the version that it changes (kube-apiserver's ``AllowUnconditionalUpdate``)."""


class Subresource(msgspec.Struct, frozen=True, array_like=True):
    """One subresource: the kind that is read and written there, and its verbs."""

    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column of ``kubectl get``. ``priority`` above 0: with ``-o wide`` only."""

    name: str
    type: str
    format: str
    priority: int


@attrs.frozen
class ResourceType:
    """One resource in one version.

    Attributes:
        storage_name: the table that holds it; versions of one resource share it.
        custom_columns: of a custom resource: the JSON paths of its columns after the name.
        is_custom: declared by a CustomResourceDefinition.
        schema: of a custom resource: its structural schema.
        custom_type: of a custom resource: the type that the schema makes.
        scale_paths: of a custom resource: where its replicas are.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = attrs.field(factory=dict)
    storage_hash: str = ""
    columns: tuple[Column, ...] = ()
    custom_columns: tuple[str, ...] = ()
    fields_of: FieldsOf | None = attrs.field(default=None, eq=False)
    is_custom: bool = False
    list_kind: str = ""
    schema: Mapping[str, Any] | None = attrs.field(default=None, eq=False, repr=False)
    scale_paths: Mapping[str, str] | None = attrs.field(default=None, eq=False)
    name: str = attrs.field(init=False)
    storage_name: str = attrs.field(init=False)
    api_version: str = attrs.field(init=False)
    gvk: Kind = attrs.field(init=False)
    custom_type: StructType | None = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        name = f"{self.plural}.{self.group}" if self.group else self.plural
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "storage_name", _STORED_AS.get(name, name))
        object.__setattr__(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)
        object.__setattr__(self, "gvk", Kind(self.group, self.version, self.kind))
        own = custom_type(self.kind, self.schema) if self.is_custom else None
        object.__setattr__(self, "custom_type", own)
        object.__setattr__(self, "list_kind", self.list_kind or f"{self.kind}List")

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def shows_deleted(self) -> bool:
        return self.name in _RETURNED_WHEN_DELETED

    @property
    def orphans_by_default(self) -> bool:
        return self.name in _ORPHANED_BY_DEFAULT

    @property
    def created_by_update(self) -> bool:
        return self.storage_name in _CREATED_BY_UPDATE

    @property
    def needs_version_to_update(self) -> bool:
        return self.is_custom or self.name in _UNCONDITIONAL_REFUSED

    def key(self, namespace: str, name: str) -> str:
        """Under which an object is stored."""
        return f"{namespace}/{name}" if self.namespaced else name

    def __str__(self) -> str:
        return self.name


class Registry:
    """What is served now. ``generation`` counts the changes, for what is computed from it."""

    def __init__(self, types: Iterable[ResourceType]) -> None:
        self._types: dict[tuple[str, str, str], ResourceType] = {}
        self.generation = 0
        for one in types:
            self.add(one)

    def add(self, one: ResourceType) -> None:
        self._types[(one.group, one.version, one.plural)] = one
        self.generation += 1

    def remove(self, group: str, plural: str) -> None:
        """Stop serving all versions of a resource."""
        for key in [key for key in self._types if (key[0], key[2]) == (group, plural)]:
            del self._types[key]
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        return self._types.get((group, version, plural))

    def has_version(self, group: str, version: str) -> bool:
        return any(key[0] == group and key[1] == version for key in self._types)

    def find_stored(self, storage_name: str) -> ResourceType | None:
        """Any version of what a table holds, the stored one first."""
        found = [one for one in self if one.storage_name == storage_name]
        return next((one for one in found if one.name == storage_name), found[0] if found else None)

    def groups(self) -> dict[str, dict[str, list[ResourceType]]]:
        """Group → version → resources, in the order of registration."""
        groups: dict[str, dict[str, list[ResourceType]]] = {}
        for one in self:
            groups.setdefault(one.group, {}).setdefault(one.version, []).append(one)
        return groups

    def __iter__(self) -> Iterator[ResourceType]:
        return iter(list(self._types.values()))


def builtin_registry() -> Registry:
    """The resources that the embedded server has from the start."""
    rows = json.decode(_DATA.read_bytes())
    return Registry(map(_row, rows))


def _row(row: dict[str, Any]) -> ResourceType:
    plural, group = row["plural"], row["group"]
    stored_as = _STORED_AS.get(f"{plural}.{group}", f"{plural}.{group}" if group else plural)
    return ResourceType(
        group=group,
        version=row["version"],
        kind=row["kind"],
        plural=plural,
        singular=row["singular"],
        namespaced=row["namespaced"],
        verbs=tuple(row["verbs"]),
        short_names=tuple(row["short_names"]),
        categories=tuple(row["categories"]),
        subresources=json.convert(row["subresources"], dict[str, Subresource]),
        storage_hash=row["storage_hash"],
        columns=json.convert(row["columns"], tuple[Column, ...]),
        fields_of=SELECTABLE.get(stored_as),
    )
