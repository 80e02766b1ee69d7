"""The README says what is true: its figures come from the committed results, its example from the tested one."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
HELLO_LINES_MAX = 8


def code(text: str) -> list[str]:
    """The lines of code: without docstring and empty lines."""
    return [line for line in re.sub(r'^""".*?"""', "", text, flags=re.DOTALL).splitlines() if line.strip()]


def test_the_hello_world_is_the_example_that_is_tested() -> None:
    """Line for line."""
    shown = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert code(shown[1]) == code((ROOT / "examples" / "hello.py").read_text())


def test_the_hello_world_is_short() -> None:
    """At most eight lines, imports included."""
    assert len(code((ROOT / "examples" / "hello.py").read_text())) <= HELLO_LINES_MAX


def test_the_figures_come_from_the_committed_results() -> None:
    """`python benchmarks/report.py` would change nothing."""
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    assert spec is not None
    assert spec.loader is not None
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    for page, text in report.PAGES.items():
        assert f"{report.BEGIN}\n{text()}\n{report.END}" in page.read_text()


def test_links_lead_somewhere() -> None:
    """Every relative link of the top-level pages is a file of the repository."""
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
            assert "://" in target or (ROOT / target).exists(), f"{page}: {target}"


def test_the_make_targets_exist() -> None:
    """Every command line of the pages that begins with make names targets of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        word
        for page in pages
        for command in re.findall(
            r"^\$ (?:sudo )?make ([a-z -]+)|`(?:sudo )?make ([a-z -]+)", page.read_text(), re.MULTILINE
        )
        for word in " ".join(command).split()
    }
    assert {"demo", "test"} <= named
    assert named - targets == set()
