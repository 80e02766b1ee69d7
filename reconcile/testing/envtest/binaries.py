"""Where the control plane's programs come from: KUBEBUILDER_ASSETS, the per-user cache, or a build through Go.

Guarantees: a program in the cache is complete (it is built under a temporary name and renamed), was built from exactly
the sources that the release's ``go.mod`` and ``go.sum`` pin, and is built once however many processes want it.
Caveats: a first build takes minutes and, while it runs, several gigabytes of disk.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from reconcile.errors import UsageError
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.testing.envtest.errors import BinariesUnavailableError
from reconcile.testing.envtest.file_lock import exclusive_lock
from reconcile.testing.envtest.progress import report
from reconcile.testing.envtest.release import PROGRAMS, Release, release
from reconcile.testing.envtest.toolchain import Toolchain, find_toolchain

__all__ = [
    "CONTROL_PLANE_PROGRAMS",
    "DEFAULT_PROGRAMS",
    "cache_directory",
    "cache_root",
    "find_binaries",
    "provide_binaries",
]

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
"""The ecosystem's convention (controller-runtime's envtest): a directory with the programs."""

CONTROL_PLANE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
DEFAULT_PROGRAMS = (*CONTROL_PLANE_PROGRAMS, "kubectl")
"""What ``reconcile envtest build`` builds when nothing else is asked for; ``kubelet`` is for real nodes only."""

_DISK_BYTES_NEEDED = 8 << 30  # build cache 4.3 GB, module cache 1.2 GB, programs 0.5 GB, and the linker's copies
_REPORT_SECONDS = 15.0
_KILLED_SECONDS_MAX = 5.0
_OUTPUT_LINES_SHOWN = 20
_WORK_PREFIX = "build-"


def cache_root() -> Path:
    """This user's directory for everything that envtest keeps."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is to be ignored (XDG base directory specification).
    base = Path(root) if root.startswith("/") else Path.home() / ".cache"
    return base / "reconcile" / "envtest"


def cache_directory(wanted: Release) -> Path:
    """Where the programs of this release are kept for this user."""
    return cache_root() / wanted.cache_name


def find_binaries(names: Sequence[str], version: str | None) -> Mapping[str, Path] | None:
    """The programs that are at hand, without building anything; None unless all of them are.

    KUBEBUILDER_ASSETS counts if it holds all of ``names``, and is of the release, if one was asked for: programs of
    two releases are not mixed.

    Raises:
        UsageError: there is no such program.
        BinariesUnavailableError: there is no such release.
    """
    _check_names(names)
    assets = os.environ.get(ASSETS_VARIABLE)
    if assets:
        found = _all_in(Path(assets), names)
        if found is not None and (version is None or _release_of(Path(assets)) == version.removeprefix("v")):
            return found
    return _all_in(cache_directory(release(version)), names)


async def provide_binaries(
    names: Sequence[str], version: str | None = None, *, alongside: Sequence[str] = ()
) -> Mapping[str, Path]:
    """The programs, built if they are not at hand; progress goes to standard error.

    Args:
        names: from ``release.PROGRAMS``.
        version: a Kubernetes release; None takes what KUBEBUILDER_ASSETS has, else the default one.
        alongside: what is wanted next. If anything has to be built, these are built with it: they share most of their
            packages, which a build of their own would compile once more, for minutes.

    Raises:
        UsageError: there is no such program.
        BinariesUnavailableError: they cannot be had; the text says what was tried and the way out.
    """
    _check_names(alongside)
    found = find_binaries(names, version)
    if found is not None:
        return found
    wanted = release(version)
    directory = cache_directory(wanted)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        async with exclusive_lock(directory / "build.lock", f"another process builds in {directory}"):
            missing = [name for name in names if not _is_program(directory / name)]
            if missing:
                missing += [name for name in alongside if not _is_program(directory / name)]
                await _build(wanted, missing, directory)
    except OSError as error:
        raise BinariesUnavailableError(f"build of {', '.join(names)}: {error}; {_WAY_OUT}") from error
    return {name: directory / name for name in names}


_WAY_OUT = f"set XDG_CACHE_HOME to another place, or {ASSETS_VARIABLE} to a directory with the programs"


