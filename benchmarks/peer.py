"""The peers, made ready: a private virtual environment for those in Python, a build for those in Go.

Both are kept in the user's cache, under a hash of what they are made from.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from reconcile.testing.envtest.errors import BinariesUnavailableError
from reconcile.testing.envtest.toolchain import find_toolchain

PEERS = Path(__file__).resolve().parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "reconcile" / "benchmarks"

GO_VERSION_MIN = (1, 26, 0)
"""What the module of the Go peers asks for."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peers_python() -> Path:
    """The interpreter of a virtual environment that holds the Python peers, made once per lock file."""
    lock = PEERS / "requirements.txt"
    home = CACHE / f"peers-{hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    python = home / "bin" / "python"
    if not (home / ".complete").exists():
        say("installing the Python peers (half a minute)")
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", lock], check=True)
        (home / ".complete").touch()
    return python


def go_peer(name: str) -> Path | None:
    """The built Go peer, or None, with the reason said, where no Go can be had. Not to be called in a running loop."""
    source = PEERS / "go"
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(source.rglob("*")) if file.is_file()))
    binary = CACHE / f"{name}-{digest.hexdigest()[:12]}"
    if binary.exists():
        return binary
    say(f"building the Go peer {name} (a minute)")
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        go = asyncio.run(find_toolchain(GO_VERSION_MIN, CACHE, say)).go
    except BinariesUnavailableError as error:
        say(f"client-go is left out: {error}")
        return None
    subprocess.run(
        [go, "build", "-trimpath", "-o", binary, f"./{name}"],
        cwd=source,
        env={**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        check=True,
    )
    return binary
