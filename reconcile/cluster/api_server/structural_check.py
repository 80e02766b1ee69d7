"""Validation of custom resources by their structural schema.

Source of the rules: OpenAPI 3.0 "Schema Object" in the part that CustomResourceDefinitions allow, and a real server's
words. Caveats: ``x-kubernetes-validations`` (CEL) is not evaluated; of the formats only ``date-time``, ``date``,
``byte``, ``int32`` and ``int64`` are; of several alternatives of which none fits, the first one's problems are told;
patterns are matched by Python's engine, which a bad pattern can keep busy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from reconcile.model import json

__all__ = ["check_custom"]

_NOWHERE = "<nil>"
"""The field of a problem that a real server cannot place."""
_PATTERNS_KEPT_MAX = 1_000
"""Compiled patterns: a few hundred kinds with a few patterns each."""


def check_custom(schema: Mapping[str, Any], obj: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with an object, its metadata aside."""
    own = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    root = {**schema, "required": [one for one in schema.get("required") or () if one not in _ALWAYS_THERE]}
    return _check(root, own, "")


_ALWAYS_THERE = ("apiVersion", "kind", "metadata")


def _check(schema: Mapping[str, Any], value: Any, path: str) -> list[Invalid]:
    if value is None and schema.get("nullable"):
        return []
    problems = _check_type(schema, value, path)
    is_other_type = bool(problems)
    if (allowed := schema.get("enum")) is not None and not any(_same(value, one) for one in allowed):
        shown = [one if isinstance(one, str) else json.encode(one).decode() for one in allowed]
        problems.append(not_supported(path, value, shown))
    if is_other_type:
        return problems
    if isinstance(value, str):
        problems += _check_text(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        problems += _check_number(schema, value, path)
    elif isinstance(value, list):
        problems += _check_list(schema, value, path)
    elif isinstance(value, dict):
        problems += _check_object(schema, value, path)
    return [*problems, *_check_combinations(schema, value, path)]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return {str: "string", int: "integer", list: "array", dict: "object"}[value.__class__]


def _check_type(schema: Mapping[str, Any], value: Any, path: str) -> list[Invalid]:
    wanted = schema.get("type", "")
    kind = _kind(value)
    if schema.get("x-kubernetes-int-or-string"):
        if kind in ("integer", "string"):
            return []
        wanted = "integer,string"
    elif not wanted or kind == wanted or (wanted == "number" and kind == "integer"):
        return []
    text = f'Invalid value: "{kind}": {_in_body(path)} must be of type {wanted}: "{kind}"'
    problems = [Invalid("FieldValueTypeInvalid", path, text)]
    if wanted == "integer" and kind == "number":
        problems.append(_unplaced(f"Checked value must be of type integer (default format) in {path}"))
    return problems


def _in_body(path: str) -> str:
    return f"{path} in body"


def _unplaced(text: str) -> Invalid:
    return invalid(_NOWHERE, "", text)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


@lru_cache(maxsize=_PATTERNS_KEPT_MAX)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A pattern of Go's syntax, which is nearly Python's; None: it cannot be read here, and matches everything."""
    try:
        return re.compile(pattern.replace(r"\z", r"\Z"))
    except re.error:
        return None


def _check_text(schema: Mapping[str, Any], value: str, path: str) -> list[Invalid]:
    problems = []
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    compiled = _compiled(schema.get("pattern", ""))
    if longest is not None and len(value) > longest:
        problems.append(too_long(path, longest))
    elif shortest is not None and len(value) < shortest:
        problems.append(invalid(path, value, f"{_in_body(path)} should be at least {shortest} chars long"))
    elif compiled is not None and not compiled.search(value):
        problems.append(invalid(path, value, f"{_in_body(path)} should match '{schema['pattern']}'"))
    form = _FORMATS.get(schema.get("format", ""))
    if form is not None and not form.fullmatch(value):
        text = f'{_in_body(path)} must be of type {schema["format"]}: "{value}"'
        problems.append(Invalid("FieldValueTypeInvalid", path, f"Invalid value: {json.encode(value).decode()}: {text}"))
    return problems


_FORMATS = {
    "date-time": re.compile(
        r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?"
    ),
    "date": re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"),
    "byte": re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"),
}


def _check_number(schema: Mapping[str, Any], value: float, path: str) -> list[Invalid]:
    problems = []
    bounds = {"int32": 2**31, "int64": 2**63}
    bound = bounds.get(schema.get("format", "")) if schema.get("type") == "integer" else None
    if bound is not None and not -bound <= value < bound:
        text = f"Checked value must be of type integer with format {schema['format']} in {path}"
        return [_unplaced(text)]
    factor = schema.get("multipleOf")
    if factor and isinstance(value, int) and int(factor) <= 0:
        # As a real server, which cuts the factor to an integer where the value is one.
        text = f"factor MultipleOf declared for {path} must be positive: {int(factor)}"
        problems.append(invalid(path, int(factor), text))
    elif factor and Decimal(str(value)) % Decimal(str(factor)):
        problems.append(invalid(path, value, f"{_in_body(path)} should be a multiple of {factor}"))
    least, greatest = schema.get("minimum"), schema.get("maximum")
    if greatest is not None:
        is_open = bool(schema.get("exclusiveMaximum"))
        if value > greatest or (is_open and value == greatest):
            text = "less than" if is_open else "less than or equal to"
            problems.append(invalid(path, value, f"{_in_body(path)} should be {text} {greatest}"))
    if least is not None:
        is_open = bool(schema.get("exclusiveMinimum"))
        if value < least or (is_open and value == least):
            text = "greater than" if is_open else "greater than or equal to"
            problems.append(invalid(path, value, f"{_in_body(path)} should be {text} {least}"))
    return problems


def _check_list(schema: Mapping[str, Any], value: list[Any], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    longest, shortest = schema.get("maxItems"), schema.get("minItems")
    if longest is not None and len(value) > longest:
        problems.append(too_many(path, len(value), longest))
    if shortest is not None and len(value) < shortest:
        problems.append(invalid(path, len(value), f"{_in_body(path)} should have at least {shortest} items"))
    items = schema.get("items")
    if isinstance(items, Mapping):
        for index, item in enumerate(value):
            problems += _check(items, item, f"{path}[{index}]")
    if schema.get("x-kubernetes-list-type") == "map":
        problems += [
            invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")
            for index, item in enumerate(value)
            if not isinstance(item, dict)
        ]
    return problems or _check_unique(schema, value, path)


def _check_unique(schema: Mapping[str, Any], value: list[Any], path: str) -> list[Invalid]:
    relation = schema.get("x-kubernetes-list-type")
    if relation not in ("set", "map"):
        return []
    names = schema.get("x-kubernetes-list-map-keys") or ()
    problems = []
    seen: set[bytes] = set()
    told: set[bytes] = set()
    for index, item in enumerate(value):
        shown = item
        if relation == "map":
            shown = {name: item[name] for name in sorted(names) if isinstance(item, dict) and name in item}
        key = json.encode(shown)
        if key in seen and key not in told:
            problems.append(duplicate(f"{path}[{index}]", shown))
            told.add(key)
        seen.add(key)
    return problems


def _check_object(schema: Mapping[str, Any], value: dict[str, Any], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    most, fewest = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        problems.append(too_many(path, len(value), most))
    if fewest is not None and len(value) < fewest:
        problems.append(invalid(path, len(value), f"{_in_body(path)} should have at least {fewest} properties"))
    properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
    problems += [required(_below(path, name)) for name in schema.get("required") or () if name not in value]
    for name, item in value.items():
        part = properties.get(name, more)
        if isinstance(part, Mapping):
            problems += _check(part, item, _below(path, name))
    return problems


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _check_combinations(schema: Mapping[str, Any], value: Any, path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    if choices := schema.get("anyOf"):
        found = [_check(one, value, path) for one in choices]
        if all(found):
            problems += [_unplaced(f'"{path}" must validate at least one schema (anyOf)'), *found[0]]
    if choices := schema.get("oneOf"):
        found = [_check(one, value, path) for one in choices]
        count = sum(not one for one in found)
        if count != 1:
            ending = f"{count} valid alternatives" if count else "none valid"
            text = f'"{path}" must validate one and only one schema (oneOf). Found {ending}'
            problems += [_unplaced(text), *(found[0] if not count else ())]
    if choices := schema.get("allOf"):
        found = [_check(one, value, path) for one in choices]
        if any(found):
            problems += [problem for one in found for problem in one]
            problems.append(_unplaced(f'"{path}" must validate all the schemas (allOf)'))
    if (other := schema.get("not")) is not None and not _check(other, value, path):
        problems.append(_unplaced(f'"{path}" must not validate the schema (not)'))
    return problems
