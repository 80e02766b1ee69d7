"""Predicates let pass what can matter; first sight and departure always can."""

from __future__ import annotations

import pytest

from reconcile.core.predicate import (
    Predicate,
    all_of,
    annotations_changed,
    any_of,
    deleting,
    generation_changed,
    labels_changed,
    not_,
)
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.resource import Kind

KEY = ObjectKey("default", "a")


def job(**metadata: object) -> Object:
    return Object(Kind("batch", "v1", "Job"), ObjectMeta(name="a", namespace="default", **metadata))  # type: ignore[arg-type]  # a test's shorthand


DELETION = "2026-01-01T00:00:00Z"

CASES = [
    (generation_changed, job(generation=1), job(generation=1), False),
    (generation_changed, job(generation=1), job(generation=2), True),
    (generation_changed, job(generation=1), job(generation=1, deletion_timestamp=DELETION), True),
    (generation_changed, job(), job(), True),
    (labels_changed, job(labels={"a": "1"}), job(labels={"a": "1"}), False),
    (labels_changed, job(labels={"a": "1"}), job(labels={"a": "2"}), True),
    (labels_changed, job(), job(labels={}), False),
    (annotations_changed, job(annotations={"a": "1"}), job(annotations={"a": "1"}), False),
    (annotations_changed, job(), job(annotations={"a": "1"}), True),
    (deleting, job(), job(), False),
    (deleting, job(), job(deletion_timestamp=DELETION), True),
    (deleting, job(deletion_timestamp=DELETION), job(deletion_timestamp=DELETION), False),
]


@pytest.mark.parametrize(("predicate", "old", "new", "passes"), CASES)
def test_a_change_passes_if_it_is_the_one_asked_for(
    predicate: Predicate, old: Object, new: Object, passes: bool
) -> None:
    """Kinds that have no generation always pass."""
    assert predicate(Delta(KEY, old, new)) is passes


@pytest.mark.parametrize("predicate", [generation_changed, labels_changed, annotations_changed, deleting])
def test_departure_always_passes(predicate: Predicate) -> None:
    """An object that is gone matters to everyone."""
    assert predicate(Delta(KEY, job(generation=1), None))


@pytest.mark.parametrize("predicate", [generation_changed, labels_changed, annotations_changed])
def test_first_sight_always_passes(predicate: Predicate) -> None:
    """A new object matters to everyone but to those who wait for deletions."""
    assert predicate(Delta(KEY, None, job(generation=1)))


def test_combinators() -> None:
    """any, all and not do what they say."""
    change = Delta(KEY, job(generation=1, labels={"a": "1"}), job(generation=1, labels={"a": "2"}))
    assert any_of(generation_changed, labels_changed)(change)
    assert not all_of(generation_changed, labels_changed)(change)
    assert not_(generation_changed)(change)
