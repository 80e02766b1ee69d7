"""Enqueue: which keys a change concerns. The old and the new object are both asked.

So a child that moves from one owner to another, or loses a label, wakes both parents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.owner import controller_of, refers_to
from reconcile.model.resource import Kind

Enqueue: TypeAlias = Callable[[Delta], Iterable[ObjectKey]]


def itself(delta: Delta) -> Iterable[ObjectKey]:
    """The object's own key."""
    return (delta.key,)


def controller_owner(kind: Kind, *, namespaced: bool = True) -> Enqueue:
    """The controller owner, where it is of this group and kind (in any version).

    Args:
        kind: the owner's kind.
        namespaced: whether owners live in namespaces; an owner that does shares its child's namespace (the API
            forbids anything else), one that does not has none.
    """

    def owner_of(child: Object | None) -> ObjectKey | None:
        if child is None:
            return None
        reference = controller_of(child)
        if reference is None or not refers_to(reference, kind):
            return None
        return ObjectKey(child.metadata.namespace if namespaced else "", reference.name)

    def enqueue(delta: Delta) -> Iterable[ObjectKey]:
        new, old = owner_of(delta.new), owner_of(delta.old)
        if new is None:
            return () if old is None else (old,)
        return (new,) if old is None or old == new else (old, new)

    return enqueue


def mapped(function: Callable[[Object], Iterable[ObjectKey]]) -> Enqueue:
    """What ``function`` says of the old and of the new object, each key once."""

    def enqueue(delta: Delta) -> Iterable[ObjectKey]:
        if delta.old is None:
            return function(delta.new) if delta.new is not None else ()
        if delta.new is None or delta.new is delta.old:
            return function(delta.old)
        return dict.fromkeys((*function(delta.old), *function(delta.new)))

    return enqueue
