"""Strategic merge patch: a merge patch that knows which lists are keyed, and its directives.

A list whose field has the patch strategy ``merge`` is merged: scalars by value, objects by the field's merge key. Any
other list, and any other value, is replaced. Directives:

* ``$patch: replace | delete`` in an object: take the patch as it is, or leave nothing; in an item of a list: replace
  the list by the patch's other items, or remove the item with this merge key.
* ``$deleteFromPrimitiveList/FIELD``: remove these values. ``$setElementOrder/FIELD``: the order afterwards.
* ``$retainKeys``: in an object, remove every field that it does not name.

Source of the rules: the community's design document "Strategic Merge Patch", and what a real server answers.

Guarantees: no argument is changed.
Caveats: the order of a list is decided as on a real server: what the patch names comes in its order, what only the
object has stays before whatever followed it there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from reconcile.cluster.api_server.go_text import go_text
from reconcile.cluster.api_server.patching import PatchError, json_kind
from reconcile.cluster.api_server.schema import Field, ListType, MapType, StructType, Type

__all__ = ["strategic_merge_patch"]

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"


def strategic_merge_patch(struct: StructType, obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """``obj``, of the built-in type ``struct``, merged with ``patch``. Raises PatchError."""
    if patch is None:
        return obj
    if not isinstance(patch, dict):
        raise PatchError(f"json: cannot unmarshal {json_kind(patch)} into Go value of type map[string]interface {{}}")
    return _merge_object(copy.deepcopy(obj), copy.deepcopy(patch), struct)


def _refuse(message: str) -> NoReturn:
    """What a real server does not call the client's fault, though it is."""
    raise PatchError(message, code=500, reason="")


def _merge_object(original: dict[str, Any], patch: dict[str, Any], type: Type | None) -> dict[str, Any]:
    if _DIRECTIVE in patch:
        return _whole(patch)
    if _RETAIN_KEYS in patch:
        _retain_keys(original, patch)
    _merge_ordered_lists(original, patch, type)
    for key, value in patch.items():
        name, deletes = _strip(key)
        if value is None:
            original.pop(name, None)
            continue
        before = original.get(name)
        field = _field(type, name)
        if deletes:
            if isinstance(before, list) and isinstance(value, list):
                original[name] = _delete_scalars(before, value)
        elif isinstance(before, dict) and isinstance(value, dict):
            original[name] = (
                value
                if "replace" in _strategies(field)
                else _merge_object(before, value, field.type if field is not None else None)
            )
        elif isinstance(before, list) and isinstance(value, list):
            original[name] = _merge_field(before, value, field)
        else:
            _take_new(original, name, value)
    return original


def _whole(patch: dict[str, Any]) -> dict[str, Any]:
    match patch[_DIRECTIVE]:
        case "replace":
            return {name: value for name, value in patch.items() if name != _DIRECTIVE}
        case "delete":
            return {}
        case other:
            _refuse(f"unknown patch type: {go_text(other)} in map: {go_text(patch)}")


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    retained = patch.pop(_RETAIN_KEYS)
    if not isinstance(retained, list) or any(
        value is not None and name not in retained and not name.startswith((_DELETE, _ORDER))
        for name, value in patch.items()
    ):
        raise PatchError("invalid patch format of retainKeys")
    for name in [name for name in original if name not in retained]:
        del original[name]


def _strip(key: str) -> tuple[str, bool]:
    if not key.startswith(_DELETE):
        return key, False
    prefix, slash, name = key.partition("/")
    if prefix != _DELETE or not slash:
        raise PatchError("invalid patch format of primitive list")
    return name, True


def _field(type: Type | None, name: str) -> Field | None:
    if isinstance(type, StructType):
        return type.fields.get(name)
    return Field(name, type.values) if isinstance(type, MapType) else None


def _strategies(field: Field | None) -> tuple[str, ...]:
    return field.patch_strategies if field is not None else ()


def _take_new(original: dict[str, Any], name: str, value: Any) -> None:
    """A value that meets nothing to merge with: taken without its directives and nulls."""
    kept, cleaned = _cleaned(value)
    if kept:
        original[name] = cleaned
    else:
        original.pop(name, None)


def _cleaned(value: Any) -> tuple[bool, Any]:
    if isinstance(value, dict):
        if _DIRECTIVE in value:
            return False, None
        found = {}
        for name, item in value.items():
            if item is None:
                continue
            kept, cleaned = _cleaned(item)
            if kept:
                found[name] = cleaned
        return True, found
    if isinstance(value, list):
        cleaned_items = [_cleaned(item) for item in value]
        return True, [item for kept, item in cleaned_items if kept]
    return True, value


# ── lists ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _merge_ordered_lists(original: dict[str, Any], patch: dict[str, Any], type: Type | None) -> None:
    """The lists for which the patch gives an order; they are removed from ``patch``."""
    for key in [key for key in patch if key.startswith(_ORDER)]:
        order = patch.pop(key)
        prefix, slash, name = key.partition("/")
        if not isinstance(order, list):
            _refuse(f"expected a []interface {{}}, but received a {_go_kind(order)}")
        if prefix != _ORDER or not slash:
            raise PatchError("invalid patch format of setElementOrder list")
        before, change = original.get(name), patch.pop(name, None)
        for value in (before, change):
            if value is not None and not isinstance(value, list):
                _refuse(f"expected a []interface {{}}, but received a {_go_kind(value)}")
        field = _field(type, name)
        merge_key = field.merge_key if field is not None else None
        _check_order(change or [], order, merge_key)
        if before is None and change is None:
            continue
        if change is None:
            merged = before
        elif before is None:
            merged = _cleaned(change)[1]
        else:
            merged = _merge_field(before, change, field)
        if not before and not change:
            _refuse("no elements in any of the given slices")
        server_order = _left_behind(before or [], change or [], merge_key)
        original[name] = _ordered(merged or [], order, server_order, merge_key)


