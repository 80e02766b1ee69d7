"""Structural schemas: the types of custom resources, pruning and defaulting by them.

``structural_check.py`` validates by them. Source of the rules: "Extend the Kubernetes API with
CustomResourceDefinitions" (structural schemas, pruning, defaulting, nullable) in the Kubernetes documentation, KEP-555
for list and map types.

Guarantees: the schema and the object are not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server.decoding import Decoded, WrongTypeError, decode
from reconcile.cluster.api_server.patching import json_kind
from reconcile.cluster.api_server.schema import SCHEMA, Anything, Field, ListType, MapType, Scalar, StructType, Type

__all__ = ["custom_type", "read_custom"]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"
_SCALARS: Mapping[str, str] = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
_WHOLE_OBJECT = ("apiVersion", "kind", "metadata")


def custom_type(kind: str, schema: Mapping[str, Any] | None) -> StructType:
    """The type of a custom resource's objects; without a schema every field is kept."""

    def fields() -> dict[str, Field]:
        own = schema or {}
        found = {
            name: Field(name, _type(part), "kept")
            for name, part in (own.get("properties") or {}).items()
            if name not in _WHOLE_OBJECT
        }
        return {**found, **_object_fields()}

    is_open = schema is None or bool(schema.get(_PRESERVE))
    return StructType(kind, fields, is_open=is_open, is_custom=True)


def _object_fields() -> dict[str, Field]:
    return {
        "apiVersion": Field("apiVersion", Scalar("string"), "kept"),
        "kind": Field("kind", Scalar("string"), "kept"),
        "metadata": Field("metadata", SCHEMA.struct("meta.v1.ObjectMeta"), "kept"),
    }


def _type(schema: Mapping[str, Any]) -> Type:
    if schema.get(_INT_OR_STRING):
        return Scalar("int-or-string")
    kind, is_open = schema.get("type", ""), bool(schema.get(_PRESERVE))
    is_atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if kind == "array":
        relation = schema.get("x-kubernetes-list-type", "atomic")
        return ListType(
            _type(schema.get("items") or {}), relation, tuple(schema.get("x-kubernetes-list-map-keys") or ())
        )
    if kind in _SCALARS:
        return Scalar(_SCALARS[kind])
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        return MapType(_type(more), is_atomic=is_atomic)
    if more is True:
        return MapType(Anything(is_granular=True), is_atomic=is_atomic)
    if kind != "object" or (is_open and not schema.get("properties") and not schema.get(_EMBEDDED)):
        return Anything(is_granular=not is_atomic)

    def fields() -> dict[str, Field]:
        found = {
            name: Field(name, _type(part), "kept", default=part.get("default"))
            for name, part in (schema.get("properties") or {}).items()
        }
        return {**_object_fields(), **found} if schema.get(_EMBEDDED) else found

    return StructType("object", fields, is_atomic=is_atomic, is_open=is_open, is_custom=True)


def read_custom(schema: Mapping[str, Any] | None, obj: dict[str, Any]) -> Decoded:
    """``obj`` pruned, without nulls that its schema does not allow, and with the schema's defaults.

    Raises:
        WrongTypeError: its metadata cannot be read.
    """
    unknown: list[str] = []
    metadata = obj.get("metadata") or {}
    if not isinstance(metadata, dict):
        where = "Go struct field ObjectMeta.metadata of type v1.ObjectMeta"
        raise WrongTypeError(f"json: cannot unmarshal {json_kind(metadata)} into {where}")
    own = {name: value for name, value in obj.items() if name not in _WHOLE_OBJECT}
    pruned = own if schema is None else _pruned(schema, own, "", unknown)
    read = decode(SCHEMA.struct("meta.v1.ObjectMeta"), metadata)
    unknown += [f"metadata.{path}" for path in read.unknown]
    whole = {name: obj[name] for name in ("apiVersion", "kind") if name in obj}
    filled = {**whole, "metadata": read.value, **(pruned if schema is None else _defaulted(schema, pruned))}
    return Decoded(filled, tuple(sorted(unknown)))


def _pruned(schema: Mapping[str, Any], value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        return [_pruned(items, item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    is_open = schema.get(_PRESERVE) or more is True
    found: dict[str, Any] = {}
    for name, item in value.items():
        below = f"{path}.{name}" if path else name
        if name in properties:
            found[name] = _pruned(properties[name], item, below, unknown)
        elif isinstance(more, Mapping):
            found[name] = _pruned(more, item, below, unknown)
        elif is_open or (schema.get(_EMBEDDED) and name in _WHOLE_OBJECT):
            found[name] = item
        else:
            unknown.append(below)
    return found


def _defaulted(schema: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        return [_defaulted(items, item) for item in value] if isinstance(items, Mapping) else value
    if not isinstance(value, dict):
        return value
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    found: dict[str, Any] = {}
    for name, item in value.items():
        part = properties.get(name, more if isinstance(more, Mapping) else None)
        if part is None:
            found[name] = item
        elif item is not None or part.get("nullable"):
            found[name] = _defaulted(part, item)
    for name, part in properties.items():
        if name not in found and "default" in part and part["default"] is not None:
            found[name] = _defaulted(part, copy.deepcopy(part["default"]))
    return found
