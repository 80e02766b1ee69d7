"""Rights: what one program may do to one resource, in the API server's words (RBAC)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from reconcile.errors import UsageError
from reconcile.model.resource import Kind, kind_of

VERBS: Final = ("get", "list", "watch", "create", "update", "patch", "delete")
"""Those that a client of this framework can need, in the order in which manifests name them."""

_SUBRESOURCE = re.compile(r"[a-z][a-z0-9]*")


def _in_order(verbs: Iterable[str]) -> tuple[str, ...]:
    given = {verbs} if isinstance(verbs, str) else set(verbs)
    unknown = sorted(given - set(VERBS))
    if unknown or not given:
        problem = f"no verb {unknown[0]!r}" if unknown else "no verbs given"
        raise UsageError(f"Right: {problem}; there are {', '.join(VERBS)}")
    return tuple(verb for verb in VERBS if verb in given)


@attrs.frozen
class Right:
    """Verbs on a kind, or on a subresource of it: ``Right("v1/Pod", ["create", "delete"])``.

    Raises:
        UsageError: a malformed kind or subresource, a verb that is none of ``VERBS``, or no verb at all.
    """

    kind: Kind = attrs.field(converter=kind_of)
    verbs: tuple[str, ...] = attrs.field(converter=_in_order)
    subresource: str = ""

    def __attrs_post_init__(self) -> None:
        if self.subresource and not _SUBRESOURCE.fullmatch(self.subresource):
            raise UsageError(f"Right on {self.kind}: {self.subresource!r} is no subresource, such as 'status'")

    def __str__(self) -> str:
        where = f"{self.kind}/{self.subresource}" if self.subresource else str(self.kind)
        return f"{', '.join(self.verbs)} {where}"


def merged(rights: Iterable[Right]) -> tuple[Right, ...]:
    """The same rights with one entry a resource, ordered by group, kind and subresource."""
    verbs: dict[tuple[str, str, str], tuple[Kind, set[str]]] = {}
    for right in rights:
        # RBAC knows groups, not their versions.
        place = (right.kind.group, right.kind.kind, right.subresource)
        verbs.setdefault(place, (right.kind, set()))[1].update(right.verbs)
    return tuple(Right(kind, chosen, subresource) for (_, _, subresource), (kind, chosen) in sorted(verbs.items()))
