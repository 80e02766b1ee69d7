"""Ownership: the controller reference, and what it says about who manages an object."""

from __future__ import annotations

from reconcile.model.meta import OwnerReference
from reconcile.model.object import Object
from reconcile.model.resource import Kind


def controller_of(child: Object) -> OwnerReference | None:
    """The one owner reference with ``controller: true`` (the first, should there be several), or None."""
    for reference in child.metadata.owner_references or ():
        if reference.controller:
            return reference
    return None


def is_controlled_by(child: Object, owner: Object) -> bool:
    """Whether the child's controller reference carries the owner's uid (names and labels prove nothing)."""
    reference = controller_of(child)
    return reference is not None and reference.uid == owner.uid


def refers_to(reference: OwnerReference, kind: Kind) -> bool:
    """Whether a reference names this group and kind (in any version)."""
    group = reference.api_version.rpartition("/")[0]
    return reference.kind == kind.kind and group == kind.group


def controller_reference(owner: Object) -> OwnerReference:
    """The controller reference to ``owner``, with ``blockOwnerDeletion``."""
    return OwnerReference(
        api_version=owner.kind.api_version,
        kind=owner.kind.kind,
        name=owner.name,
        uid=owner.uid,
        controller=True,
        block_owner_deletion=True,
    )
