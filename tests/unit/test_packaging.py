"""What is declared, pinned and justified is the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OWN = PYPROJECT["project"]["name"]


def names(requirements: list[str]) -> list[str]:
    """Names in PyPI's normal form (PEP 503), without our own extras."""
    found = [re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", one)[0]).lower() for one in requirements]
    return [name for name in found if name != OWN]


RUNTIME = names(PYPROJECT["project"]["dependencies"])
EXTRAS = [name for extra in PYPROJECT["project"]["optional-dependencies"].values() for name in names(extra)]
TOOLS = names(PYPROJECT["dependency-groups"]["dev"])
PINNED = names((ROOT / "constraints.txt").read_text().splitlines())


@pytest.mark.parametrize("name", [*RUNTIME, *EXTRAS, *TOOLS])
def test_what_is_needed_is_pinned(name: str) -> None:
    """Two machines that run `make test` run it with the same versions."""
    assert name in PINNED


@pytest.mark.parametrize("name", RUNTIME)
def test_each_runtime_dependency_is_justified(name: str) -> None:
    """In one line of the page on dependencies."""
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text().lower()
    assert f"\n| [{name}]" in page


def test_all_is_all_extras() -> None:
    """`pip install reconcile-k8s[all]` leaves nothing out."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    named = re.search(r"\[(.*)\]", extras["all"][0])
    assert named is not None
    assert set(named[1].split(",")) == set(extras) - {"all"}
