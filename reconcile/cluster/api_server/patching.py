"""JSON patch (RFC 6902) and merge patch (RFC 7386), with the API server's answers to what is wrong with one.

Strategic merge patches are in ``strategic_merge.py``, server-side apply in ``apply.py``.

Guarantees: no argument is changed; what is returned may share parts with the arguments.
Caveats, all of a real server's: ``replace`` and ``copy`` take a missing member of an object for null; a negative index
counts from a list's end; what stands before the first ``/`` of a path is ignored.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from reconcile.errors import ReconcileError

__all__ = ["JSON_PATCH_OPERATIONS_MAX", "PatchError", "json_patch", "merge_patch"]

JSON_PATCH_OPERATIONS_MAX = 10_000
"""A real server's limit."""


class PatchError(ReconcileError):
    """A patch that cannot be read (400), does not fit the object (422), is too long (413) or breaks a rule (500).

    Attributes:
        code: the HTTP status.
        reason: the Status's reason; empty where a real server gives none.
        details: what the Status's ``details`` are; None: it has none.
    """

    def __init__(
        self, message: str, *, code: int = 400, reason: str = "BadRequest", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details


def json_patch(obj: dict[str, Any], operations: Any) -> dict[str, Any]:
    """``obj`` after ``operations``, a decoded JSON patch. Raises PatchError."""
    if not isinstance(operations, list):
        raise PatchError(
            f"error decoding patch: json: cannot unmarshal {json_kind(operations)} into Go value of type "
            "[]handlers.jsonPatchOp"
        )
    for operation in operations:
        if not isinstance(operation, dict):
            raise PatchError(
                f"error decoding patch: json: cannot unmarshal {json_kind(operation)} into Go value of type "
                "handlers.jsonPatchOp"
            )
    if len(operations) > JSON_PATCH_OPERATIONS_MAX:
        raise PatchError(
            f"The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {len(operations)}",
            code=413,
            reason="RequestEntityTooLarge",
        )
    patched = copy.deepcopy(obj)
    for operation in operations:
        try:
            if operation.get("op") == "replace" and operation.get("path") == "":
                patched = _whole(operation.get("value"))
            else:
                _operate(patched, operation)
        except (_RefusedError, KeyError, IndexError, ValueError):
            raise PatchError(
                "the server rejected our request due to an error in our request", code=422, reason="Invalid", details={}
            ) from None
    return patched


class _RefusedError(Exception):
    """An operation that does not fit the document. Which one, the server does not say."""


def _whole(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _RefusedError
    return copy.deepcopy(value)


def _operate(document: dict[str, Any], operation: dict[str, Any]) -> None:
    value = operation.get("value")
    container, key = _locate(document, operation.get("path"))
    match operation.get("op"):
        case "add":
            _add(container, key, copy.deepcopy(value))
        case "remove":
            del container[_member(container, key)]
        case "replace":
            if isinstance(container, list):
                container[_index(container, key)] = copy.deepcopy(value)
            else:
                container[key] = copy.deepcopy(value)
        case "move":
            source, source_key = _locate(document, operation.get("from"))
            moved = source.pop(_member(source, source_key))
            container, key = _locate(document, operation.get("path"))
            _add(container, key, moved)
        case "copy":
            source, source_key = _locate(document, operation.get("from"))
            _add(container, key, copy.deepcopy(_get(source, source_key)))
        case "test":
            if not _equal(_get(container, key), value):
                raise _RefusedError
        case _:
            raise _RefusedError


def _locate(document: dict[str, Any], path: Any) -> tuple[Any, str]:
    """The container of what ``path`` points to, and the key in it; the whole document has none."""
    if not isinstance(path, str):
        raise _RefusedError
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if not parts:
        raise _RefusedError
    container: Any = document
    for part in parts[:-1]:
        container = container[_index(container, part)] if isinstance(container, list) else container[part]
        if not isinstance(container, dict | list):
            raise _RefusedError
    return container, parts[-1]


def _index(container: list[Any], key: str) -> int:
    index = int(key)
    if index < 0:
        index += len(container)
    if not 0 <= index < len(container):
        raise _RefusedError
    return index


def _member(container: Any, key: str) -> Any:
    if isinstance(container, list):
        return _index(container, key)
    if key not in container:
        raise _RefusedError
    return key


def _get(container: Any, key: str) -> Any:
    return container[_index(container, key)] if isinstance(container, list) else container.get(key)


def _add(container: Any, key: str, value: Any) -> None:
    if not isinstance(container, list):
        container[key] = value
        return
    index = len(container) if key == "-" else int(key)
    if index < 0:
        index += len(container) + 1
    if not 0 <= index <= len(container):
        raise _RefusedError
    container.insert(index, value)


def _equal(left: Any, right: Any) -> bool:
    """Equality in JSON's sense: ``1`` is not ``true``."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def merge_patch(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """``obj`` merged with ``patch``: objects member by member, everything else replaced; null removes.

    Raises:
        PatchError: ``patch`` is not an object.
    """
    if patch is None:
        raise PatchError("Invalid JSON Patch")
    if not isinstance(patch, dict):
        raise PatchError(
            f"error decoding patch: json: cannot unmarshal {json_kind(patch)} into Go value of type "
            "map[string]interface {}"
        )
    return _merge(obj, patch)


def _merge(original: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(original)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            before = merged.get(name)
            merged[name] = _merge(before if isinstance(before, dict) else {}, value)
        else:
            merged[name] = _without_null_members(value) if isinstance(value, list) else value
    return merged


def _without_null_members(values: Sequence[Any]) -> list[Any]:
    """A new list's objects, as everything new, have no null members."""
    return [
        _merge({}, value)
        if isinstance(value, dict)
        else _without_null_members(value)
        if isinstance(value, list)
        else value
        for value in values
    ]


def json_kind(value: Any) -> str:
    """What JSON calls a value's type: as Go's error messages say it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return {str: "string", list: "array", dict: "object", type(None): "null"}[value.__class__]
