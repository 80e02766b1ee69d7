"""``reconcile demo`` on the embedded cluster: without root and without a download, and its verdict can be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.cli.demo import show
from reconcile.cli.main import main

JOBS = ("deadline", "failing", "indexed", "parallel", "suspended")
SECONDS_MAX = 60
"""The demo takes 12 s; more than this is stuck, however slow the machine."""


def test_every_job_ends_as_it_should(tmp_path: Path) -> None:
    """The command as a user runs it; it asks for nothing in a home directory that is empty."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "reconcile", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "processes of this machine" in done.stdout
    assert "stand-in" not in done.stdout
    assert done.stdout.count("  ok\n") == len(JOBS)
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_ends_otherwise_makes_the_demo_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is a verdict here too."""
    (quick,) = [one for one in show._manifests() if one["metadata"]["name"] == "indexed"]
    quick["metadata"]["annotations"] = {"demo.reconcile.dev/expect": "Failed DeadlineExceeded"}
    monkeypatch.setattr(show, "_manifests", lambda: [quick])
    assert show.show_embedded() == 1
    assert "NOT AS IT SHOULD: want Failed DeadlineExceeded" in capsys.readouterr().out


def test_a_release_is_for_the_real_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than be ignored."""
    assert main(["demo", "--release", "1.36.3"]) != 0
    assert "--real" in capsys.readouterr().err
