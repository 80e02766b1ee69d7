"""OpenAPI schemas of the types that the server knows: what kubectl computes patches and explanations from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from reconcile.cluster.api_server.registry import ResourceType
from reconcile.cluster.api_server.schema import SCHEMA, Anything, Field, ListType, MapType, Scalar, StructType, Type

_REFERENCE = "#/components/schemas/"

_SCALARS: Mapping[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int-or-string": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "time": {"type": "string", "format": "date-time"},
    "micro-time": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
}


def schemas_of(resources: Iterable[ResourceType]) -> dict[str, Any]:
    """Name → schema, of the resources' kinds and of every type that they need."""
    found: dict[str, Any] = {}
    for one in resources:
        if one.is_custom:
            found[kind_name(one)] = {**(one.schema or {"type": "object"}), **_identity(one)}
            continue
        struct = SCHEMA.type_for(one.group, one.version, one.kind)
        if struct is not None:
            _collect(struct, found)
            found[kind_name(one)] = {**_struct(struct), **_identity(one)}
    return found


def kind_name(one: ResourceType) -> str:
    """Under which a kind's schema stands."""
    struct = None if one.is_custom else SCHEMA.type_for(one.group, one.version, one.kind)
    if struct is not None:
        return _public_name(struct.name)
    return f"{'.'.join(reversed(one.group.split('.')))}.{one.version}.{one.kind}"


def _identity(one: ResourceType) -> dict[str, Any]:
    return {"x-kubernetes-group-version-kind": [{"group": one.group, "kind": one.kind, "version": one.version}]}


def _public_name(name: str) -> str:
    """``core.v1.PodSpec`` → the name that the real server gives it."""
    if name.startswith("meta."):
        return f"io.k8s.apimachinery.pkg.apis.{name}"
    return f"io.k8s.api.{name}"


def _collect(type: Type, found: dict[str, Any]) -> None:
    """All structs below a type; they may refer to themselves."""
    match type:
        case StructType():
            name = _public_name(type.name)
            if name not in found:
                found[name] = None  # so that a type within itself ends here
                found[name] = _struct(type)
                for field in type.fields.values():
                    _collect(field.type, found)
        case ListType():
            _collect(type.items, found)
        case MapType():
            _collect(type.values, found)
        case Scalar() | Anything():
            pass
        case _:
            assert_never(type)


def _struct(struct: StructType) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if struct.required:
        schema["required"] = list(struct.required)
    schema["properties"] = {name: _field(field) for name, field in struct.fields.items()}
    if struct.is_atomic:
        schema["x-kubernetes-map-type"] = "atomic"
    if struct.is_open:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return schema


def _field(field: Field) -> dict[str, Any]:
    own = _type(field.type)
    schema: dict[str, Any] = {"allOf": [own]} if "$ref" in own else own
    if field.default is not None:
        schema["default"] = field.default
    if field.enum:
        schema["enum"] = list(field.enum)
    if field.merge_key is not None:
        schema["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.patch_strategies:
        schema["x-kubernetes-patch-strategy"] = ",".join(field.patch_strategies)
    return schema


def _type(type: Type) -> dict[str, Any]:
    match type:
        case Scalar():
            return dict(_SCALARS[type.name])
        case StructType():
            return {"$ref": _REFERENCE + _public_name(type.name)}
        case ListType():
            schema: dict[str, Any] = {"type": "array", "items": _type(type.items)}
            schema["x-kubernetes-list-type"] = type.relation
            if type.keys:
                schema["x-kubernetes-list-map-keys"] = list(type.keys)
            return schema
        case MapType():
            schema = {"type": "object", "additionalProperties": _type(type.values)}
            if type.is_atomic:
                schema["x-kubernetes-map-type"] = "atomic"
            return schema
        case Anything():
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case _:
            assert_never(type)
