"""The entries of ``metadata.managedFields``: decoded, encoded, in order, and not too many."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from reconcile.cluster.api_server.field_set import FieldSet, field_set, fields_v1
from reconcile.cluster.api_server.timestamp import time_text
from reconcile.errors import DecodeError
from reconcile.model import json

__all__ = ["UPDATE_MANAGERS_MAX", "Managed", "ManagerKey", "capped", "decode_managed", "encode_managed"]

UPDATE_MANAGERS_MAX = 10
"""More managers than this, other than appliers, share entries, oldest first: a real server's limit."""
_ANCIENT = "ancient-changes"


class ManagerKey(NamedTuple):
    """Who wrote: an applier has one entry, whatever version it used; others have one a version."""

    manager: str
    operation: str
    api_version: str
    subresource: str

    @property
    def text(self) -> str:
        """As conflicts name it."""
        text = json.encode(self.manager).decode()
        if self.subresource:
            text += f" with subresource {json.encode(self.subresource).decode()}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class Managed(NamedTuple):
    """What a manager owns, and since when."""

    fields: FieldSet
    api_version: str
    time: str | None = None

    def at(self, now: datetime) -> Managed:
        """The same, written at ``now``."""
        return self._replace(time=time_text(now))

    def with_fields(self, fields: FieldSet) -> Managed:
        """Other fields of the same age."""
        return self._replace(fields=fields)


def decode_managed(entries: Any) -> dict[ManagerKey, Managed]:
    """The entries by manager. Raises DecodeError."""
    found: dict[ManagerKey, Managed] = {}
    for index, entry in enumerate(entries or ()):
        operation, api_version = entry.get("operation"), entry.get("apiVersion") or ""
        if operation not in ("Apply", "Update"):
            raise DecodeError("operation must be `Apply` or `Update`")
        if not api_version:
            raise DecodeError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            raise DecodeError(f"invalid fieldsType in managed fields entry {index}")
        key = ManagerKey(
            entry.get("manager", ""),
            operation,
            api_version if operation == "Update" else "",
            entry.get("subresource", ""),
        )
        found[key] = Managed(field_set(entry.get("fieldsV1") or {}), api_version, entry.get("time"))
    return found


def encode_managed(managed: Mapping[ManagerKey, Managed]) -> list[dict[str, Any]]:
    """The entries as a real server orders them: by operation, time, manager."""
    order = sorted(managed.items(), key=lambda one: (one[0].operation, one[1].time or "", one[0].manager, *one[0][2:]))
    entries = []
    for key, entry in order:
        encoded: dict[str, Any] = {
            "manager": key.manager,
            "operation": key.operation,
            "apiVersion": entry.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_v1(entry.fields),
            "subresource": key.subresource,
        }
        entries.append({name: value for name, value in encoded.items() if value or name == "fieldsV1"})
    return entries


def capped(managed: Mapping[ManagerKey, Managed]) -> dict[ManagerKey, Managed]:
    """At most ``UPDATE_MANAGERS_MAX`` entries that are no applier's: the oldest of a version are put together."""
    result = dict(managed)
    updaters = sorted(
        (key for key in managed if key.operation == "Update"), key=lambda key: (managed[key].time or "", key)
    )
    count = len(updaters)
    first: dict[str, ManagerKey] = {}
    for key in updaters:
        if count <= UPDATE_MANAGERS_MAX:
            break
        entry = managed[key]
        if entry.api_version not in first:
            first[entry.api_version] = key
            continue
        bucket = ManagerKey(_ANCIENT, "Update", entry.api_version, "")
        if bucket not in result:
            result[bucket] = result.pop(first[entry.api_version])
        result[bucket] = Managed(result[bucket].fields | entry.fields, entry.api_version, entry.time)
        if key != bucket:
            del result[key]
        count -= 1
    return result