def _check_names(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        raise UsageError(f"no such program: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _all_in(directory: Path, names: Sequence[str]) -> Mapping[str, Path] | None:
    found = {name: directory / name for name in names if _is_program(directory / name)}
    return found if len(found) == len(set(names)) else None


def _release_of(directory: Path) -> str | None:
    """What the API server in ``directory`` calls itself."""
    try:
        output = subprocess.run(  # noqa: S603  the program is about to be run anyway
            [str(directory / "kube-apiserver"), "--version"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v(\d+\.\d+\.\d+)", output)
    return found.group(1) if found else None


async def _build(wanted: Release, names: Sequence[str], directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < _DISK_BYTES_NEEDED:
        raise BinariesUnavailableError(
            f"build of {', '.join(names)}: {free >> 30} GB are free in {directory}, "
            f"{_DISK_BYTES_NEEDED >> 30} are needed while it runs; {_WAY_OUT}"
        )
    work = _work_directory(directory)
    try:
        toolchain = await find_toolchain(wanted.go_version, work, report)
        # etcd first: a break-down shows within a minute. The others share most of their packages.
        for group in ([name for name in names if name == "etcd"], [name for name in names if name != "etcd"]):
            if group:
                await _build_together(wanted, group, directory, work, toolchain)
    finally:
        _remove(work)  # the build cache: 4 GB that the next build would hardly use


def _work_directory(directory: Path) -> Path:
    """A new one, beside the result so that the last step is a rename."""
    for left in directory.glob(f"{_WORK_PREFIX}*"):  # by a builder that was killed: whoever builds now has the lock
        _remove(left)
    return Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=directory))


async def _build_together(
    wanted: Release, names: Sequence[str], directory: Path, work: Path, toolchain: Toolchain
) -> None:
    module, output = work / "module", work / "output"
    shutil.copytree(wanted.module, module, dirs_exist_ok=True)
    output.mkdir(exist_ok=True)
    # A single package's program goes to the file that is named; `go build` would name etcd's after its directory.
    target = output / names[0] if len(names) == 1 else f"{output}/"
    command = [str(toolchain.go), "build", "-v", "-trimpath", "-ldflags", wanted.linker_flags, "-o", str(target)]
    command += [PROGRAMS[name] for name in names]
    began = SYSTEM_CLOCK.monotonic()
    duration = "half a minute to a minute" if names == ["etcd"] else "4 to 7 minutes"
    report(f"building {', '.join(names)} of Kubernetes {wanted.version} ({duration} on two cores)")
    lines: list[str] = []
    async with await anyio.open_process(
        command,
        cwd=module,
        env=_environment(work, toolchain),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            await _follow(process, lines, began)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # the compilers that it has started too
            with anyio.move_on_after(_KILLED_SECONDS_MAX, shield=True):
                await _follow(process, lines, began)  # to the end of the pipe, so that the loop closes it
            raise
    if process.returncode != 0:
        shown = "\n".join(line for line in lines[-_OUTPUT_LINES_SHOWN:])
        raise BinariesUnavailableError(
            f"build of {', '.join(names)}: `go build` ended with {process.returncode}; "
            f"is the Go module proxy reachable? Otherwise {_WAY_OUT}. Its last lines:\n{shown}"
        )
    for name in names:
        (output / name).rename(directory / name)
    report(f"built {', '.join(names)} in {SYSTEM_CLOCK.monotonic() - began:.0f} s, in {directory}")


async def _follow(process: anyio.abc.Process, lines: list[str], began: float) -> None:
    """Gather what ``go build -v`` says, and report now and then how far it is."""
    assert process.stderr is not None  # noqa: S101  it was asked for
    unfinished = b""
    compiled, reported = 0, began
    async for chunk in process.stderr:
        *complete, unfinished = (unfinished + chunk).split(b"\n")
        for raw in complete:
            line = raw.decode(errors="replace")
            lines.append(line)
            compiled += not line.startswith("go: ")
        now = SYSTEM_CLOCK.monotonic()
        if now - reported >= _REPORT_SECONDS:
            reported = now
            doing = f"{compiled} packages compiled" if compiled else "downloading modules"
            report(f"{doing} after {now - began:.0f} s")
    lines.append(unfinished.decode(errors="replace"))
    await process.wait()


def _environment(work: Path, toolchain: Toolchain) -> dict[str, str]:
    """Go's, with everything settled that a user's own settings could change about the result."""
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(work / "go-cache"),
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOTMPDIR": str(work),
    }
    environment.pop("GOOS", None)
    environment.pop("GOARCH", None)
    if toolchain.is_private:
        environment["GOMODCACHE"] = str(work / "go-modules")
        environment["GOROOT"] = str(toolchain.go.parent.parent)
    return environment


def _remove(directory: Path) -> None:
    """Go writes its module cache read-only, directories too, and what is in those could not be removed."""
    for parent, _, _ in os.walk(directory):
        Path(parent).chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
