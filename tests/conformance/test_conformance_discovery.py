"""What the embedded API server says that it serves is what a real one serves."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from conformance import Step, get, play_embedded, play_real
from embedded import api_server

from reconcile.testing.envtest import ControlPlane

SCRIPT = Path(__file__).resolve().parents[2] / ".ci/derive_resources.py"


def test_the_registry_is_what_the_script_derives(control_plane: ControlPlane) -> None:
    """The data file is up to date with the pinned release."""
    spec = importlib.util.spec_from_file_location("derive_resources", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.derive(control_plane) == json.loads(script.TARGET.read_text())


def served(document: Any, kept: set[str]) -> list[Any]:
    """The resources of an APIResourceList that both serve."""
    return [one for one in document["resources"] if one["name"] in kept]


def test_discovery_lists_resources_alike(control_plane: ControlPlane) -> None:
    """Names, kinds, verbs, short names and categories of every resource that is served at all."""
    server = api_server()
    paths = ["/api/v1", *(f"/apis/{g}/{v}" for g, versions in server.registry.groups().items() for v in versions if g)]
    steps: list[Step] = [get(path) for path in paths]
    for ours, theirs in zip(play_embedded(server, steps), play_real(control_plane, steps), strict=True):
        names = {one["name"] for one in ours[1]["resources"]}
        assert ours[1] == {**theirs[1], "resources": served(theirs[1], names)}
