"""Sets of field paths, and their form in ``metadata.managedFields`` (FieldsV1).

A path is a tuple of elements as FieldsV1 writes them: ``f:NAME`` a field, ``k:{…}`` a list item by its keys, ``v:…`` a
member of a set, ``i:N`` an item by its index. A set is a frozenset of paths; it need not hold a path's beginnings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from reconcile.cluster.api_server.schema import ListType, MapType, StructType, Type
from reconcile.errors import DecodeError
from reconcile.model import json

__all__ = [
    "FieldPath",
    "FieldSet",
    "field_set",
    "fields_v1",
    "key_element",
    "path_text",
    "value_element",
    "with_parents",
]

FieldPath: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[FieldPath]


def key_element(keys: Mapping[str, Any]) -> str:
    """The element of a list item with these keys."""
    return "k:" + json.encode({name: keys[name] for name in sorted(keys)}).decode()


def value_element(value: Any) -> str:
    """The element of a set's member."""
    return "v:" + json.encode(value).decode()


def field_set(fields: Any) -> FieldSet:
    """The set that FieldsV1 describes. Raises DecodeError."""
    found: set[FieldPath] = set()
    _read(fields, (), found)
    return frozenset(found)


def _read(fields: Any, path: FieldPath, found: set[FieldPath]) -> None:
    if not isinstance(fields, dict):
        raise DecodeError("managedFields: a field set is an object")
    for name, inner in fields.items():
        if name == ".":
            found.add(path)
            continue
        below = (*path, _canonical(name))
        if inner:
            _read(inner, below, found)
        else:
            found.add(below)


def _canonical(element: str) -> str:
    kind, text = element[:2], element[2:]
    match kind:
        case "f:":
            return element
        case "k:":
            keys = json.decode(text)
            if isinstance(keys, dict):
                return key_element(keys)
        case "v:":
            return value_element(json.decode(text))
        case "i:":
            return element
    raise DecodeError(f"managedFields: {element!r} is no path element")


def fields_v1(paths: Iterable[FieldPath]) -> dict[str, Any]:
    """A set as FieldsV1."""
    root: dict[str, Any] = {}
    nodes: list[dict[str, Any]] = [root]
    last: FieldPath = ()
    for path in sorted(paths):
        # Sorted, a path comes right before the longer ones that begin with it.
        depth = 0
        for one, other in zip(last, path, strict=False):
            if one != other:
                break
            depth += 1
        if depth == len(last) and last:
            nodes[depth]["."] = {}
        del nodes[depth + 1 :]
        for element in path[depth:]:
            node: dict[str, Any] = {}
            nodes[-1][element] = node
            nodes.append(node)
        last = path
    return root


def path_text(path: FieldPath) -> str:
    """A path as conflicts name it: ``.spec.containers[name="web"].image``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        match kind:
            case "f:":
                text += f".{rest}"
            case "k:":
                keys = json.decode(rest)
                text += "[" + ",".join(f"{name}={json.encode(value).decode()}" for name, value in keys.items()) + "]"
            case "v:":
                text += f"[={rest}]"
            case _:
                text += f"[{rest}]"
    return text


def with_parents(paths: FieldSet, root: Type) -> FieldSet:
    """``paths`` and, of each, the beginnings that end in a field of a struct."""
    found = set(paths)
    seen: set[FieldPath] = set()
    for path in paths:
        current: Type | None = root
        for length, element in enumerate(path, 1):
            is_field = False
            if isinstance(current, StructType):
                field = current.fields.get(element[2:]) if element.startswith("f:") else None
                is_field, current = field is not None, field.type if field is not None else None
            elif isinstance(current, MapType):
                current = current.values
            elif isinstance(current, ListType):
                current = current.items
            else:
                break
            beginning = path[:length]
            if is_field and length < len(path) and beginning not in seen:
                found.add(beginning)
                seen.add(beginning)
    return frozenset(found)
