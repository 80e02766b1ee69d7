"""Whether an applied configuration has the shape of its kind."""

from __future__ import annotations

from typing import Any, assert_never

from reconcile.cluster.api_server.field_set import path_text
from reconcile.cluster.api_server.go_text import go_text
from reconcile.cluster.api_server.patching import PatchError
from reconcile.cluster.api_server.schema import Anything, ListType, MapType, Scalar, StructType, Type
from reconcile.cluster.api_server.typed_value import item_element
from reconcile.model import json

__all__ = ["check_applied"]


def check_applied(struct: StructType, applied: dict[str, Any]) -> None:
    """Raises PatchError with the words of a real server, which answers 500."""
    problems: list[str] = []
    _check(struct, applied, "", problems)
    if problems:
        metadata = applied.get("metadata") or {}
        name = "/".join(str(part) for part in (metadata.get("namespace", ""), metadata.get("name", "")))
        kind = f"{applied.get('apiVersion')}, Kind={applied.get('kind')}"
        text = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in problems)
        raise PatchError(f"failed to create typed patch object ({name}; {kind}): {text}", code=500, reason="")


def _check(kind: Type, value: Any, path: str, problems: list[str]) -> None:
    if value is None:
        return
    match kind:
        case StructType() | MapType():
            if not isinstance(value, dict):
                problems.append(f"{path}: expected map, got {_text(value)}")
                return
            unknown = next((name for name in value if _member(kind, name) is None), None)
            if unknown is not None:  # hides what is wrong with its siblings, as on a real server
                problems.append(f"{path}.{unknown}: field not declared in schema")
                return
            for name, item in value.items():
                inner = _member(kind, name)
                if inner is not None:
                    _check(inner, item, f"{path}.{name}", problems)
        case ListType():
            _check_list(kind, value, path, problems)
        case Scalar():
            _check_scalar(kind, value, path, problems)
        case Anything():
            return
        case _:
            assert_never(kind)


def _member(kind: StructType | MapType, name: str) -> Type | None:
    if isinstance(kind, MapType):
        return kind.values
    field = kind.fields.get(name)
    if field is not None:
        return field.type
    return Anything() if kind.is_open else None


def _check_list(kind: ListType, value: Any, path: str, problems: list[str]) -> None:
    if not isinstance(value, list):
        problems.append(f"{path}: expected list, got {_text(value)}")
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        if kind.relation != "atomic":
            try:
                element = item_element(kind, item)
            except ValueError as error:
                problems.append(f"{path}: element {index}: {error}")
                continue
            where = path + path_text((element,))
            if element in seen:
                problems.append(f"{path}: duplicate entries for key {path_text((element,))}")
                continue
            seen.add(element)
        _check(kind.items, item, where, problems)


_EXPECTED = {
    "string": ("string", (str,)),
    "bytes": ("string", (str,)),
    "time": ("string", (str,)),
    "micro-time": ("string", (str,)),
    "bool": ("boolean", (bool,)),
    "int32": ("numeric (int or float)", (int, float)),
    "int64": ("numeric (int or float)", (int, float)),
    "double": ("numeric (int or float)", (int, float)),
}


def _check_scalar(kind: Scalar, value: Any, path: str, problems: list[str]) -> None:
    name, types = _EXPECTED.get(kind.name, ("scalar", (str, int, float, bool)))
    is_bool_for_number = isinstance(value, bool) and bool not in types
    if not isinstance(value, types) or is_bool_for_number:
        problems.append(f"{path}: expected {name}, got {_shown(name, value)}")


def _shown(expected: str, value: Any) -> str:
    """The value, in one of the three forms of a real server."""
    match expected:
        case "string":
            text = json.encode(value).decode() if isinstance(value, str) else go_text(value)
            return f"&value.valueUnstructured{{Value:{text}}}"
        case "boolean":
            return _text(value)
        case _:
            return {str: "string", bool: "bool", list: "[]interface {}", dict: "map[string]interface {}"}.get(
                value.__class__, "float64"
            )


def _text(value: Any) -> str:
    return f"&{{{go_text(value)}}}"
