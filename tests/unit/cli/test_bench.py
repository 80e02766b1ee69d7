"""``reconcile bench``: which benchmarks there are, and what it says where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconcile.cli import bench
from reconcile.cli.main import main


def test_it_names_the_benchmarks_of_the_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is refused with the list."""
    assert main(["bench", "nonsense"]) == 2
    told = capsys.readouterr().err
    assert "no benchmark 'nonsense'" in told
    assert "job" in told
    assert "sync" in told


def test_flags_after_the_name_are_the_benchmarks(capfd: pytest.CaptureFixture[str]) -> None:
    """Its help is the benchmark's own, and a wrong shape is its own error."""
    assert main(["bench", "job", "--help"]) == 0
    assert "--shape" in capfd.readouterr().out
    assert main(["bench", "job", "--shape", "many"]) == 2
    assert "want JOBSxPODS" in capfd.readouterr().err


def test_outside_a_checkout_it_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit status 2."""
    monkeypatch.setattr(bench, "_ROOT", tmp_path)
    assert main(["bench", "job"]) == 2
    assert "needs a checkout" in capsys.readouterr().err