def _left_behind(before: Sequence[Any], change: Sequence[Any], merge_key: str | None) -> Sequence[Any]:
    """The order that the object had, as a real server knows it after the merge: new items stand in freed places."""
    if merge_key is None:
        return before
    removed = [item.get(merge_key) for item in change if item.get(_DIRECTIVE) == "delete"]
    kept = [item for item in before if item.get(merge_key) not in removed]
    names = [item.get(merge_key) for item in kept]
    added = [item for item in change if _DIRECTIVE not in item and item.get(merge_key) not in names]
    return [*kept, *added[: len(before) - len(kept)]]


def _merge_field(before: list[Any], change: list[Any], field: Field | None) -> list[Any]:
    if "merge" not in _strategies(field) or field is None:
        return change
    items = field.type.items if isinstance(field.type, ListType) else None
    if not before and not change:
        return before
    kinds = {isinstance(item, dict) for item in [*before, *change]}
    if len(kinds) > 1:
        _refuse(f"list element types are not identical: {go_text([before, change])}")
    if kinds == {False}:
        return _ordered(_unique([*before, *change]), change, before, None)
    if field.merge_key is None:
        _refuse(f"cannot merge lists without merge key for {field.name}")
    before, change = _without_directives(before, change, field.merge_key)
    merged = list(before)
    for item in change:
        position = _find(merged, field.merge_key, _key(item, field.merge_key))
        if position is None:
            merged.append(item)
        else:
            merged[position] = _merge_object(merged[position], item, items)
    return _ordered(merged, change, before, field.merge_key)


def _without_directives(before: list[Any], change: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    plain: list[Any] = []
    replaces = False
    for item in change:
        match item.get(_DIRECTIVE, plain):
            case directive if directive is plain:
                plain.append(item)
            case "delete":
                removed = _key(item, merge_key)
                before = [one for one in before if one.get(merge_key) != removed]
            case "replace":
                replaces = True
            case "merge":
                _refuse("merging lists cannot yet be specified in the patch")
            case other:
                _refuse(f"unknown patch type: {go_text(other)} in map: {go_text(item)}")
    return (plain, []) if replaces else (before, plain)


def _delete_scalars(before: Sequence[Any], removed: Sequence[Any]) -> list[Any]:
    return [item for item in before if item not in removed]


def _unique(items: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _key(item: Any, merge_key: str) -> Any:
    if merge_key not in item:
        _refuse(f"map: {go_text(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _find(items: Sequence[Any], merge_key: str, value: Any) -> int | None:
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get(merge_key) == value:
            return index
    return None


def _check_order(change: Sequence[Any], order: Sequence[Any], merge_key: str | None) -> None:
    """What the patch changes must stand in its order list, in the same order."""
    if not change or not order:
        return
    wanted = [item for item in change if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "delete")]
    position = at = 0
    while position < len(wanted) and at < len(order):
        if isinstance(wanted[position], dict) and _DIRECTIVE in wanted[position]:
            position += 1
            continue
        if _same(wanted[position], order[at], merge_key):
            position += 1
        at += 1
    if position < len(wanted):
        _refuse(f"The order in patch list:\n{go_text(change)}\n doesn't match {_ORDER} list:\n{go_text(order)}\n")


def _same(left: Any, right: Any, merge_key: str | None) -> bool:
    return bool(left == right) if merge_key is None else bool(_key(left, merge_key) == _key(right, merge_key))


def _ordered(
    merged: Sequence[Any], patch_order: Sequence[Any], server_order: Sequence[Any], merge_key: str | None
) -> list[Any]:
    """``merged`` in the patch's order; what only the object has keeps its place before what followed it there."""
    in_patch, in_server = _positions(patch_order, merge_key), _positions(server_order, merge_key)
    keyed = [(_hashable(item if merge_key is None else _key(item, merge_key)), item) for item in merged]
    named = _sorted([one for one in keyed if one[0] in in_patch], in_patch)
    others = _sorted([one for one in keyed if one[0] not in in_patch], in_server)
    result: list[Any] = []
    while named and others:
        own, its = in_server.get(others[0][0]), in_server.get(named[0][0])
        result.append((others if own is not None and its is not None and own < its else named).pop(0)[1])
    return [*result, *(item for _, item in named), *(item for _, item in others)]


def _positions(order: Sequence[Any], merge_key: str | None) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for index, item in enumerate(order):
        found.setdefault(_hashable(item if merge_key is None else _key(item, merge_key)), index)
    return found


def _hashable(value: Any) -> Any:
    return (value.__class__, value) if isinstance(value, str | int | float | bool) else repr(value)


def _sorted(items: list[tuple[Any, Any]], order: Mapping[Any, int]) -> list[tuple[Any, Any]]:
    """In ``order``. What it does not name goes to the front, last first: a real server's sort leaves it so."""
    known = [item for item in items if item[0] in order]
    if len(known) == len(items):
        return sorted(items, key=lambda item: order[item[0]])
    placed: list[tuple[Any, Any]] = []
    for item in items:
        at = len(placed)
        while at and (
            item[0] not in order or placed[at - 1][0] not in order or order[item[0]] < order[placed[at - 1][0]]
        ):
            at -= 1
        placed.insert(at, item)
    return placed


def _go_kind(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return {str: "string", bool: "bool", int: "int64", float: "float64", type(None): "nil"}[value.__class__]
