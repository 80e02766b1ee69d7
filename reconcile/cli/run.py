"""``reconcile run``: runs controllers as a service until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import logging
import re
import socket
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconcile.cli.main import Subparsers, exit_status
from reconcile.errors import ReconcileError, UsageError

if TYPE_CHECKING:
    from reconcile.app import App
    from reconcile.manager import RunOptions

CONTROLLERS_GROUP = "reconcile.controllers"

_log = logging.getLogger("reconcile.run")

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def add_parser(subparsers: Subparsers) -> None:
    """Register the command. Its own flags depend on what it runs, so they are parsed again in ``run``."""
    parser = subparsers.add_parser("run", add_help=False, allow_abbrev=False, help="run controllers as a service")
    _add_arguments(parser)
    parser.set_defaults(func=run, parses_arguments=True)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "apps", nargs="*", metavar="NAME|MODULE:APP", help="an installed app (see --list), or package.module:app"
    )
    parser.add_argument(
        "-h", "--help", action="store_true", help="this help, and the flags of the apps named before it"
    )
    parser.add_argument("--list", action="store_true", help="print the installed apps and exit")
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--kubeconfig", metavar="PATH", help="default: KUBECONFIG, ~/.kube/config, in-cluster")
    cluster.add_argument("--context", metavar="NAME", help="a context of the kubeconfig (default: its current one)")
    cluster.add_argument(
        "--namespace", metavar="NAMES", action="append", default=[], help="only these: comma list, repeatable"
    )
    election = parser.add_argument_group("leader election")
    election.add_argument("--leader-elect", action="store_true", help="write only while holding a Lease")
    election.add_argument(
        "--leader-elect-namespace", metavar="NAMESPACE", help="default: the kubeconfig's or the Pod's"
    )
    election.add_argument("--leader-elect-name", metavar="NAME", help="of the Lease (default: the apps' names)")
    service = parser.add_argument_group("service")
    service.add_argument("--concurrency", metavar="N", type=_positive, help="keys at a time for each controller")
    service.add_argument("--log-format", choices=["text", "json"], default="text")
    service.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    service.add_argument("--health-bind-address", metavar="HOST:PORT", help="/healthz and /readyz (default: off)")
    service.add_argument("--metrics-bind-address", metavar="HOST:PORT", help="/metrics, loopback only (default: off)")


def _positive(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: want a number from 1 to 999999")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: no such app, or a flag that cannot be.
    """
    if options.list:
        for entry in sorted(importlib.metadata.entry_points(group=CONTROLLERS_GROUP)):
            print(f"{entry.name}\t{entry.value}\t{entry.dist.name if entry.dist else ''}")
        return 0
    prepared = prepare("run", options, _add_arguments, _DESCRIPTION)
    return 0 if prepared is None else _serve(*prepared)


def prepare(
    command: str,
    options: argparse.Namespace,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    description: str,
) -> tuple[Sequence[App], argparse.Namespace] | None:
    """The apps that ``options`` name, and the flags parsed with theirs; None where help was asked for, and printed.

    Raises:
        UsageError: no such app, or two whose flags collide.
    """
    apps = [find_app(name) for name in options.apps]
    parser = argparse.ArgumentParser(
        prog=" ".join(["reconcile", command, *options.apps]),
        add_help=False,
        allow_abbrev=False,
        description=description,
    )
    add_arguments(parser)
    for app in apps:
        try:
            app.add_arguments(parser)
        except argparse.ArgumentError as error:
            raise UsageError(f"app {app.name!r} cannot be run with the others: {error}") from error
    if options.help:
        parser.print_help()
        return None
    if not apps:
        parser.error("name an app: `reconcile run --list` shows the installed ones")
    return apps, parser.parse_args(options.arguments)


_DESCRIPTION = """Runs controllers until SIGTERM or SIGINT. Exit status: 0 after a clean stop, 1 on failure or a lost
lease, 2 on usage or configuration."""


GARBAGE_THRESHOLDS = (10_000, 20, 50)
"""Objects made before a generation is searched for cycles; Python's own are 700, 10 and 10. A controller makes few
cycles and keeps what it caches, so that at those a tenth of its CPU went into searches that found nothing."""


