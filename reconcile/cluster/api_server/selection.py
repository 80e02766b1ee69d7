"""Selectors of lists and watches, compiled to one test of a stored object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from reconcile.cluster.api_server.failure import bad_request
from reconcile.cluster.api_server.registry import ResourceType
from reconcile.cluster.api_server.storage import Stored
from reconcile.errors import UsageError
from reconcile.model.selector import LabelSelector

Test: TypeAlias = Callable[[Stored], bool]

_TERM = re.compile(r"([^=!]*)(!=|==?)(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")


def selection(resource: ResourceType, label_selector: str, field_selector: str) -> Test | None:
    """A test, or None where everything is selected. Raises Failure (400)."""
    by_labels = _by_labels(label_selector) if label_selector else None
    by_fields = _by_fields(resource, field_selector) if field_selector else None
    if by_labels is None or by_fields is None:
        return by_labels or by_fields
    return lambda one: by_labels(one) and by_fields(one)


def name_selected(field_selector: str) -> str:
    """The one name that a field selector asks for, if it does: then a list is a look-up."""
    match = re.fullmatch(r"metadata\.name==?([^=,!\\]+)", field_selector)
    return match[1] if match else ""


def _by_labels(text: str) -> Test:
    try:
        matcher = LabelSelector.parse(text).matcher
    except UsageError as error:
        raise bad_request(f"unable to parse requirement: {error}") from None
    return lambda one: matcher(one.labels)


def _by_fields(resource: ResourceType, text: str) -> Test:
    terms: list[tuple[str, bool, str]] = []
    known = resource.fields_of({}) if resource.fields_of is not None else {}
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = _TERM.fullmatch(part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, operator, value = match[1], match[2], _ESCAPED.sub(r"\1", match[3])
        if path not in known and path not in ("metadata.name", "metadata.namespace"):
            raise bad_request(_unknown(resource, path, known))
        terms.append((path, operator != "!=", value))
    tests = [_term(*term) for term in terms]
    return tests[0] if len(tests) == 1 else lambda one: all(test(one) for test in tests)


def _term(path: str, wanted: bool, value: str) -> Test:  # noqa: FBT001  a row of a table
    if path == "metadata.name":
        return lambda one: (one.name == value) is wanted
    if path == "metadata.namespace":
        return lambda one: (one.namespace == value) is wanted
    return lambda one: ((one.fields or {}).get(path, "") == value) is wanted


def _unknown(resource: ResourceType, path: str, known: Mapping[str, str]) -> str:
    if resource.is_custom:
        return f"field label not supported: {path}"
    if known:
        return f"field label not supported: {path}"
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
