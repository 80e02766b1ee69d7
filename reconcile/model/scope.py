"""Scope: the namespaces in which an application watches."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from reconcile.errors import UsageError

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label (RFC 1123), as the API server asks of namespaces. A list in any other is answered with nothing."""


def _sorted_set(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise UsageError(f"Scope.namespaces is the text {names!r}: want several names, such as ({names!r},)")
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
        for name in self.namespaces:
            if not _NAMESPACE.fullmatch(name):
                raise UsageError(
                    f"Scope.namespaces: {name!r} is not a namespace (at most 63 lower-case letters, digits or '-')"
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
