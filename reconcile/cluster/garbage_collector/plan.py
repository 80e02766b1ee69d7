"""What the garbage collector does with one object, by its owners and its dependents. Pure.

Source: "Garbage Collection" and "Owners and Dependents" in the Kubernetes documentation.
Caveat: owners that wait for each other in a circle wait for ever, unless somebody removes a finalizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

import attrs

from reconcile.client.writes import Propagation
from reconcile.model.meta import OwnerReference
from reconcile.model.object import Object

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class OwnerState(StrEnum):
    """What has become of an owner."""

    THERE = "there"
    ABSENT = "absent"
    WAITING = "waiting"
    """It is being deleted in the foreground: it goes when its dependents are gone."""


@attrs.frozen
class Delete:
    """Delete it."""

    policy: Propagation


@attrs.frozen
class KeepOwners:
    """Drop the references to owners that are gone or going: others keep it."""

    references: tuple[OwnerReference, ...]


@attrs.frozen
class Collect:
    """Its dependents shall go now."""

    dependents: Sequence[Object]


@attrs.frozen
class Orphan:
    """Take it out of its dependents' references; then it goes."""

    dependents: Sequence[Object]


@attrs.frozen
class Release:
    """Nothing holds it any more: take the finalizer off."""

    finalizer: str


Action: TypeAlias = Delete | KeepOwners | Collect | Orphan | Release | None


def is_waiting(obj: Object) -> bool:
    """Whether it waits for its dependents to be gone."""
    return obj.is_deleting and FOREGROUND in obj.finalizers


def decide(obj: Object, owners: Mapping[str, OwnerState], dependents: Sequence[Object]) -> Action:
    """What to do now.

    Args:
        obj: the object.
        owners: the state of each owner in its references, by uid.
        dependents: the objects that name it as an owner.
    """
    if obj.is_deleting:
        return _of_deleted(obj, dependents)
    references = obj.owner_references
    if not references:
        return None
    kept = tuple(one for one in references if owners[one.uid] is OwnerState.THERE)
    if kept:
        return KeepOwners(kept) if len(kept) < len(references) else None
    if dependents and any(owners[one.uid] is OwnerState.WAITING for one in references):
        return Delete("Foreground")
    if ORPHAN in obj.finalizers:
        return Delete("Orphan")
    return Delete("Foreground" if FOREGROUND in obj.finalizers else "Background")


def _of_deleted(obj: Object, dependents: Sequence[Object]) -> Action:
    if ORPHAN in obj.finalizers:
        return Orphan(dependents) if dependents else Release(ORPHAN)
    if FOREGROUND not in obj.finalizers:
        return None
    if any(_blocks(one, obj) for one in dependents):
        return Collect([one for one in dependents if not one.is_deleting])
    return Release(FOREGROUND)


def _blocks(dependent: Object, owner: Object) -> bool:
    return any(one.uid == owner.uid and one.block_owner_deletion for one in dependent.owner_references)
