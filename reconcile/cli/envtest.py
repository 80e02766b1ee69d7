"""``reconcile envtest``: a real control plane on this machine, for tests and for trying things out."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

import anyio

from reconcile.testing.envtest import (
    ControlPlane,
    ControlPlaneConfig,
    EnvtestError,
    end_supervision,
    find_binaries,
    provide_binaries,
)
from reconcile.testing.envtest.binaries import DEFAULT_PROGRAMS, cache_root
from reconcile.testing.envtest.release import DEFAULT_RELEASE, PROGRAMS

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command; each of its own commands sets ``func``, which returns the exit status."""
    parser = subparsers.add_parser(
        "envtest",
        help="a real control plane on this machine: build, start, stop, env",
        description="A real control plane on this machine. In a shell: "
        'reconcile envtest start && eval "$(reconcile envtest env)" && kubectl get namespaces',
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    release = argparse.ArgumentParser(add_help=False)
    release.add_argument("--release", metavar="V", help=f"Kubernetes release (default: {DEFAULT_RELEASE})")
    directory = argparse.ArgumentParser(add_help=False)
    directory.add_argument(
        "--dir",
        metavar="D",
        type=Path,
        help="where it runs; its data is kept there (default: a directory of this user's, removed by stop)",
    )

    build = commands.add_parser("build", parents=[release], help="build the programs, unless they are at hand")
    build.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"default: {' '.join(DEFAULT_PROGRAMS)}")
    build.set_defaults(func=_build)
    start = commands.add_parser("start", parents=[release, directory], help="start one, and leave it running")
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


def _build(arguments: argparse.Namespace) -> int:
    unknown = [name for name in arguments.programs if name not in PROGRAMS]
    if unknown:
        return _fail(f"no such program: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}", status=2)
    names = arguments.programs or list(DEFAULT_PROGRAMS)
    try:
        programs = anyio.run(provide_binaries, names, arguments.release)
    except EnvtestError as error:
        return _fail(error)
    for path in programs.values():
        print(path)
    return 0


def _start(arguments: argparse.Namespace) -> int:
    directory = _directory(arguments)
    if ControlPlane.look(directory) is not None:
        return _fail(
            f"a control plane runs already in {directory}: `reconcile envtest stop` it first, or give another --dir"
        )
    if arguments.dir is None:
        shutil.rmtree(directory, ignore_errors=True)  # left by one that was killed
    config = ControlPlaneConfig(
        release=arguments.release, controllers=arguments.controllers, scheduler=True, directory=directory
    )
    try:
        control_plane = anyio.run(_start_detached, config)
    except EnvtestError as error:
        return _fail(error)
    print(f"{control_plane.url} runs in {directory}; stop it with `{_stop_command(arguments)}`", file=sys.stderr)
    _print_exports(KUBECONFIG=control_plane.admin_kubeconfig, KUBEBUILDER_ASSETS=control_plane.assets)
    return 0


async def _start_detached(config: ControlPlaneConfig) -> ControlPlane:
    control_plane = ControlPlane(config)
    await control_plane.start()
    await control_plane.binary("kubectl")
    control_plane.detach()
    return control_plane


def _stop(arguments: argparse.Namespace) -> int:
    directory = _directory(arguments)
    if not end_supervision(directory):
        return _fail(f"no control plane runs in {directory}")
    if arguments.dir is None:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _env(arguments: argparse.Namespace) -> int:
    directory = _directory(arguments)
    control_plane = ControlPlane.look(directory)
    if control_plane is not None:
        _print_exports(KUBECONFIG=control_plane.admin_kubeconfig, KUBEBUILDER_ASSETS=control_plane.assets)
        return 0
    print(f"no control plane runs in {directory}: `reconcile envtest start`", file=sys.stderr)
    try:
        programs = find_binaries(["etcd", "kube-apiserver", "kubectl"], arguments.release)
    except EnvtestError as error:
        return _fail(error)
    if programs is None:
        return _fail("the programs are not at hand: `reconcile envtest build`")
    _print_exports(KUBEBUILDER_ASSETS=programs["kube-apiserver"].parent)
    return 0


def _print_exports(**values: Path) -> None:
    for name, value in values.items():
        print(f"export {name}={shlex.quote(str(value))}")


def _directory(arguments: argparse.Namespace) -> Path:
    chosen: Path | None = arguments.dir
    return cache_root() / "running" if chosen is None else chosen.absolute()


def _stop_command(arguments: argparse.Namespace) -> str:
    return "reconcile envtest stop" + (f" --dir {shlex.quote(str(arguments.dir))}" if arguments.dir else "")


def _fail(error: object, *, status: int = 1) -> int:
    print(f"reconcile envtest: {error}", file=sys.stderr)
    return status
