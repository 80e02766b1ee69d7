"""Tables: what ``kubectl get`` prints. The columns are the registry's, the cells are made here (and ``table_cells``).

Source: API concepts, "Receiving resources as Tables". Ages are told at the time of the request, so rows are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from reconcile.cluster.api_server.registry import Column, ResourceType
from reconcile.cluster.api_server.representation import Convert, EventType, make_event
from reconcile.cluster.api_server.storage import Change, Stored
from reconcile.cluster.api_server.table_cells import CELLS, Cells, age, at_path
from reconcile.model import json

_FALLBACK = (Column("Name", "string", "name", 0), Column("Created At", "date", "", 0))


class TableRows:
    """Objects as rows of a table.

    Args:
        included: what each row carries of its object: ``None``, ``Metadata`` or ``Object``.
    """

    def __init__(
        self, resource: ResourceType, now: Callable[[], datetime], included: str, convert: Convert | None
    ) -> None:
        self._resource = resource
        self._now = now
        self._included = included
        self._convert = convert
        self._cells: Cells = CELLS.get(resource.name) or (_custom_cells if resource.is_custom else _plain_cells)
        self._columns = _FALLBACK if self._cells is _plain_cells else resource.columns
        self._head = json.encode(
            [
                {"name": one.name, "type": one.type, "format": one.format, "description": "", "priority": one.priority}
                for one in self._columns
            ]
        )

    def object(self, one: Stored) -> bytes:
        return self._table([one], {"resourceVersion": str(one.version)})

    def list(self, items: Iterable[Stored], metadata: dict[str, Any]) -> bytes:
        return self._table(items, metadata)

    def line(self, head: bytes, one: Stored) -> bytes:
        return head + self.object(one) + b"}\n"

    def event(self, change: Change, kind: EventType) -> bytes:
        return make_event(self, change, kind)

    def bookmark(self, version: int, *, initial_end: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return b'{"type":"BOOKMARK","object":' + self._table((), metadata) + b"}\n"

    def _table(self, items: Iterable[Stored], metadata: dict[str, Any]) -> bytes:
        rows = b",".join([json.encode(self._row(one)) for one in items])
        said = json.encode(metadata)
        return b'{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":%b,"columnDefinitions":%b,"rows":[%b]}' % (
            said,
            self._head,
            rows,
        )

    def _row(self, one: Stored) -> dict[str, Any]:
        obj = one.decode()
        if self._convert is not None:
            obj = self._convert(obj)
        if self._cells is _custom_cells:
            cells = [obj["metadata"]["name"], *(_custom(obj, *pair, self._now()) for pair in self._pairs())]
        else:
            cells = self._cells(obj, self._now())
        shown: Any = None
        if self._included == "Object":
            shown = obj
        elif self._included != "None":
            shown = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
        return {"cells": cells, "object": shown}

    def _pairs(self) -> Iterable[tuple[str, str]]:
        return zip(self._resource.custom_columns, (one.type for one in self._columns[1:]), strict=False)


def _plain_cells(obj: dict[str, Any], _now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]


def _custom_cells(obj: dict[str, Any], now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now)]


def _custom(obj: dict[str, Any], path: str, type: str, now: datetime) -> Any:
    """A column of a custom resource: the first value at its path, in its type."""
    value = at_path(obj, path)
    if value is None:
        return None
    match type:
        case "date":
            return age({"metadata": {"creationTimestamp": value}}, now)
        case "integer" | "number" | "boolean":
            return value
        case _:
            return value if isinstance(value, str) else json.encode(value).decode()
