"""``reconcile demo``: the Job controller at work, on the embedded cluster or on a real control plane."""

from __future__ import annotations

import argparse

from reconcile.cli.main import Subparsers
from reconcile.errors import ConfigurationError


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "demo",
        help="the Job controller at work",
        description="Starts a cluster, runs the Job controller as a service on it and shows a few Jobs run. The "
        "cluster is embedded in this process, and its containers are local processes; with --real it is a real "
        "control plane, and a real node where this machine can. Exit status 0 if every Job ended as it should.",
    )
    parser.add_argument(
        "--real", action="store_true", help="on a real control plane, which the first time is built (minutes)"
    )
    parser.add_argument(
        "--release", metavar="V", help="of Kubernetes, with --real (default: the one that this version pins)"
    )
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    from reconcile.cli.demo.show import show, show_embedded

    if options.real:
        return show(options.release)
    if options.release is not None:
        raise ConfigurationError(f"--release {options.release}: the embedded cluster has one release; add --real")
    return show_embedded()
