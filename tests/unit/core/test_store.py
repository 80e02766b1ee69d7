"""The store never goes back, tells every change once, and shows a new list whole or not at all."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

import pytest

from reconcile.core.store import Store
from reconcile.core.table import Deaf
from reconcile.errors import UsageError
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta, OwnerReference
from reconcile.model.object import Object, decode_object
from reconcile.model.resource import Kind
from reconcile.model.version import version_number
from reconcile.model.watch_event import Bookmark, Deleted, ServerError, Undecodable, Upserted

POD = Kind("", "v1", "Pod")


def pod(
    name: str,
    version: str | int,
    *,
    uid: str = "",
    namespace: str = "default",
    owner: str = "",
    labels: dict[str, str] | None = None,
    rest: bytes = b"",
) -> Object:
    owners = (OwnerReference("batch/v1", "Job", f"job-{owner}", owner, controller=True),) if owner else None
    metadata = ObjectMeta(
        name=name,
        namespace=namespace,
        uid=uid or f"uid-{name}",
        resource_version=str(version),
        labels=labels,
        owner_references=owners,
    )
    return Object(POD, metadata, rest)


def shape(deltas: list[Delta]) -> list[tuple[str, str | None, str | None]]:
    return [
        (
            delta.key.name,
            delta.old.resource_version if delta.old is not None else None,
            delta.new.resource_version if delta.new is not None else None,
        )
        for delta in deltas
    ]


def test_changes_come_out_once_and_in_order() -> None:
    """Created, changed, gone: three deltas that chain."""
    store = Store()
    deltas = store.apply([Upserted(pod("a", 1)), Upserted(pod("a", 2)), Deleted(pod("a", 3))])
    assert shape(deltas) == [("a", None, "1"), ("a", "1", "2"), ("a", "2", None)]
    assert len(store) == 0
    store.check()


@pytest.mark.parametrize("late", [Upserted(pod("a", 4)), Upserted(pod("a", 5)), Deleted(pod("a", 4))])
def test_older_and_repeated_events_are_ignored(late: Upserted | Deleted) -> None:
    """An event older than, or the same as, what is stored changes nothing."""
    store = Store()
    store.apply([Upserted(pod("a", 5))])
    assert store.apply([late]) == []
    assert store.get(ObjectKey("default", "a")) is not None
    assert store.table("").resource_version == "5"
    assert store.ignored == 1


def test_versions_are_compared_as_numbers() -> None:
    """10 is newer than 9, which text comparison would deny."""
    store = Store()
    store.apply([Upserted(pod("a", 9))])
    assert shape(store.apply([Upserted(pod("a", 10))])) == [("a", "9", "10")]


def test_opaque_versions_are_believed() -> None:
    """What cannot be compared is taken as it comes."""
    store = Store()
    store.apply([Upserted(pod("a", "zz"))])
    assert shape(store.apply([Upserted(pod("a", "aa"))])) == [("a", "zz", "aa")]
    assert version_number("1" * 5000) is None
    assert version_number("-1") is None
    assert version_number("²") is None


def test_a_namesake_is_another_object() -> None:
    """Deleted and created again while nobody looked: gone, then new, even where the version would be older."""
    store = Store()
    store.apply([Upserted(pod("a", 5, uid="first"))])
    assert shape(store.apply([Upserted(pod("a", 7, uid="second"))])) == [("a", "5", None), ("a", None, "7")]


def test_the_late_deletion_of_a_namesake_does_not_remove_its_successor() -> None:
    """The old object's deletion, older than what is stored, is ignored."""
    store = Store()
    store.apply([Upserted(pod("a", 7, uid="second"))])
    assert store.apply([Deleted(pod("a", 6, uid="first"))]) == []


def test_bookmarks_advance_the_version_without_a_delta() -> None:
    """A bookmark is progress and nothing else."""
    store = Store()
    assert store.apply([Bookmark("42")]) == []
    assert store.table("").resource_version == "42"


def test_nothing_after_an_error_event_is_taken() -> None:
    """The stream is over with it."""
    store = Store()
    from reconcile.errors import Status

    assert store.apply([ServerError(Status(410)), Upserted(pod("a", 1))]) == []


def test_what_cannot_be_decoded_keeps_its_last_good_version() -> None:
    """It is listed as quarantined until a good version or a deletion comes."""
    store = Store()
    key = ObjectKey("default", "a")
    store.apply([Upserted(pod("a", 1))])
    assert store.apply([Undecodable("too deep", "default", "a", "2")]) == []
    assert store.quarantined == {key: "too deep"}
    kept = store.get(key)
    assert kept is not None
    assert kept.resource_version == "1"
    assert store.table("").resource_version == "2"
    assert shape(store.apply([Upserted(pod("a", 3))])) == [("a", "1", "3")]
    assert store.quarantined == {}


