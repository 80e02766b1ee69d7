"""``reconcile dev``: a Kubernetes cluster in this process, to try controllers and manifests on. Not for production."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from reconcile.cli.main import Subparsers
from reconcile.errors import ConfigurationError, DecodeError

if TYPE_CHECKING:
    from reconcile.cluster.api_server.server import APIServer

__all__ = ["add_parser"]

DESCRIPTION = """\
A Kubernetes cluster in this process: for trying things out, and not for production. It listens on loopback, wants
a token that is made anew at each start, and enforces no RBAC. Its nodes run the commands of containers as processes of
this machine, as this user: nothing isolates them, so run no manifest that you would not run as a script. With
--nodes 0 there is the API server alone.

  reconcile dev --kubeconfig dev.yaml &
  export KUBECONFIG=dev.yaml
  kubectl get namespaces
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "dev",
        help="a Kubernetes cluster in this process, to try things out",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="where to write the kubeconfig, once the server is ready (default: in the user's cache directory)",
    )
    parser.add_argument("--port", metavar="N", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument(
        "--nodes",
        metavar="N",
        type=int,
        default=1,
        help="nodes that run Pods; 0 for the API alone (default: %(default)s)",
    )
    parser.add_argument(
        "--bind-address", metavar="HOST", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--expose",
        action="store_true",
        help="allow a --bind-address that other machines can reach; who has the token runs commands as you",
    )
    parser.add_argument(
        "--snapshot",
        metavar="FILE",
        type=Path,
        help="read the state from this file if it is there, and write it there when the server is stopped",
    )
    parser.set_defaults(func=_dev)


def _dev(options: argparse.Namespace) -> int:
    _check(options)
    anyio.run(_serve, options)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Say what is wrong with the options before anything is started. Raises ConfigurationError."""
    if not 0 <= options.port <= 65535:
        raise ConfigurationError(f"--port {options.port}: want a number from 0 (any free port) to 65535")
    for flag, path in (("--kubeconfig", options.kubeconfig), ("--snapshot", options.snapshot)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigurationError(f"{flag} {path}: there is no directory {path.absolute().parent}; make it first")


async def _serve(options: argparse.Namespace) -> None:
    from reconcile.cluster.api_server.server import APIServer
    from reconcile.cluster.embedded import EmbeddedCluster
    from reconcile.runtime.clock import SYSTEM_CLOCK
    from reconcile.runtime.http_server import Address
    from reconcile.testing.envtest.binaries import cache_root
    from reconcile.testing.envtest.credentials import write_private
    from reconcile.testing.serving import served

    server = APIServer(random=SYSTEM_CLOCK.random, now=SYSTEM_CLOCK.wall())
    if options.snapshot is not None and options.snapshot.exists():
        _load(server, options.snapshot)
    cluster = EmbeddedCluster.of_size(server, options.nodes)
    address = Address(options.bind_address, options.port)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with served(server, address, expose=options.expose) as front:
            path: Path = options.kubeconfig or cache_root() / "dev" / "kubeconfig"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, front.kubeconfig)
            try:
                async with cluster.running():
                    _tell(front.url, path)
                    async for _ in signals:
                        break
            finally:
                if options.snapshot is not None:
                    _save(server, options.snapshot)


def _tell(url: str, kubeconfig: Path) -> None:
    print(f"The API server is ready at {url}. Use it in another shell:\n", file=sys.stderr)
    print(f"  export KUBECONFIG={kubeconfig.absolute()}\n  kubectl get namespaces\n", file=sys.stderr)
    print("It is for trying things out, not for production. Ctrl-C stops it.", file=sys.stderr, flush=True)


def _load(server: APIServer, path: Path) -> None:
    try:
        server.load(path.read_bytes().splitlines())
    except (DecodeError, StopIteration, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"--snapshot {path}: is no snapshot of this program ({error}); name another file, or move this one away"
        ) from error


def _save(server: APIServer, path: Path) -> None:
    """Write all of it beside the old one, then take its place: a crash leaves one of the two."""
    from reconcile.testing.envtest.credentials import write_private

    write_private(path, "".join(line.decode() + "\n" for line in server.storage.dump()))
    print(f"The state is in {path}.", file=sys.stderr)
