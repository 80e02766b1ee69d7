"""``reconcile``: finds the commands, runs one, and turns what went wrong into an exit status.

Exit status: 0 after success or a clean stop, 1 on failure, 2 on usage or configuration, 130 on Ctrl-C elsewhere.

Commands are the modules beside this one, and what other distributions register under the entry-point group
``reconcile.commands``; each offers ``add_parser(subparsers)``, which sets ``func``: ``(options) -> exit status``. Only
the command that is run is imported, and each imports what is heavy when it runs: ``reconcile --help`` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from reconcile.errors import ConfigurationError, ReconcileError, UsageError
from reconcile.instrumentation.redaction import redact, spell_out

COMMANDS_GROUP = "reconcile.commands"

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  its only name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="reconcile",
        description="An asyncio framework for Kubernetes controllers.",
        epilog="Exit status: 0 after success or a clean stop, 1 on failure, 2 on usage or configuration.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    _add_commands(subparsers, wanted=given[0] if given else "")
    options, unknown = parser.parse_known_args(given)
    # A command whose flags depend on its first arguments parses them again, from here.
    options.arguments = given[given.index(options.command) + 1 :]
    if unknown and not getattr(options, "parses_arguments", False):
        subparsers.choices[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return int(options.func(options))
    except ReconcileError as error:
        complain(str(error))
        return exit_status(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone (`| head`), and so is the wish for a complaint
        return 1


def exit_status(error: ReconcileError) -> int:
    """2 for what the operator or the caller has to put right, 1 for what went wrong."""
    return 2 if isinstance(error, (ConfigurationError, UsageError)) else 1


def complain(text: str) -> None:
    """One line for people on standard error. Servers and files wrote parts of it, so it is made safe first."""
    print(f"reconcile: {spell_out(redact(text))}", file=sys.stderr)


class _Version(argparse.Action):
    """Looks the version up only when asked: that reads the installed metadata from disk."""

    def __call__(self, parser: argparse.ArgumentParser, *_rest: object) -> NoReturn:
        print(f"reconcile {importlib.metadata.version('reconcile-k8s')}")
        parser.exit()


def _add_commands(subparsers: Subparsers, *, wanted: str) -> None:
    """The one command that is wanted, or all, where it is none of ours or help is asked for."""
    here = [name for _, name, _ in pkgutil.iter_modules([str(Path(__file__).parent)]) if name != "main"]
    if wanted in here:
        importlib.import_module(f"reconcile.cli.{wanted}").add_parser(subparsers)
        return
    for name in here:
        importlib.import_module(f"reconcile.cli.{name}").add_parser(subparsers)
    for entry in importlib.metadata.entry_points(group=COMMANDS_GROUP):
        try:
            entry.load().add_parser(subparsers)
        except Exception as error:  # noqa: BLE001  a broken plug-in must not take the other commands away
            complain(f"command {entry.name!r} of {entry.value} is left out: {type(error).__name__}: {error}")
