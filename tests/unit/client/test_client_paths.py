"""Paths."""

from __future__ import annotations

import pytest

from reconcile.client import paths
from reconcile.errors import UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Kind, Resource

PODS = Resource(Kind("", "v1", "Pod"), "pods")
NODES = Resource(Kind("", "v1", "Node"), "nodes", namespaced=False)
JOBS = Resource(Kind("batch", "v1", "Job"), "jobs")


def test_core_and_named_groups_have_their_own_roots() -> None:
    """/api for the core group, /apis for the others."""
    assert paths.group_version_path(PODS.kind) == "/api/v1"
    assert paths.group_version_path(JOBS.kind) == "/apis/batch/v1"


def test_collections_of_one_and_of_all_namespaces() -> None:
    """Watches and lists go to either."""
    assert paths.collection_path(JOBS, "team") == "/apis/batch/v1/namespaces/team/jobs"
    assert paths.collection_path(JOBS) == "/apis/batch/v1/jobs"
    assert paths.collection_path(NODES) == "/api/v1/nodes"


def test_objects_and_subresources() -> None:
    """Names that RBAC objects have (colons) and odd ones are encoded into one segment."""
    assert paths.object_path(PODS, ObjectKey("ns", "web"), "eviction") == "/api/v1/namespaces/ns/pods/web/eviction"
    assert paths.object_path(NODES, ObjectKey("", "n1")) == "/api/v1/nodes/n1"
    assert paths.object_path(NODES, ObjectKey("", "system:a b?ü")) == "/api/v1/nodes/system:a%20b%3F%C3%BC"
    assert paths.create_path(PODS, ObjectKey("ns", "web")) == "/api/v1/namespaces/ns/pods"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/x", "a%2fb"])
def test_a_name_cannot_leave_its_segment(name: str) -> None:
    """A key from object data must not reach another resource."""
    with pytest.raises(UsageError):
        paths.object_path(PODS, ObjectKey("ns", name))
    with pytest.raises(UsageError):
        paths.object_path(PODS, ObjectKey(name, "web"))


def test_scope_and_namespace_must_agree() -> None:
    """A missing namespace would address the collection of all; one too many is a mistake."""
    with pytest.raises(UsageError, match="needs a namespace"):
        paths.object_path(PODS, ObjectKey("", "web"))
    with pytest.raises(UsageError, match="cluster-scoped"):
        paths.object_path(NODES, ObjectKey("ns", "n1"))
