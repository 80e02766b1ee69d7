"""Scope: the namespaces in which an application watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from reconcile.errors import UsageError


def _sorted_set(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


@attrs.frozen
class Scope:
    """All namespaces where ``namespaces`` is empty, else exactly those. A namespaced Role is enough for the latter."""

    namespaces: tuple[str, ...] = attrs.field(default=(), converter=_sorted_set)

    @namespaces.validator
    def _no_empty_name(self, _attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
        if "" in value:
            raise UsageError(f"Scope.namespaces is {value!r}: an empty name; for all namespaces give none at all")

    def covers(self, namespace: str) -> bool:
        """Whether objects of that namespace are watched (cluster-scoped objects, ``""``, only by an unbounded one)."""
        return not self.namespaces or namespace in self.namespaces

    @property
    def partitions(self) -> tuple[str, ...]:
        """One list-watch each; ``""`` is all namespaces at once."""
        return self.namespaces or ("",)

    def __str__(self) -> str:
        return ",".join(self.namespaces) if self.namespaces else "all namespaces"
