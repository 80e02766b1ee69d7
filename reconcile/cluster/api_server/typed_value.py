"""Values seen through their type: which fields they have, how two differ, merged, with fields removed.

The rules of structured merge: an atomic list or object is one leaf; items of a set are told apart by value, items of a
map list by their keys; an empty object or list is a leaf where there is nothing to compare it with.

Guarantees: no argument is changed; results may share parts with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from reconcile.cluster.api_server.field_set import FieldPath, FieldSet, key_element, value_element
from reconcile.cluster.api_server.schema import Anything, Field, ListType, MapType, Scalar, StructType, Type

__all__ = ["ABSENT", "Difference", "child", "compare", "field_set_of", "is_leaf", "item_element", "merge", "remove"]

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT", "__slots__": ()})()
"""No value, where null is one."""


class Difference(NamedTuple):
    """What separates two values: paths only the second has, only the first has, and those of changed leaves."""

    added: FieldSet
    removed: FieldSet
    modified: FieldSet


def child(parent: Type, name: str) -> tuple[Type, bool]:
    """The type of a member, and whether its field makes it atomic."""
    match parent:
        case StructType():
            field = parent.fields.get(name)
            if field is not None:
                return field.type, field.is_atomic
            return Anything(is_granular=True), False
        case MapType():
            return parent.values, False
        case _:
            return parent, False


def is_leaf(value_type: Type, *, is_atomic: bool, value: Any) -> bool:
    """Whether a value is owned as one."""
    match value_type:
        case Scalar():
            return True
        case ListType():
            return is_atomic or value_type.relation == "atomic"
        case MapType() | StructType():
            return is_atomic or value_type.is_atomic
        case Anything():
            return not (value_type.is_granular and isinstance(value, dict))


def item_element(list_type: ListType, item: Any) -> str:
    """The path element of a list's item. Raises ValueError: it has no keys, or cannot be a set's member."""
    if list_type.relation == "set":
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        return value_element(item)
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")  # noqa: TRY004
    keys: dict[str, Any] = {}
    for key in list_type.keys:
        if key in item:
            keys[key] = item[key]
            continue
        field = list_type.items.fields.get(key) if isinstance(list_type.items, StructType) else None
        default = _key_default(field)
        if default is not None:
            keys[key] = default
    if not keys:
        names = " ".join(f'"{key}"' for key in list_type.keys)
        raise ValueError(
            f"associative list with keys has an element that omits all key fields [{names}] (and doesn't have "
            "default values for any key fields)"
        )
    return key_element(keys)


def _key_default(field: Field | None) -> Any:
    if field is None:
        return None
    return field.default if field.default is not None or field.presence != "always" else field.zero


def _members(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _elements(list_type: ListType, value: Any) -> Iterator[tuple[str, Any]]:
    for item in _items(value):
        try:
            yield item_element(list_type, item), item
        except ValueError:  # an invalid item of an object that was stored: nobody can own it
            continue


# ── which fields ──────────────────────────────────────────────────────────────────────────────────────────────────


def field_set_of(root: Type, value: Any) -> FieldSet:
    """The paths of everything in ``value``."""
    found: set[FieldPath] = set()
    _collect(root, value, (), found, is_atomic=False)
    return frozenset(found)


def _collect(kind: Type, value: Any, path: FieldPath, found: set[FieldPath], *, is_atomic: bool) -> None:
    if is_leaf(kind, is_atomic=is_atomic, value=value):
        found.add(path)
    elif isinstance(kind, ListType):
        elements = [element for element, _ in _elements(kind, value)]
        for element, item in _elements(kind, value):
            found.add((*path, element))
            if elements.count(element) == 1:
                _collect(kind.items, item, (*path, element), found, is_atomic=False)
    else:
        for name, item in _members(value).items():
            below = (*path, f"f:{name}")
            inner, atomic = child(kind, name)
            _collect(inner, item, below, found, is_atomic=atomic)
            if item is None or item == {} or not (isinstance(kind, StructType) and name in kind.fields):
                found.add(below)


# ── how two differ ────────────────────────────────────────────────────────────────────────────────────────────────


def compare(root: Type, old: Any, new: Any) -> Difference:
    """How ``new`` differs from ``old``."""
    walk = _Comparison()
    walk.compare(root, old, new, (), is_atomic=False)
    return Difference(frozenset(walk.added), frozenset(walk.removed), frozenset(walk.modified))


class _Comparison:
    def __init__(self) -> None:
        self.added: set[FieldPath] = set()
        self.removed: set[FieldPath] = set()
        self.modified: set[FieldPath] = set()

    def compare(self, kind: Type, old: Any, new: Any, path: FieldPath, *, is_atomic: bool) -> None:
        if old is new or (old == new and old is not ABSENT and type(old) is type(new)):
            return None
        if is_leaf(kind, is_atomic=is_atomic, value=old if new is ABSENT else new):
            pass
        elif isinstance(kind, ListType):
            if _items(_given(old)) or _items(_given(new)):
                self.items(kind, _given(old), _given(new), path)
                return self.presence(old, new, path)
        elif _members(_given(old)) or _members(_given(new)):
            before, after = _members(_given(old)), _members(_given(new))
            for name in before.keys() | after.keys():
                inner, atomic = child(kind, name)
                one, other = before.get(name, ABSENT), after.get(name, ABSENT)
                self.compare(inner, one, other, (*path, f"f:{name}"), is_atomic=atomic)
            return self.presence(old, new, path)
        if old is not ABSENT and new is not ABSENT:
            self.modified.add(path)
        return self.presence(old, new, path)

    def presence(self, old: Any, new: Any, path: FieldPath) -> None:
        if old is ABSENT:
            self.added.add(path)
        elif new is ABSENT:
            self.removed.add(path)

    def items(self, kind: ListType, old: Any, new: Any, path: FieldPath) -> None:
        before, after = _grouped(kind, old), _grouped(kind, new)
        for element in before | after:
            one, other = before.get(element, []), after.get(element, [])
            below = (*path, element)
            if len(one) <= 1 and len(other) <= 1:
                self.compare(kind.items, (one or [ABSENT])[0], (other or [ABSENT])[0], below, is_atomic=False)
            elif len(one) > 1 and len(other) > 1:
                if one != other:
                    self.modified.add(below)
            elif len(one) > 1:
                if other:
                    self.compare(kind.items, ABSENT, other[0], below, is_atomic=False)
                self.removed.add(below)
            else:
                if one:
                    self.compare(kind.items, one[0], ABSENT, below, is_atomic=False)
                self.added.add(below)


def _given(value: Any) -> Any:
    return None if value is ABSENT else value


def _grouped(kind: ListType, value: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for element, item in _elements(kind, value):
        found.setdefault(element, []).append(item)
    return found


# ── merged ────────────────────────────────────────────────────────────────────────────────────────────────────────


def merge(kind: Type, live: Any, applied: Any, *, is_atomic: bool = False) -> Any:
    """``applied`` over ``live``; ABSENT where nothing is left."""
    if live is ABSENT and applied is ABSENT:
        return ABSENT
    taken = live if applied is ABSENT else applied
    if is_leaf(kind, is_atomic=is_atomic, value=taken):
        return taken
    before, after = _given(live), _given(applied)
    if isinstance(kind, ListType):
        if not _items(before) and not _items(after):
            return taken
        merged = _merge_items(kind, before, after)
        return merged or ABSENT
    if not _members(before) and not _members(after):
        return taken
    found: dict[str, Any] = {}
    for name in dict.fromkeys([*_members(before), *_members(after)]):
        inner, atomic = child(kind, name)
        value = merge(inner, _members(before).get(name, ABSENT), _members(after).get(name, ABSENT), is_atomic=atomic)
        if value is not ABSENT:
            found[name] = value
    return found or ABSENT


def _merge_items(kind: ListType, live: Any, applied: Any) -> list[Any]:
    """Applied items in their order; what only the live list has stays before what followed it there."""
    wanted = dict(_elements(kind, applied))
    before = list(_elements(kind, live))
    names = [name for name, _ in before]
    held = {name: (ABSENT if names.count(name) > 1 else item) for name, item in before} if before else {}
    shared = [name for name in wanted if name in held]
    out: list[Any] = []
    done: set[str] = set()
    waiting = list(wanted)
    left = right = 0

    def take(name: str) -> None:
        done.add(name)
        value = merge(kind.items, held.get(name, ABSENT), wanted[name])
        if value is not ABSENT:
            out.append(value)

    def advance() -> None:
        if shared:
            shared.pop(0)

    while left < len(before) or right < len(waiting):
        if left < len(before) and right < len(waiting):
            name = names[left]
            if name == waiting[right]:
                take(name)
                left += 1
                right += 1
                advance()
                continue
            if name in wanted and shared and shared[0] != name:
                left += 1
                continue
        if left < len(before):
            name, item = before[left]
            if name not in wanted:
                out.append(item)
                left += 1
                continue
            if name in done:
                left += 1
        if right < len(waiting):
            name = waiting[right]
            take(name)
            right += 1
            if shared and shared[0] == name:
                advance()
    return out


# ── removed ───────────────────────────────────────────────────────────────────────────────────────────────────────


def remove(root: Type, value: Any, paths: FieldSet) -> Any:
    """``value`` without what ``paths`` name. What is left of an object or list that lost everything is null."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for element in path[:-1]:
            node = node.setdefault(element, [False, {}])[1]
        if path:
            node.setdefault(path[-1], [False, {}])[0] = True
    return _remove(root, value, tree, is_atomic=False)


def _remove(kind: Type, value: Any, tree: Mapping[str, Any], *, is_atomic: bool) -> Any:
    if isinstance(value, list) and isinstance(kind, ListType):
        if is_leaf(kind, is_atomic=is_atomic, value=value):
            return None
        kept = []
        for item in value:
            try:
                goes, below = tree.get(item_element(kind, item), (False, {}))
            except ValueError:
                goes, below = False, {}
            if not goes:
                kept.append(_remove(kind.items, item, below, is_atomic=False) if below else item)
        return kept or None
    if isinstance(value, dict) and not isinstance(kind, ListType | Scalar):
        if is_leaf(kind, is_atomic=is_atomic, value=value):
            return None
        found: dict[str, Any] = {}
        for name, item in value.items():
            goes, below = tree.get(f"f:{name}", (False, {}))
            if not goes:
                inner, atomic = child(kind, name)
                found[name] = _remove(inner, item, below, is_atomic=atomic) if below else item
        return found or None
    return value
