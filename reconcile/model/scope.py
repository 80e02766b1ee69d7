"""Scope: the namespaces in which an application watches."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from reconcile.errors import UsageError


def _sorted_set(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


@attrs.frozen
class Scope:
    """All namespaces where ``namespaces`` is empty, else exactly those. A namespaced Role is enough for the latter."""

    namespaces: tuple[str, ...] = attrs.field(default=(), converter=_sorted_set)

    def __attrs_post_init__(self) -> None:
        if "" in self.namespaces:
            raise UsageError(
                f"Scope.namespaces is {self.namespaces!r}: an empty name; for all namespaces give none at all"
            )

    def covers(self, namespace: str) -> bool:
        """Whether objects of that namespace are watched (cluster-scoped objects, ``""``, only by an unbounded one)."""
        return not self.namespaces or namespace in self.namespaces

    @property
    def partitions(self) -> tuple[str, ...]:
        """One list-watch each; ``""`` is all namespaces at once."""
        return self.namespaces or ("",)

    def __str__(self) -> str:
        return ",".join(self.namespaces) if self.namespaces else "all namespaces"
