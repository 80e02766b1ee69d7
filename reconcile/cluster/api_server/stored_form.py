"""Events have two forms, ``v1`` and ``events.k8s.io/v1``, and are stored as the first; this translates.

Source: the API reference of both; a field of one is a field of the other under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconcile.cluster.api_server.registry import ResourceType

_NAMES: Mapping[str, str] = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
"""``events.k8s.io/v1`` → ``v1``."""
_BACK = {old: new for new, old in _NAMES.items()}
_ALWAYS: Mapping[str, Any] = {
    "involvedObject": {},
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}
"""Fields that ``v1`` shows even where nobody gave them."""
_OMITTED_EMPTY = ("reportingController", "reportingInstance", "note", "action", "type", "reason", "regarding")
"""Fields that ``events.k8s.io/v1`` leaves out where they are empty."""


def to_stored(resource: ResourceType) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """From the form of the resource to that which is stored; None where they are one."""
    return _event_to_stored if resource.name != resource.storage_name else None


def from_stored(resource: ResourceType) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """From what is stored to the form of the resource; None where they are one."""
    return _event_from_stored if resource.name != resource.storage_name else None


def _event_to_stored(event: dict[str, Any]) -> dict[str, Any]:
    stored = {_NAMES.get(name, name): value for name, value in event.items()}
    return {**_ALWAYS, **stored, "kind": "Event", "apiVersion": "v1"}


def _event_from_stored(event: dict[str, Any]) -> dict[str, Any]:
    shown = {_BACK.get(name, name): value for name, value in event.items()}
    for name in _OMITTED_EMPTY:
        if not shown.get(name, True):
            del shown[name]
    return {**shown, "kind": "Event", "apiVersion": "events.k8s.io/v1"}
