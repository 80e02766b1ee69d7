"""Reads the API server's audit log: who wrote what, when, with which answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Audited:
    """One request as the server saw it."""

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    received: datetime

    @property
    def is_write(self) -> bool:
        return self.verb in ("create", "update", "patch", "delete", "deletecollection")


def read_audit(log: Path, *, user: str = "", namespace: str = "") -> list[Audited]:
    """The requests so far, oldest first; only those of ``user`` and in ``namespace`` where given."""
    entries = [entry for entry in _entries(log) if not user or entry.user == user]
    return sorted((one for one in entries if not namespace or one.namespace == namespace), key=lambda one: one.received)


def _entries(log: Path) -> Iterator[Audited]:
    for line in log.read_bytes().splitlines():
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # the last line may be half written
        reference = event.get("objectRef") or {}
        yield Audited(
            user=(event.get("impersonatedUser") or event["user"]).get("username", ""),
            verb=event["verb"],
            resource=reference.get("resource", ""),
            subresource=reference.get("subresource", ""),
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            code=(event.get("responseStatus") or {}).get("code", 0),
            received=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        )
