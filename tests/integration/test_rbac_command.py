"""``reconcile rbac`` with a cluster to ask: a custom resource's plural and scope are its author's choice."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

GROUP = "rbac-command.example.com"
MODULE = f"""
from reconcile import App, Right
app = App("sheep-and-fields")
@app.controller("{GROUP}/v1/Sheep", needs=[Right("{GROUP}/v1/Sheep", ["patch"], "status")])
async def sheep(obj, ctx) -> None: ...
@app.controller("{GROUP}/v1/Field")
async def field(obj, ctx) -> None: ...
"""


def definition(kind: str, plural: str, scope: str) -> dict[str, object]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.mark.asyncio
async def test_plural_and_scope_are_asked_of_the_cluster(control_plane: ControlPlane, tmp_path: Path) -> None:
    """Of a plural that no rule gives; what lives outside namespaces is granted by a ClusterRole."""
    for one in (definition("Sheep", "sheep", "Namespaced"), definition("Field", "meadows", "Cluster")):
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        control_plane.rest.request("POST", path, {"apiVersion": "apiextensions.k8s.io/v1", **one})
    (tmp_path / "pasture.py").write_text(textwrap.dedent(MODULE))
    command = [sys.executable, "-m", "reconcile", "rbac", "pasture:app", "--namespace=north"]
    command += ["--kubeconfig", str(control_plane.admin_kubeconfig)]

    def printed() -> str:  # a definition is served some time after it was created
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    documents = list(yaml.safe_load_all(await eventually(printed)))
    rules = {(one["kind"], one["metadata"].get("namespace")): one["rules"] for one in documents if "rules" in one}
    everywhere = [(rule["resources"], rule["verbs"]) for rule in rules["ClusterRole", None]]
    assert everywhere == [(["meadows"], ["list", "watch"])]
    north = {rule["resources"][0]: rule["verbs"] for rule in rules["Role", "north"]}
    assert north == {"events": ["create", "patch"], "sheep": ["list", "watch"], "sheep/status": ["patch"]}