def test_a_transform_that_raises_quarantines_its_object_only() -> None:
    """The others are stored, transformed."""

    def drop_rest(obj: Object) -> Object:
        if obj.name == "bad":
            raise ValueError("no")
        return Object(obj.kind, obj.metadata)

    store = Store(transform=drop_rest)
    deltas = store.apply([Upserted(pod("bad", 1)), Upserted(pod("good", 2, rest=b'"spec":{}'))])
    assert shape(deltas) == [("good", None, "2")]
    assert store.list()[0].rest == b""
    assert store.quarantined == {ObjectKey("default", "bad"): "transform raised ValueError: no"}


def test_a_new_list_is_invisible_until_it_is_whole() -> None:
    """Readers see the old state until promotion, then the new one at once."""
    store = Store()
    store.apply([Upserted(pod("stays", 1)), Upserted(pod("goes", 2)), Upserted(pod("changes", 3))])
    replacement = store.replace()
    replacement.add([pod("stays", 1), pod("changes", 8)])
    assert len(store) == 3
    replacement.add([pod("comes", 7)])
    deltas = replacement.promote("9")
    assert {obj.name for obj in store.list()} == {"stays", "changes", "comes"}
    assert sorted(shape(list(deltas))) == [("changes", "3", "8"), ("comes", None, "7"), ("goes", "2", None)]
    assert store.table("").resource_version == "9"
    store.check()


def test_an_unchanged_object_is_kept_as_it_is_by_a_relist() -> None:
    """The very object stays, so that a relist does not double the memory."""
    store = Store()
    first = pod("a", 1)
    store.apply([Upserted(first)])
    replacement = store.replace()
    replacement.add([pod("a", 1)])
    assert list(replacement.promote("5")) == []
    assert store.get(first.key) is first


def test_a_relist_tells_a_namesake_as_gone_and_new() -> None:
    """Two objects by uid give two deltas."""
    store = Store()
    store.apply([Upserted(pod("a", 5, uid="first"))])
    replacement = store.replace()
    replacement.add([pod("a", 7, uid="second")])
    assert shape(list(replacement.promote("9"))) == [("a", "5", None), ("a", None, "7")]


def test_a_relist_keeps_what_it_cannot_decode() -> None:
    """An item that cannot be read is not a deletion."""
    store = Store()
    store.apply([Upserted(pod("a", 1)), Upserted(pod("b", 2))])
    replacement = store.replace()
    replacement.add([pod("b", 2)])
    replacement.quarantine(Undecodable("too deep", "default", "a"))
    assert list(replacement.promote("9")) == []
    assert store.quarantined == {ObjectKey("default", "a"): "too deep"}
    store.check()


def test_a_relist_goes_back_where_the_server_went_back() -> None:
    """After a restore of etcd the list is the truth, though its versions are smaller."""
    store = Store()
    store.apply([Upserted(pod("a", 90))])
    replacement = store.replace()
    replacement.add([pod("a", 7)])
    assert shape(list(replacement.promote("9"))) == [("a", "90", "7")]
    assert store.table("").resource_version == "9"


def test_initial_events_are_collected_like_a_list() -> None:
    """Events of an initial stream may change and delete what came before them in it."""
    store = Store()
    store.apply([Upserted(pod("old", 1))])
    replacement = store.replace()
    replacement.apply([Upserted(pod("a", 2)), Upserted(pod("b", 3)), Deleted(pod("a", 4)), Upserted(pod("b", 5))])
    assert sorted(shape(list(replacement.promote("6")))) == [("b", None, "5"), ("old", "1", None)]
    store.check()


def test_partitions_are_replaced_one_by_one() -> None:
    """A new list of one namespace says nothing about another."""
    store = Store(("blue", "green"))
    store.apply([Upserted(pod("a", 1, namespace="blue"))], "blue")
    store.apply([Upserted(pod("a", 2, namespace="green"))], "green")
    assert shape(list(store.replace("blue").promote("3"))) == [("a", "1", None)]
    assert [obj.namespace for obj in store.list()] == ["green"]
    assert store.list("blue") == ()
    assert store.list("unwatched") == ()
    store.check()


def test_children_are_found_by_their_owners_uid() -> None:
    """The index follows a child that changes hands."""
    store = Store()
    store.apply([Upserted(pod("a", 1, owner="x")), Upserted(pod("b", 2, owner="x")), Upserted(pod("c", 3))])
    assert [obj.name for obj in store.owned_by("x")] == ["a", "b"]
    store.apply([Upserted(pod("a", 4, owner="y")), Deleted(pod("b", 5, owner="x"))])
    assert store.owned_by("x") == ()
    assert [obj.name for obj in store.owned_by("y")] == ["a"]
    store.check()


def test_named_indexes_follow_changes_and_can_be_declared_late() -> None:
    """An index declared over a filled store finds what is there."""

    def by_app(obj: Object) -> list[str]:
        return [obj.labels["app"]] if "app" in obj.labels else []

    store = Store(indexes={"app": by_app})
    store.apply([Upserted(pod("a", 1, labels={"app": "web"})), Upserted(pod("b", 2))])
    store.declare_index("twice", lambda obj: [obj.name, obj.name])
    store.apply([Upserted(pod("b", 3, labels={"app": "web"}))])
    assert [obj.name for obj in store.indexed("app", "web")] == ["a", "b"]
    assert [obj.name for obj in store.indexed("twice", "a")] == ["a"]
    store.apply([Deleted(pod("a", 4))])
    assert [obj.name for obj in store.indexed("app", "web")] == ["b"]
    store.check()


