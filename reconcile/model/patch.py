"""The four patch types of the API (concepts: "API patch types")."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs


@attrs.frozen
class MergePatch:
    """RFC 7386: objects merge, lists replace, null removes."""

    body: dict[str, Any]


@attrs.frozen
class StrategicMergePatch:
    """Kubernetes' own: lists with merge keys merge. Built-in kinds only."""

    body: dict[str, Any]


@attrs.frozen
class JSONPatch:
    """RFC 6902: a list of operations, all or none."""

    operations: tuple[dict[str, Any], ...]


@attrs.frozen
class ApplyPatch:
    """Server-side apply (KEP-555): the fields that ``field_manager`` wants.

    ``force`` takes over fields that another manager owns, as controllers should.
    """

    body: Any
    field_manager: str
    force: bool = True


Patch: TypeAlias = MergePatch | StrategicMergePatch | JSONPatch | ApplyPatch
