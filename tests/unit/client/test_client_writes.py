"""Writes: what is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconcile.client import writes
from reconcile.errors import UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.patch import ApplyPatch, JSONPatch, MergePatch, StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.write import Verb, Write

PODS = Resource(Kind("", "v1", "Pod"), "pods")
JOBS = Resource(Kind("batch", "v1", "Job"), "jobs")
KEY = ObjectKey("ns", "web")


def pod(**metadata: str) -> Object:
    return from_plain(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", **metadata}, "spec": {"unknown": [1]}}
    )


def body(write: Write) -> Any:
    return json.loads(write.body)


def test_create_posts_the_whole_object_with_its_unknown_fields() -> None:
    """To the collection, under the given field manager."""
    write = writes.create(PODS, pod(name="web"), field_manager="me")
    assert (write.verb, write.path, write.query) == (
        Verb.CREATE,
        "/api/v1/namespaces/ns/pods",
        (("fieldManager", "me"),),
    )
    assert body(write)["spec"] == {"unknown": [1]}


def test_create_without_a_fixed_name_is_refused() -> None:
    """A lost answer to generateName could not be asked for again."""
    with pytest.raises(UsageError, match="cannot be sent twice"):
        writes.create(PODS, pod(generateName="web-"))


def test_writes_of_another_kind_than_the_resource_are_refused() -> None:
    """A Pod sent to jobs is the caller's mistake."""
    with pytest.raises(UsageError, match="batch/v1/Job"):
        writes.create(JOBS, pod(name="web"))


def test_update_needs_the_version_that_was_read() -> None:
    """Else it would overwrite whatever stands there."""
    with pytest.raises(UsageError, match="resourceVersion"):
        writes.update(PODS, pod(name="web"))
    write = writes.update(PODS, pod(name="web", resourceVersion="5"), subresource="status")
    assert (write.verb, write.path) == (Verb.UPDATE, "/api/v1/namespaces/ns/pods/web/status")
    assert body(write)["metadata"]["resourceVersion"] == "5"


@pytest.mark.parametrize(
    ("patch", "content_type"),
    [
        (MergePatch({"metadata": {"labels": {"a": None}}}), "application/merge-patch+json"),
        (StrategicMergePatch({"metadata": {"labels": {"a": None}}}), "application/strategic-merge-patch+json"),
    ],
)
def test_merge_patches_carry_preconditions_in_their_metadata(patch: Any, content_type: str) -> None:
    """The server compares uid and resourceVersion of a patch with the object's. The caller's patch stays as it was."""
    write = writes.patch(PODS, KEY, patch, uid="u", resource_version="7")
    assert write.content_type == content_type
    assert body(write) == {"metadata": {"labels": {"a": None}, "uid": "u", "resourceVersion": "7"}}
    assert patch.body == {"metadata": {"labels": {"a": None}}}


def test_json_patches_test_before_they_change() -> None:
    """All operations or none."""
    write = writes.patch(PODS, KEY, JSONPatch(({"op": "remove", "path": "/x"},)), uid="u", resource_version="7")
    assert body(write) == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "remove", "path": "/x"},
    ]


def test_apply_names_the_object_and_its_manager() -> None:
    """Server-side apply wants kind and name in the body, and takes over by force where asked."""
    write = writes.patch(JOBS, KEY, ApplyPatch({"status": {"ready": 1}}, "me"), subresource="status", uid="u")
    assert write.content_type == "application/apply-patch+yaml"
    assert write.query == (("fieldManager", "me"), ("force", "true"))
    assert write.path == "/apis/batch/v1/namespaces/ns/jobs/web/status"
    assert body(write) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "web", "namespace": "ns", "uid": "u"},
        "status": {"ready": 1},
    }
    assert writes.patch(JOBS, KEY, ApplyPatch({}, "me", force=False)).query == (("fieldManager", "me"),)


def test_apply_takes_an_object_and_refuses_another_kind() -> None:
    """What is applied must be what the path says."""
    assert body(writes.patch(PODS, KEY, ApplyPatch(pod(name="web"), "me")))["spec"] == {"unknown": [1]}
    with pytest.raises(UsageError, match="not a batch/v1/Job"):
        writes.patch(JOBS, KEY, ApplyPatch(pod(name="web"), "me"))
    with pytest.raises(UsageError, match="not an object"):
        writes.patch(JOBS, KEY, ApplyPatch([1], "me"))


def test_delete_states_preconditions_propagation_and_grace() -> None:
    """All of DeleteOptions that controllers need; nothing that was not asked for."""
    write = writes.delete(PODS, KEY, uid="u", resource_version="7", propagation="Foreground", grace_period_seconds=0)
    assert body(write) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Foreground",
    }
    assert body(writes.delete(PODS, KEY)) == {"apiVersion": "v1", "kind": "DeleteOptions"}


def test_evictions_are_posted_to_the_pod() -> None:
    """policy/v1, with the uid as a precondition."""
    write = writes.evict(PODS, KEY, uid="u", grace_period_seconds=5)
    assert (write.verb, write.path) == (Verb.CREATE, "/api/v1/namespaces/ns/pods/web/eviction")
    assert body(write)["kind"] == "Eviction"
    assert body(write)["deleteOptions"]["preconditions"] == {"uid": "u"}
    assert body(write)["deleteOptions"]["gracePeriodSeconds"] == 5


def test_the_same_intent_gives_the_same_bytes() -> None:
    """An unknown outcome is resolved by sending the identical request again."""
    patch = ApplyPatch({"data": {"b": "1", "a": "2"}}, "me")
    assert writes.patch(JOBS, KEY, patch, uid="u") == writes.patch(JOBS, KEY, patch, uid="u")