def test_an_undeclared_index_is_refused_by_name() -> None:
    """The error says what is declared, and the way out."""
    store = Store(indexes={"app": lambda _obj: ()})
    with pytest.raises(UsageError, match=r"index 'zone' was not declared \(declared: app\)"):
        store.indexed("zone", "x")


def test_one_index_name_has_one_function() -> None:
    """Declaring it again is fine, declaring it otherwise is not."""

    def by_name(obj: Object) -> list[str]:
        return [obj.name]

    store = Store(indexes={"name": by_name})
    store.declare_index("name", by_name)
    with pytest.raises(UsageError, match="declared twice"):
        store.declare_index("name", lambda _obj: ())


def test_an_index_function_that_raises_costs_its_object_the_index_only() -> None:
    """The object is cached, the fault is reported."""

    def picky(obj: Object) -> list[str]:
        return [obj.labels["app"]]

    class Listener(Deaf):
        faults: ClassVar[list[str]] = []

        def not_indexed(self, index: str, key: ObjectKey, error: Exception, /) -> None:
            self.faults.append(f"{index} {key} {error!r}")

    store = Store(indexes={"app": picky}, listener=Listener())
    store.apply([Upserted(pod("a", 1)), Upserted(pod("b", 2, labels={"app": "x"}))])
    assert len(store) == 2
    assert [obj.name for obj in store.indexed("app", "x")] == ["b"]
    assert Listener.faults == ["app default/a KeyError('app')"]


def test_cached_objects_are_nothing_to_the_garbage_collector() -> None:
    """A full collection must not grow with the cache: a thousand objects add no more tracked ones than a few."""
    lines = [
        b'{"metadata":{"name":"p%d","namespace":"n","uid":"u%d","resourceVersion":"%d","labels":{"app":"a"},'
        b'"ownerReferences":[{"apiVersion":"batch/v1","kind":"Job","name":"j","uid":"j%d","controller":true}]},'
        b'"spec":{"nodeName":"n"}}' % (number, number, number + 1, number // 500)
        for number in range(1000)
    ]
    store = Store(indexes={"name": lambda obj: [obj.metadata.namespace]})
    gc.collect()
    before = len(gc.get_objects())
    store.apply([Upserted(decode_object(line, POD)) for line in lines])
    gc.collect()
    assert len(store) == 1000
    assert len(gc.get_objects()) - before < 100


def test_bytes_follow_what_is_stored() -> None:
    """The raw JSON is counted on every way in and out."""
    store = Store()
    empty = store.bytes_cached
    store.apply([Upserted(pod("a", 1, rest=b"x" * 100)), Upserted(pod("a", 2, rest=b"x" * 50))])
    assert store.table("").bytes_raw == 50
    store.apply([Deleted(pod("a", 3))])
    assert store.bytes_cached == empty == 0
    store.check()


def test_an_index_declared_while_a_list_is_under_way_is_there_when_the_list_is_whole() -> None:
    """The new table was begun without it."""
    store = Store()
    replacement = store.replace()
    replacement.add([pod("a", 1)])
    store.declare_index("name", lambda obj: [obj.name])
    list(replacement.promote("1"))
    assert [obj.name for obj in store.indexed("name", "a")] == ["a"]
    store.check()


def test_an_index_function_that_returns_one_text_is_reported() -> None:
    """Its letters are not what was meant."""
    faults: list[str] = []

    class Ear(Deaf):
        def not_indexed(self, index: str, key: ObjectKey, error: Exception, /) -> None:
            faults.append(f"{index} {key}: {error}")

    store = Store(indexes={"name": lambda obj: obj.name}, listener=Ear())
    store.apply([Upserted(pod("abc", 1))])
    assert store.indexed("name", "a") == ()
    assert len(faults) == 1
    assert "want several values, such as ('abc',)" in faults[0]


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (lambda _obj: None, "returned NoneType"),
        (lambda obj: obj.with_metadata(name="other"), "key, uid and version must stay"),
        (lambda obj: obj.with_metadata(resource_version="9"), "key, uid and version must stay"),
    ],
    ids=["none", "another key", "another version"],
)
def test_a_transform_that_gives_no_such_object_costs_only_that_object(transform: Any, reason: str) -> None:
    """It is quarantined with the reason; the store stays whole."""
    store = Store(transform=lambda obj: transform(obj) if obj.name == "a" else obj)
    deltas = store.apply([Upserted(pod("a", 1)), Upserted(pod("b", 2))])
    assert shape(deltas) == [("b", None, "2")]
    assert reason in store.quarantined[ObjectKey("default", "a")]
    store.check()
