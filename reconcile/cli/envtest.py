"""``reconcile envtest``: a real control plane on this machine, for tests and for trying things out."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from reconcile.cli.main import Subparsers

if TYPE_CHECKING:
    from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

__all__ = ["add_parser"]

DESCRIPTION = """\
A real control plane on this machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

In a shell:  eval "$(reconcile envtest start)" && "$KUBEBUILDER_ASSETS/kubectl" get namespaces
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and its own commands."""
    parser = subparsers.add_parser(
        "envtest",
        help="a real control plane on this machine: build, start, stop, env",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    release = argparse.ArgumentParser(add_help=False)
    release.add_argument(
        "--release", metavar="V", help="Kubernetes release (default: what KUBEBUILDER_ASSETS has, else the pinned one)"
    )
    directory = argparse.ArgumentParser(add_help=False)
    directory.add_argument(
        "--dir",
        metavar="D",
        type=Path,
        help="where it runs; its data is kept there (default: one directory for this user, removed by stop)",
    )

    build = commands.add_parser("build", parents=[release], help="build the programs that are not at hand")
    build.add_argument("programs", nargs="*", metavar="PROGRAM", help="default: all but kubelet")
    build.set_defaults(func=_build)
    start = commands.add_parser(
        "start", parents=[release, directory], help="start one, leave it running, and print `export` lines"
    )
    start.add_argument(
        "--controllers",
        metavar="LIST",
        default="*",
        help="kube-controller-manager's, such as '*,-job-controller' to make room for another Job controller",
    )
    start.set_defaults(func=_start)
    stop = commands.add_parser("stop", parents=[directory], help="stop it")
    stop.set_defaults(func=_stop)
    env = commands.add_parser("env", parents=[release, directory], help="print `export` lines for a shell")
    env.set_defaults(func=_env)


def _build(options: argparse.Namespace) -> int:
    from reconcile.testing.envtest.binaries import DEFAULT_PROGRAMS, provide_binaries

    programs = anyio.run(provide_binaries, options.programs or DEFAULT_PROGRAMS, options.release)
    for path in programs.values():
        print(path)
    return 0


def _start(options: argparse.Namespace) -> int:
    from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig, ControlPlaneError

    directory = _directory(options)
    if ControlPlane.look(directory) is not None:
        raise ControlPlaneError(f"a control plane runs already in {directory}: stop it first, or give another --dir")
    if options.dir is None:
        shutil.rmtree(directory, ignore_errors=True)  # left by one that was killed
    config = ControlPlaneConfig(
        release=options.release, controllers=options.controllers, scheduler=True, directory=directory
    )
    control_plane = anyio.run(_start_and_leave, config)
    given = f" --dir {shlex.quote(str(options.dir))}" if options.dir else ""
    print(f"{control_plane.url} runs in {directory}; to end it: reconcile envtest stop{given}", file=sys.stderr)
    _print_exports(control_plane)
    return 0


async def _start_and_leave(config: ControlPlaneConfig) -> ControlPlane:
    from reconcile.testing.envtest import ControlPlane
    from reconcile.testing.envtest.binaries import CONTROL_PLANE_PROGRAMS, provide_binaries

    control_plane = ControlPlane(config)
    await provide_binaries(CONTROL_PLANE_PROGRAMS, config.release, alongside=["kubectl"])
    await control_plane.binary("kubectl")  # for whoever uses what is exported
    await control_plane.start()
    control_plane.detach()
    return control_plane


def _stop(options: argparse.Namespace) -> int:
    from reconcile.testing.envtest import ControlPlaneError, end_supervision

    directory = _directory(options)
    if not end_supervision(directory):
        raise ControlPlaneError(f"no control plane runs in {directory}")
    if options.dir is None:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _env(options: argparse.Namespace) -> int:
    from reconcile.testing.envtest import BinariesUnavailableError, ControlPlane, find_binaries

    directory = _directory(options)
    control_plane = ControlPlane.look(directory)
    if control_plane is not None:
        _print_exports(control_plane)
        return 0
    print(f"no control plane runs in {directory}: reconcile envtest start", file=sys.stderr)
    programs = find_binaries(["etcd", "kube-apiserver", "kubectl"], options.release)
    if programs is None:
        raise BinariesUnavailableError("the programs are not at hand: reconcile envtest build")
    _print_export("KUBEBUILDER_ASSETS", programs["kube-apiserver"].parent)
    return 0


def _print_exports(control_plane: ControlPlane) -> None:
    _print_export("KUBECONFIG", control_plane.admin_kubeconfig)
    _print_export("KUBEBUILDER_ASSETS", control_plane.assets)


def _print_export(name: str, value: Path) -> None:
    print(f"export {name}={shlex.quote(str(value))}")


def _directory(options: argparse.Namespace) -> Path:
    from reconcile.testing.envtest.binaries import cache_root

    chosen: Path | None = options.dir
    return cache_root() / "running" if chosen is None else chosen.absolute()
