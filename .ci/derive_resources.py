#!/usr/bin/env python3
"""Derives reconcile/cluster/api_server/data/resources.json from a real API server's discovery and table columns.

Run it after a change of the pinned Kubernetes release: ``.ci/derive_resources.py`` (it starts an API server by
``reconcile.testing.envtest``). What is served is the real server's list of kinds, cut down to the groups below; the
subresources that stream from nodes (exec, log, …) are left out, since the embedded server has no kubelet to ask.
"""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

import anyio

from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

TARGET = Path(__file__).resolve().parents[1] / "reconcile/cluster/api_server/data/resources.json"
GROUPS = (
    "",
    "apps",
    "autoscaling",
    "batch",
    "policy",
    "events.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "resource.k8s.io",
    "apiextensions.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
)
LEFT_OUT = {"componentstatuses", "tokenreviews", "localsubjectaccessreviews", "selfsubjectrulesreviews"}
SUBRESOURCES = {"status", "scale", "binding", "eviction", "finalize"}
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


def get(control_plane: ControlPlane, path: str, accept: str) -> Any:
    """The decoded answer, asked for in one representation."""
    rest = control_plane.rest
    connection = http.client.HTTPSConnection(rest.host, rest.port, context=rest.tls, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {rest.token}", "Accept": accept})
    answer = connection.getresponse()
    assert answer.status == 200, (path, answer.status)  # noqa: S101  a script
    value = json.loads(answer.read())
    assert isinstance(rest.tls, ssl.SSLContext)  # noqa: S101  a script
    connection.close()
    return value


def derive(control_plane: ControlPlane) -> list[dict[str, Any]]:
    """One row for each resource of each version, in the order of discovery."""
    found = [item for path in ("/api", "/apis") for item in get(control_plane, path, DISCOVERY)["items"]]
    rows = []
    for item in found:
        group = item["metadata"].get("name", "")
        if group not in GROUPS:
            continue
        for version in item["versions"]:
            base = f"/apis/{group}/{version['version']}" if group else f"/api/{version['version']}"
            hashes = {
                one["name"]: one.get("storageVersionHash", "")
                for one in get(control_plane, base, "application/json")["resources"]
            }
            rows += [
                row(control_plane, (group, version["version"]), base, one, hashes)
                for one in version["resources"]
                if one["resource"] not in LEFT_OUT
            ]
    return rows


def row(
    control_plane: ControlPlane, named: tuple[str, str], base: str, one: dict[str, Any], hashes: dict[str, str]
) -> dict[str, Any]:
    """One resource."""
    columns: list[list[Any]] = []
    if "list" in one["verbs"]:
        table = get(control_plane, f"{base}/{one['resource']}?limit=1", TABLE)
        columns = [[c["name"], c["type"], c["format"], c["priority"]] for c in table["columnDefinitions"]]
    subresources = {
        sub["subresource"]: [*(sub["responseKind"][name] for name in ("group", "version", "kind")), sub["verbs"]]
        for sub in one.get("subresources", ())
        if sub["subresource"] in SUBRESOURCES
    }
    return {
        "group": named[0],
        "version": named[1],
        "kind": one["responseKind"]["kind"],
        "plural": one["resource"],
        "singular": one["singularResource"],
        "namespaced": one["scope"] == "Namespaced",
        "verbs": one["verbs"],
        "short_names": one.get("shortNames", []),
        "categories": one.get("categories", []),
        "subresources": subresources,
        "storage_hash": hashes.get(one["resource"], ""),
        "columns": columns,
    }


async def main() -> None:
    """Start the server, write the file."""
    async with ControlPlane(ControlPlaneConfig()) as control_plane:
        rows = await anyio.to_thread.run_sync(derive, control_plane)
    TARGET.write_text("[\n" + ",\n".join(json.dumps(one, separators=(",", ":")) for one in rows) + "\n]\n")
    print(f"{TARGET}: {len(rows)} resources, {TARGET.stat().st_size} bytes")  # noqa: T201  a script


if __name__ == "__main__":
    anyio.run(main)
