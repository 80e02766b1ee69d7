"""Predicates: which changes are worth a reconcile. Plain functions of a Delta.

A predicate only saves work. It must let pass whatever *can* matter: the first sight of an object and its departure pass
all of those below (a level-based reconcile that is not started is a lost wake-up).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from reconcile.model.delta import Delta

Predicate: TypeAlias = Callable[[Delta], bool]


def generation_changed(delta: Delta) -> bool:
    """The spec changed (or deletion began), as the server counts it in ``metadata.generation``.

    Kinds without a generation (ConfigMap, Secret, …) always pass, because nothing can be told from it.
    """
    old, new = delta.old, delta.new
    if old is None or new is None:
        return True
    generation = new.metadata.generation
    return not generation or generation != old.metadata.generation or deleting(delta)


def labels_changed(delta: Delta) -> bool:
    """The labels differ, or the object is new or gone."""
    old, new = delta.old, delta.new
    return old is None or new is None or old.labels != new.labels


def annotations_changed(delta: Delta) -> bool:
    """The annotations differ, or the object is new or gone."""
    old, new = delta.old, delta.new
    return old is None or new is None or old.annotations != new.annotations


def deleting(delta: Delta) -> bool:
    """Deletion has begun with this change (``deletionTimestamp`` appeared), or the object is gone."""
    old, new = delta.old, delta.new
    return new is None or (new.is_deleting and (old is None or not old.is_deleting))


def any_of(*predicates: Predicate) -> Predicate:
    """At least one of them passes."""
    return lambda delta: any(predicate(delta) for predicate in predicates)


def all_of(*predicates: Predicate) -> Predicate:
    """Every one of them passes."""
    return lambda delta: all(predicate(delta) for predicate in predicates)


def not_(predicate: Predicate) -> Predicate:
    """It does not pass."""
    return lambda delta: not predicate(delta)
