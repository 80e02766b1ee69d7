"""Owners, dependents and namespaces on the embedded cluster: what goes with what, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from embedded import api_server
from pods import POD, Cluster

from reconcile import Kind, Object
from reconcile.cluster.embedded import EmbeddedCluster
from reconcile.testing.waiting import eventually

MAP = Kind.parse("v1/ConfigMap")
NAMESPACE = Kind.parse("v1/Namespace")
DEFINITION = Kind.parse("apiextensions.k8s.io/v1/CustomResourceDefinition")
WIDGET = Kind.parse("example.com/v1/Widget")


@asynccontextmanager
async def live_cluster() -> AsyncIterator[Cluster]:
    embedded = EmbeddedCluster(server=api_server())
    async with embedded.running(), embedded.client() as client:
        yield Cluster(client, "default")


async def config_map(cluster: Cluster, name: str, *owners: Object, **metadata: Any) -> Object:
    references = [
        {
            "apiVersion": one.kind.api_version,
            "kind": one.kind.kind,
            "name": one.name,
            "uid": one.uid,
            "blockOwnerDeletion": True,
        }
        for one in owners
    ]
    metadata = {"name": name, "ownerReferences": references, **metadata}
    return await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


async def until_gone(cluster: Cluster, *names: str) -> None:
    async def none_left() -> bool:
        return all([await cluster.get(MAP, name) is None for name in names])

    await eventually(none_left, why=f"{names} are gone")


@pytest.mark.asyncio
async def test_dependents_go_after_their_owner() -> None:
    """In the background, level by level; what has another owner stays, and no longer names the one that is gone."""
    async with live_cluster() as cluster:
        owner, other = await config_map(cluster, "owner"), await config_map(cluster, "other")
        child = await config_map(cluster, "child", owner)
        await config_map(cluster, "grandchild", child)
        await config_map(cluster, "shared", owner, other)
        await cluster.delete(MAP, "owner", propagation="Background")
        await until_gone(cluster, "child", "grandchild")

        async def owners_left() -> bool:
            shared = await cluster.get(MAP, "shared")
            assert shared is not None
            return [one.name for one in shared.owner_references] == ["other"]

        await eventually(owners_left, why="the owner that is gone is dropped")


@pytest.mark.asyncio
async def test_in_the_foreground_the_owner_goes_last() -> None:
    """It is still there, marked, as long as a dependent that blocks it is held by somebody's finalizer."""
    async with live_cluster() as cluster:
        owner = await config_map(cluster, "owner")
        await config_map(cluster, "child", owner, finalizers=["example.com/held"])
        await cluster.delete(MAP, "owner", propagation="Foreground")

        async def child_is_marked() -> bool:
            child = await cluster.get(MAP, "child")
            return child is not None and child.is_deleting

        await eventually(child_is_marked, why="the dependent is being deleted")
        waiting = await cluster.get(MAP, "owner")
        assert waiting is not None
        assert waiting.is_deleting
        await cluster.patch(MAP, "child", {"metadata": {"finalizers": None}})
        await until_gone(cluster, "child", "owner")


@pytest.mark.asyncio
async def test_orphans_stay() -> None:
    """Without the reference to what is gone."""
    async with live_cluster() as cluster:
        await config_map(cluster, "child", await config_map(cluster, "owner"))
        await cluster.delete(MAP, "owner", propagation="Orphan")
        await until_gone(cluster, "owner")
        child = await cluster.get(MAP, "child")
        assert child is not None
        assert child.owner_references == ()


@pytest.mark.asyncio
async def test_what_names_an_owner_that_never_was_is_garbage() -> None:
    """The server is asked before it goes; a uid that is another's counts as gone too."""
    async with live_cluster() as cluster:
        real = await config_map(cluster, "owner")
        await config_map(cluster, "child", real.with_metadata(uid="6f3bd0d6-0000-4000-8000-000000000000"))
        await until_gone(cluster, "child")
        assert await cluster.get(MAP, "owner") is not None


@pytest.mark.asyncio
async def test_custom_resources_own_and_are_owned() -> None:
    """Those that are defined while the collector runs."""
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [version],
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": spec,
    }
    async with live_cluster() as cluster:
        await Cluster(cluster.client, "").create(definition)
        widget = await cluster.create({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})
        await config_map(cluster, "child", widget)
        await cluster.delete(WIDGET, "w", propagation="Background")
        await until_gone(cluster, "child")


@pytest.mark.asyncio
async def test_a_namespace_goes_with_all_that_is_in_it() -> None:
    """Its Pods are stopped first; what somebody's finalizer holds is named in its conditions."""
    async with live_cluster() as cluster:
        everywhere, inside = Cluster(cluster.client, ""), Cluster(cluster.client, "n")
        await everywhere.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
        containers = [{"name": "c", "image": "any", "command": ["sleep", "60"]}]
        await inside.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
        )
        await config_map(inside, "held", finalizers=["example.com/held"])
        await everywhere.delete(NAMESPACE, "n")

        async def says_what_is_left() -> bool:
            namespace = await everywhere.get(NAMESPACE, "n")
            assert namespace is not None
            said = {one["type"]: one["message"] for one in (namespace.field("status") or {}).get("conditions") or ()}
            return said.get("NamespaceFinalizersRemaining") == (
                "Some content in the namespace has finalizers remaining: example.com/held in 1 resource instances"
            )

        await eventually(says_what_is_left, why="the conditions name the finalizer")
        await inside.patch(MAP, "held", {"metadata": {"finalizers": None}})

        async def is_gone() -> bool:
            return await everywhere.get(NAMESPACE, "n") is None

        await eventually(is_gone, why="the namespace is gone")
        assert await inside.get(POD, "p") is None