def _collect_garbage_rarely() -> None:
    """The process is ours alone. What is loaded by now stays, and is never searched."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def _serve(apps: Sequence[App], options: argparse.Namespace) -> int:
    from reconcile.instrumentation.logging import configure_logging

    configure_logging(format=options.log_format, level=options.log_level)
    _collect_garbage_rarely()
    try:
        app = joined(apps, options)
        app.run(options=run_options(app.name, options))
    except ReconcileError as error:
        _log.error("%s", error)  # the text says it all; a trace would be of our own making
        return exit_status(error)
    except Exception:  # noqa: BLE001  the last one to hear of it
        _log.exception("failed")
        return 1
    return 0


def joined(apps: Sequence[App], options: argparse.Namespace) -> App:
    """One app with the controllers of all: one connection, one cache, one lease, one pair of ports."""
    from reconcile.app import App

    for app in apps:
        app.configure(options)
    if len(apps) == 1:
        return apps[0]
    together = App("-".join(app.name for app in apps))
    for app in apps:
        together.hook(app.hooks.emit)
        for declaration in app.controllers:
            together.add(declaration)
    return together


def run_options(name: str, options: argparse.Namespace) -> RunOptions:
    """What the flags say. Raises UsageError, ConfigurationError."""
    from reconcile.client.config import load_config
    from reconcile.manager import RunOptions
    from reconcile.runtime.leader_election import LeaderElectionConfig

    namespaces = split_namespaces(options.namespace)
    election = None
    if options.leader_elect:
        lease_namespace = options.leader_elect_namespace
        if lease_namespace is None:
            lease_namespace = load_config(options.kubeconfig, context=options.context).namespace
        _check_namespace("--leader-elect-namespace", lease_namespace)
        # A clone of this machine has its host name too: two processes must never take each other's lease for their own.
        identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        election = LeaderElectionConfig(
            name=options.leader_elect_name or name, namespace=lease_namespace, identity=identity
        )
    elif options.leader_elect_namespace is not None or options.leader_elect_name is not None:
        raise UsageError("--leader-elect-namespace and --leader-elect-name need --leader-elect")
    return RunOptions(
        kubeconfig=options.kubeconfig,
        context=options.context,
        namespaces=namespaces,
        workers=options.concurrency,
        leader_election=election,
        health_bind_address=options.health_bind_address,
        metrics_bind_address=options.metrics_bind_address,
    )


def split_namespaces(given: Sequence[str]) -> tuple[str, ...]:
    """The names in the values of ``--namespace``, each once. Raises UsageError."""
    namespaces = tuple(dict.fromkeys(part for text in given for part in text.split(",")))
    for namespace in namespaces:
        _check_namespace("--namespace", namespace)
    return namespaces


def _check_namespace(flag: str, name: str) -> None:
    if not _NAMESPACE.fullmatch(name):
        raise UsageError(f"{flag} {name!r}: want a namespace's name (lower-case letters, digits and '-', at most 63)")


def find_app(name: str) -> App:
    """The app of an entry point's name, or of ``package.module:attribute``.

    Raises:
        UsageError: there is none, or it is not an App.
    """
    value = name
    if ":" in name:
        sys.path.insert(0, "")  # as `python -m` does: the module that one is working on
    else:
        found = tuple(importlib.metadata.entry_points(group=CONTROLLERS_GROUP, name=name))
        values = sorted({entry.value for entry in found})
        if not values:
            installed = sorted({entry.name for entry in importlib.metadata.entry_points(group=CONTROLLERS_GROUP)})
            raise UsageError(
                f"no app {name!r}; installed: {', '.join(installed) or 'none'}; or give package.module:app "
                f"(an app's own flags come after its name)"
            )
        if len(values) > 1:
            raise UsageError(f"app {name!r} is registered twice: {', '.join(values)}; name one as package.module:app")
        value = values[0]
    module_name, _, attribute = value.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise UsageError(f"{value!r}: want package.module:app")
    return _load(module_name, attribute)


def _load(module_name: str, attribute: str) -> App:
    from reconcile.app import App

    try:
        value: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise UsageError(
            f"no module {error.name!r} for {module_name}:{attribute}; is it installed, or the directory right?"
        ) from error
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, App):
        what = "nothing" if value is None else f"a {type(value).__name__}"
        raise UsageError(f"{module_name}:{attribute} is {what}, not a reconcile.App")
    return value
