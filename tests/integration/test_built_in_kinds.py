"""Where Kubernetes' own kinds are served: what is known without asking is what the server says."""

from __future__ import annotations

import pytest

from reconcile.model.built_in import CLUSTER_SCOPED, GROUPS, built_in
from reconcile.model.resource import Kind, Resource
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

EVERYTHING = ("--runtime-config=api/all=true", "--feature-gates=AllAlpha=true,AllBeta=true")


@pytest.mark.asyncio
async def test_each_kind_is_where_the_server_serves_it() -> None:
    """All groups, versions and kinds, alpha ones included; the table holds none besides."""
    async with ControlPlane(ControlPlaneConfig(apiserver_arguments=EVERYTHING)) as control_plane:
        groups = control_plane.rest.request("GET", "/apis")["groups"]
        paths = ["/api/v1", *(f"/apis/{one['groupVersion']}" for group in groups for one in group["versions"])]
        served = {
            Resource(Kind.of(answer["groupVersion"], item["kind"]), item["name"], item["namespaced"])
            for answer in [control_plane.rest.request("GET", path) for path in paths]
            for item in answer["resources"]
            if "/" not in item["name"]
        }
    assert len(served) > 80
    assert {built_in(one.kind) for one in served} == served
    assert {one.kind.group for one in served} == GROUPS
    assert {one.kind.kind for one in served if not one.namespaced} == CLUSTER_SCOPED
