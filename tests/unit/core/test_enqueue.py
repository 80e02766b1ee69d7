"""A change wakes everyone it concerns: those of the old object and those of the new."""

from __future__ import annotations

from reconcile.core.enqueue import controller_owner, itself, mapped
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta, OwnerReference
from reconcile.model.object import Object
from reconcile.model.resource import Kind

JOB = Kind("batch", "v1", "Job")
KEY = ObjectKey("default", "pod")


def pod(*owners: OwnerReference, labels: dict[str, str] | None = None) -> Object:
    return Object(
        Kind("", "v1", "Pod"), ObjectMeta(name="pod", namespace="default", owner_references=owners, labels=labels)
    )


def owner(name: str, *, kind: str = "Job", api_version: str = "batch/v1", controller: bool = True) -> OwnerReference:
    return OwnerReference(api_version, kind, name, f"uid-{name}", controller=controller)


def test_itself() -> None:
    """The object's own key."""
    assert list(itself(Delta(KEY, None, pod()))) == [KEY]


def test_the_owner_of_a_new_a_changed_and_a_gone_child_is_woken_once() -> None:
    """Whether the child comes, changes or goes, its owner hears of it."""
    enqueue = controller_owner(JOB)
    child = pod(owner("a"))
    for delta in (Delta(KEY, None, child), Delta(KEY, child, child), Delta(KEY, child, None)):
        assert list(enqueue(delta)) == [ObjectKey("default", "a")]


def test_a_child_that_changes_hands_wakes_both() -> None:
    """So does one that is released, or adopted."""
    enqueue = controller_owner(JOB)
    a, b = ObjectKey("default", "a"), ObjectKey("default", "b")
    assert list(enqueue(Delta(KEY, pod(owner("a")), pod(owner("b"))))) == [a, b]
    assert list(enqueue(Delta(KEY, pod(owner("a")), pod()))) == [a]
    assert list(enqueue(Delta(KEY, pod(), pod(owner("b"))))) == [b]


def test_only_the_controller_reference_of_that_group_and_kind_counts() -> None:
    """Another version of the group is the same kind; another group, another kind and a plain owner are not."""
    enqueue = controller_owner(JOB)
    assert list(enqueue(Delta(KEY, None, pod(owner("a", api_version="batch/v2"))))) == [ObjectKey("default", "a")]
    for stranger in (
        owner("a", kind="CronJob"),
        owner("a", api_version="other.io/v1"),
        owner("a", controller=False),
    ):
        assert list(enqueue(Delta(KEY, None, pod(stranger)))) == []


def test_an_owner_without_namespaces_has_none_in_its_key() -> None:
    """Its child's namespace is not its own."""
    enqueue = controller_owner(JOB, namespaced=False)
    assert list(enqueue(Delta(KEY, None, pod(owner("a"))))) == [ObjectKey("", "a")]


def test_a_mapping_is_asked_about_both_sides() -> None:
    """A label that goes wakes whom it named; each key comes once."""

    def by_label(obj: Object) -> list[ObjectKey]:
        return [ObjectKey("default", obj.labels["for"])] if "for" in obj.labels else []

    enqueue = mapped(by_label)
    a, b = pod(labels={"for": "a"}), pod(labels={"for": "b"})
    assert list(enqueue(Delta(KEY, a, b))) == [ObjectKey("default", "a"), ObjectKey("default", "b")]
    assert list(enqueue(Delta(KEY, a, pod(labels={"for": "a"})))) == [ObjectKey("default", "a")]
    assert list(enqueue(Delta(KEY, a, None))) == [ObjectKey("default", "a")]
    assert list(enqueue(Delta(KEY, None, b))) == [ObjectKey("default", "b")]
