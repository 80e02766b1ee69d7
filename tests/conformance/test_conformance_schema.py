"""The data file of types is what a real server serves."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from reconcile.testing.envtest import ControlPlane

ROOT = Path(__file__).resolve().parents[2]


def presences(types: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the file says of zero values: it comes from the sources of the server's types, not from the server."""

    def of(field: Any) -> Iterator[str]:
        if isinstance(field, str):
            yield from re.findall(r"[?!]$", field)
        elif "presence" in field:
            yield field["presence"]

    return {
        name: {one: mark for one, field in entry.get("fields", {}).items() for mark in of(field)}
        for name, entry in types.items()
        if isinstance(entry, dict)
    }


def test_the_file_is_what_the_server_serves(control_plane: ControlPlane) -> None:
    """After a new release, `.ci/derive_schema.py` writes the file again."""
    stored = json.loads(files("reconcile.cluster.api_server").joinpath("data/schema.json").read_text())
    version = control_plane.rest.request("GET", "/version")["gitVersion"].removeprefix("v")
    if version != stored["release"]:
        pytest.skip(f"the file is of {stored['release']}, this server is {version}")
    script = runpy.run_path(str(ROOT / ".ci/derive_schema.py"))
    derived = script["derive"](script["fetch"](control_plane.rest), presences(stored["types"]))
    assert derived == {name: stored[name] for name in ("kinds", "types")}
