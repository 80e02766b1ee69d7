"""What the garbage collector does with an object, by its owners and dependents."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.cluster.garbage_collector.plan import (
    Action,
    Collect,
    Delete,
    KeepOwners,
    Orphan,
    OwnerState,
    Release,
    decide,
)
from reconcile.model.object import Object, from_plain

THERE, ABSENT, WAITING = OwnerState.THERE, OwnerState.ABSENT, OwnerState.WAITING


def obj(
    name: str, *owners: str, deleting: bool = False, finalizers: tuple[str, ...] = (), blocks: bool = True
) -> Object:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks}
        for uid in owners
    ]
    metadata: dict[str, Any] = {"name": name, "uid": name, "ownerReferences": references, "finalizers": [*finalizers]}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return from_plain({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def test_what_has_an_owner_stays() -> None:
    """And what never had one is nobody's garbage."""
    assert decide(obj("a", "x"), {"x": THERE}, []) is None
    assert decide(obj("a"), {}, []) is None


def test_other_owners_keep_it_and_the_gone_ones_are_dropped() -> None:
    """So that it does not go with a later owner of the same name."""
    action = decide(obj("a", "x", "y", "z"), {"x": ABSENT, "y": THERE, "z": WAITING}, [])
    assert isinstance(action, KeepOwners)
    assert [one.uid for one in action.references] == ["y"]


DELETED: dict[str, tuple[Object, OwnerState, list[Object], str]] = {
    "owner gone": (obj("a", "x"), ABSENT, [], "Background"),
    "owner waits, nothing below": (obj("a", "x"), WAITING, [], "Background"),
    "owner waits, something below": (obj("a", "x"), WAITING, [obj("b", "a")], "Foreground"),
    "wants to leave its own": (obj("a", "x", finalizers=("orphan",)), ABSENT, [obj("b", "a")], "Orphan"),
    "wants to wait for its own": (obj("a", "x", finalizers=("foregroundDeletion",)), ABSENT, [], "Foreground"),
}


@pytest.mark.parametrize("case", DELETED)
def test_what_has_no_owner_left_is_deleted(case: str) -> None:
    """In the way that its own dependents are to go."""
    one, state, dependents, policy = DELETED[case]
    assert decide(one, {"x": state}, dependents) == Delete(policy)  # type: ignore[arg-type]  one of the three


def test_a_foreground_owner_goes_when_nothing_blocks_it() -> None:
    """Dependents that do not block are left to be collected after it."""
    owner = obj("x", deleting=True, finalizers=("foregroundDeletion",))
    going, staying = obj("a", "x", deleting=True), obj("b", "x")
    action: Action = decide(owner, {}, [going, staying])
    assert isinstance(action, Collect)
    assert [one.name for one in action.dependents] == ["b"]
    assert decide(owner, {}, [obj("c", "x", blocks=False)]) == Release("foregroundDeletion")


def test_an_orphaning_owner_lets_go_of_its_dependents_first() -> None:
    """Then of itself."""
    owner = obj("x", deleting=True, finalizers=("orphan",))
    assert isinstance(decide(owner, {}, [obj("a", "x")]), Orphan)
    assert decide(owner, {}, []) == Release("orphan")


def test_what_is_being_deleted_otherwise_is_left_alone() -> None:
    """Others' finalizers are others'."""
    assert decide(obj("a", "x", deleting=True, finalizers=("other",)), {}, [obj("b", "a")]) is None
