"""The rules of the house that import-linter cannot say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted([*(ROOT / "reconcile").rglob("*.py"), *(ROOT / "controllers").rglob("*.py")])
LINES_MAX = 400
LINES_EXAMPLE_MAX = 80
VAGUE = re.compile(r"(utils?|helpers?|common|base|misc|[a-z]+\d)\.py")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_product_is_found() -> None:
    """The checks below look at something."""
    assert "reconcile/reconciler.py" in map(name_of, PRODUCT)
    assert any(name_of(path).startswith("controllers/") for path in PRODUCT)


@pytest.mark.parametrize("path", [path for path in PRODUCT if path.is_relative_to(ROOT / "reconcile")], ids=name_of)
def test_nothing_inside_the_package_imports_the_face(path: Path) -> None:
    """The face names what stands below it; a floor that imported it would import every floor."""
    assert "reconcile" not in set(imported(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", [path for path in PRODUCT if path != ROOT / "reconcile/model/json.py"], ids=name_of)
def test_one_file_knows_json(path: Path) -> None:
    """msgspec's Structs are everywhere, its JSON codec in one file."""
    uses = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "json" and ast.unparse(node.value) == "msgspec"
    ]
    assert not uses
    assert "msgspec.json" not in set(imported(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_a_file_is_one_noun_of_readable_size(path: Path) -> None:
    """A file past 400 lines holds two nouns; one called utils holds none."""
    assert len(path.read_text().splitlines()) <= LINES_MAX
    assert not VAGUE.fullmatch(path.name)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=name_of)
def test_an_example_fits_on_a_screen(path: Path) -> None:
    """Each example is one file that can be read at once."""
    assert len(path.read_text().splitlines()) <= LINES_EXAMPLE_MAX


def test_the_lock_holds_names_and_versions_only() -> None:
    """constraints.txt pins; it says nothing of where packages come from."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.+!]+", line)] == []


def test_test_files_have_names_of_their_own() -> None:
    """pytest takes a test file for a module of its base name: two of one name cannot be collected together."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
