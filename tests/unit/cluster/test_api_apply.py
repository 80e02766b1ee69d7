"""Patches and server-side apply, on small objects; against a real server they are held in tests/conformance."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconcile.cluster.api_server.apply import ApplyConflict, apply, keep_times, track_update
from reconcile.cluster.api_server.decoding import decode
from reconcile.cluster.api_server.field_set import field_set, fields_v1
from reconcile.cluster.api_server.managed_fields import UPDATE_MANAGERS_MAX
from reconcile.cluster.api_server.patching import PatchError, json_patch, merge_patch
from reconcile.cluster.api_server.schema import SCHEMA
from reconcile.cluster.api_server.strategic_merge import strategic_merge_patch

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG_MAP = SCHEMA.type_for("", "v1", "ConfigMap")
POD = SCHEMA.type_for("", "v1", "Pod")
assert CONFIG_MAP is not None
assert POD is not None


def applied(live: Any, manager: str = "m1", *, force: bool = False, now: datetime = NOW, **data: str) -> dict[str, Any]:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
    found = apply(CONFIG_MAP, live, body, manager=manager, api_version="v1", force=force, now=now)
    return decode(CONFIG_MAP, found).value


def owners(obj: dict[str, Any]) -> dict[str, Any]:
    return {one["manager"]: one["fieldsV1"] for one in obj["metadata"].get("managedFields", ())}


def test_what_is_no_longer_applied_is_removed() -> None:
    """Unless somebody else owns it."""
    both = applied(applied(None, a="1", b="1"), "m2", b="1")
    assert applied(both)["data"] == {"b": "1"}
    assert owners(applied(both, c="1")) == {
        "m1": {"f:data": {"f:c": {}}},
        "m2": {"f:data": {"f:b": {}}},
    }


def test_a_conflict_names_manager_and_field() -> None:
    """And changes nothing; force takes the field."""
    live = applied(None, a="1")
    with pytest.raises(ApplyConflict, match=r'Apply failed with 1 conflict: conflict with "m1": \.data\.a') as caught:
        applied(live, "m2", a="2")
    assert [(one.reason, one.field) for one in caught.value.causes] == [("FieldManagerConflict", ".data.a")]
    assert owners(applied(live, "m2", a="2", force=True)) == {"m2": {"f:data": {"f:a": {}}}}


def test_equal_values_are_owned_by_all() -> None:
    """There is nothing to fight about."""
    assert set(owners(applied(applied(None, a="1"), "m2", a="1"))) == {"m1", "m2"}


def test_an_update_takes_what_it_changes() -> None:
    """Without a conflict."""
    live = applied(None, a="1", b="1")
    new = {**live, "data": {"a": "2", "b": "1"}}
    tracked = track_update(CONFIG_MAP, live, new, manager="u", api_version="v1", now=NOW)
    assert owners(tracked) == {"m1": {"f:data": {"f:b": {}}}, "u": {"f:data": {"f:a": {}}}}


@pytest.mark.parametrize("entries", [[], [{}]])
def test_owners_can_be_forgotten(entries: list[Any]) -> None:
    """With an empty list, or one empty entry."""
    live = applied(None, a="1")
    new = {**live, "metadata": {**live["metadata"], "managedFields": entries}}
    assert owners(track_update(CONFIG_MAP, live, new, manager="u", api_version="v1", now=NOW)) == {}


def test_many_managers_share_an_entry() -> None:
    """The oldest first, so that an object's managedFields do not grow without bound."""
    live = decode(CONFIG_MAP, {"metadata": {"name": "c"}, "data": {"x": "0"}}).value
    live = track_update(CONFIG_MAP, None, live, manager="first", api_version="v1", now=NOW)
    for number in range(20):
        new = {**live, "data": {**live["data"], f"k{number}": "1"}}
        now = NOW + timedelta(seconds=number)
        live = track_update(CONFIG_MAP, live, new, manager=f"m{number}", api_version="v1", now=now)
    names = [one["manager"] for one in live["metadata"]["managedFields"]]
    assert len(names) == UPDATE_MANAGERS_MAX
    assert "ancient-changes" in names
    assert "m19" in names


def test_applying_the_same_again_is_no_write() -> None:
    """Times are kept, so that the object stays equal."""
    live = applied(None, a="1")
    again = applied(live, a="1", now=NOW + timedelta(hours=1))
    assert again != live
    assert keep_times(live, again) == live


def test_field_sets_are_read_and_written() -> None:
    """A path and a longer one that begins with it are both kept."""
    fields = {"f:a": {".": {}, "f:b": {}, 'k:{"x":1}': {}}, "f:c": {'v:"s"': {}}}
    assert fields_v1(field_set(fields)) == fields


def test_patches_change_no_argument() -> None:
    """A stored object is shared with its readers."""
    obj = decode(
        POD, {"spec": {"containers": [{"name": "a", "image": "i", "env": [{"name": "E", "value": "1"}]}]}}
    ).value
    before = copy.deepcopy(obj)
    patch = {"spec": {"containers": [{"name": "a", "env": [{"name": "E", "$patch": "delete"}]}]}}
    assert strategic_merge_patch(POD, obj, patch)["spec"]["containers"][0]["env"] == []
    merge_patch(obj, {"spec": {"containers": None}})
    json_patch(obj, [{"op": "remove", "path": "/spec/containers/0"}])
    assert obj == before


def test_a_merge_patch_removes_with_null() -> None:
    """RFC 7386, its own example of nesting."""
    target = {"a": {"b": "c", "d": "e"}, "f": [1]}
    assert merge_patch(target, {"a": {"b": None, "x": {"y": None}}, "f": [2, {"n": None}]}) == {
        "a": {"d": "e", "x": {}},
        "f": [2, {}],
    }


@pytest.mark.parametrize("patch", [{}, [3], "x", [{"op": "add"}], [{"op": "zip", "path": "/a"}]])
def test_a_bad_json_patch_is_refused(patch: Any) -> None:
    """As the client's fault."""
    with pytest.raises(PatchError) as caught:
        json_patch({}, patch)
    assert caught.value.code in (400, 422)
