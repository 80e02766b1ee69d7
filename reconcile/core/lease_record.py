"""Leases (coordination.k8s.io/v1) as leader election reads and writes them: whatever somebody has written into one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reconcile.errors import DecodeError
from reconcile.model import timestamp
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.resource import Kind, Resource

LEASES = Resource(Kind("coordination.k8s.io", "v1", "Lease"), "leases")

RELEASED_ANNOTATION = "reconcile.dev/released-at-transition"
"""Set by a leader that releases its Lease: the Lease's transitions then. Any other Lease is waited for."""
LEASE_SECONDS_MAX = 3600
"""The longest lease that is granted or respected: a bound for what somebody may have written into one."""
TRANSITIONS_MAX = 2**31 - 1
"""``leaseTransitions`` is an int32."""


def unheld(key: ObjectKey) -> Object:
    """A Lease that is nobody's, to be created."""
    metadata = {"name": key.name, "namespace": key.namespace}
    body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind.kind, "metadata": metadata, "spec": {}}
    return from_plain(body)


def changed(lease: Object, spec: Mapping[str, Any], annotations: Mapping[str, str]) -> Object:
    """The whole Lease with these members of its spec and these annotations; what others wrote beside them stays."""
    body = lease.to_dict()
    body["spec"] = {**_spec(lease), **spec}
    body["metadata"]["annotations"] = dict(annotations)
    return from_plain(body)


def time(wall: datetime) -> str:
    """A time as it stands in a Lease."""
    return timestamp.render_micro(wall)


def holder(lease: Object | None) -> str:
    """Who holds it; empty for nobody, or what is no name."""
    name = _spec(lease).get("holderIdentity")
    return name if isinstance(name, str) else ""


def transitions(lease: Object | None) -> int:
    """How often its holder has changed; 0 where that is no number it can be."""
    count = _spec(lease).get("leaseTransitions")
    return count if isinstance(count, int) and 0 <= count <= TRANSITIONS_MAX else 0


def duration_seconds(lease: Object | None) -> int:
    """For how long it is held; 0 where that is no number it can be."""
    seconds = _spec(lease).get("leaseDurationSeconds")
    return seconds if isinstance(seconds, int) and 0 < seconds <= LEASE_SECONDS_MAX else 0


def was_acquired_at(lease: Object | None, text: str) -> bool:
    """Whether its acquireTime is this time: the server may write it differently."""
    acquired = _spec(lease).get("acquireTime")
    if not isinstance(acquired, str):
        return False
    try:
        return timestamp.parse(acquired) == timestamp.parse(text)
    except DecodeError:
        return False


def is_released(lease: Object | None) -> bool:
    """Whether its holder has released it, rather than somebody cleared the name."""
    if lease is None or holder(lease):
        return False
    return lease.annotations.get(RELEASED_ANNOTATION) == str(transitions(lease))


def _spec(lease: Object | None) -> dict[str, Any]:
    try:
        spec = lease.field("spec") if lease is not None else None
    except DecodeError:
        return {}
    return spec if isinstance(spec, dict) else {}
