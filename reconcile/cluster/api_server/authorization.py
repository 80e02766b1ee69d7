"""Who may do what: a seam. By default every user that the server knows may do everything; RBAC is not enforced."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from reconcile.cluster.api_server.failure import Failure
from reconcile.cluster.api_server.request import Target, User

Authorizer: TypeAlias = Callable[[User, str, Target], str | None]
"""User, verb and what it is done to → None if that is allowed, else the reason (which may be empty)."""

_UNKNOWN = "system:unauthenticated"


def allow_known_users(user: User, verb: str, target: Target) -> str | None:
    """Everything to everybody but the anonymous."""
    del verb, target
    return "" if _UNKNOWN in user.groups else None


def forbidden(user: User, verb: str, target: Target, reason: str) -> Failure:
    """The refusal, in the words of the real server's authorizer."""
    plural = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
    where = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
    text = f'User "{user.name}" cannot {verb} resource "{plural}" in API group "{target.group}"{where}'
    details = {"name": target.name, "group": target.group, "kind": target.plural}
    subject = f"{target.plural}.{target.group}" if target.group else target.plural
    shown = f'{subject} "{target.name}"' if target.name else subject
    return Failure(
        403,
        f"{shown} is forbidden: {text}" + (f": {reason}" if reason else ""),
        details={name: value for name, value in details.items() if value},
    )
