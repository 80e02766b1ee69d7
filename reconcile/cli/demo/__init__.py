"""``reconcile demo``: the Job controller at work on a real control plane."""

from __future__ import annotations

import argparse

from reconcile.cli.main import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "demo",
        help="the Job controller at work on a real control plane",
        description="Starts a control plane (and a real node, where this machine can), runs the Job controller as a "
        "service on it and shows a few Jobs run. Exit status 0 if every Job ended as it should.",
    )
    parser.add_argument("--release", metavar="V", help="of Kubernetes (default: the one that this version pins)")
    parser.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    from reconcile.cli.demo.show import show

    return show(options.release)
