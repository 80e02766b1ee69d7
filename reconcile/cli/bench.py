"""``reconcile bench``: runs one benchmark of a checkout of the project, beside its peers.

The benchmarks stand in ``benchmarks/`` of the repository, not in the distribution: they build and install peers, and
write their results beside themselves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from reconcile.cli.main import Subparsers
from reconcile.errors import UsageError

__all__ = ["add_parser"]

_PREFIX = "bench_"
_ROOT = Path(__file__).resolve().parents[2]


def add_parser(subparsers: Subparsers) -> None:
    """Register the command. What follows the benchmark's name is for the benchmark to read."""
    parser = subparsers.add_parser(
        "bench",
        help="a benchmark of this project, in a checkout of it",
        description="Runs a benchmark: `reconcile bench NAME --help` shows its flags, `reconcile bench` the names.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="NAME [FLAG …]", help="job, job-scale, sync, …")
    parser.set_defaults(func=_run, parses_arguments=True, parser=parser)


def _run(options: argparse.Namespace) -> int:
    """Run it in a process of its own; its exit status is ours.

    Raises:
        UsageError: this is no checkout, or there is no such benchmark.
    """
    name, *flags = options.arguments or [""]
    if name in ("-h", "--help"):
        options.parser.print_help()
        return 0
    directory = _ROOT / "benchmarks"
    names = sorted(path.stem.removeprefix(_PREFIX).replace("_", "-") for path in directory.glob(f"{_PREFIX}*.py"))
    if not names:
        raise UsageError(
            "reconcile bench needs a checkout of the project, with its benchmarks/ beside the package: clone the "
            "repository and install from there (pip install -e '.[all]')"
        )
    if name not in names:
        raise UsageError(f"no benchmark {name!r}; there are: {', '.join(names)}")
    command = [sys.executable, str(directory / f"{_PREFIX}{name.replace('-', '_')}.py"), *flags]
    return subprocess.run(command, check=False).returncode  # noqa: S603  our own programs
