"""The code in the documentation is code that works."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
BLOCKS = [
    (f"{page.relative_to(ROOT)}:{number}", code)
    for page in PAGES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("code", [code for _, code in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_each_block_is_python_and_imports_what_exists(code: str) -> None:
    """A reader may copy it: it parses (await and all), and what it takes from Reconcile is there."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "reconcile":
            module = importlib.import_module(node.module)
            for alias in node.names:
                try:
                    getattr(module, alias.name)
                except AttributeError:
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_the_unit_tests_shown_pass(tmp_path: Path) -> None:
    """Those of the tutorial and of the testing guide, beside the files that the tutorial has its reader write."""
    shutil.copy(ROOT / "examples" / "config_map_owner.py", tmp_path / "widgets.py")
    shown = [code for name, code in BLOCKS if "RecordingContext(" in code and name.startswith("docs")]
    assert len(shown) >= 2
    for number, code in enumerate(shown):
        (tmp_path / f"test_shown_{number}.py").write_text(code)
    options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stdout
    assert f"{len(shown)} passed" in answer.stdout


def test_files_that_pages_include_exist() -> None:
    """Sphinx would say so as well, but later."""
    for page in PAGES:
        for target in re.findall(r"^```\{literalinclude\} (\S+)", page.read_text(), re.MULTILINE):
            assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"
