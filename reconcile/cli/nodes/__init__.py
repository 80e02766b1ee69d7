"""``reconcile nodes``: list, describe, cordon, drain and uncordon nodes; flags and exit status are kubectl's."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import anyio

from reconcile.cli.main import Subparsers, complain
from reconcile.errors import ReconcileError, UsageError

if TYPE_CHECKING:
    from reconcile.client.api import Client
    from reconcile.nodes import DrainOptions, DryRun
    from reconcile.nodes.drain import Progress

    Command: TypeAlias = Callable[[Client, argparse.Namespace], Awaitable[int]]

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:(\d+(?:\.\d*)?|\.\d+)(h|ms|m|us|µs|ns|s))")


def add_parser(subparsers: Subparsers) -> None:
    """Register the command and its own commands."""
    parser = subparsers.add_parser(
        "nodes",
        help="list, describe, cordon, drain and uncordon nodes",
        description="Node operations, with kubectl's flags, refusals and exit status.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument("--kubeconfig", metavar="PATH", help="default: KUBECONFIG, ~/.kube/config, in-cluster")
    cluster.add_argument("--context", metavar="NAME", help="a context of the kubeconfig (default: its current one)")
    some = argparse.ArgumentParser(add_help=False)
    some.add_argument("nodes", nargs="*", metavar="NODE")
    some.add_argument("-l", "--selector", metavar="LABELS", default="", help="the nodes with these labels")
    dry_run = argparse.ArgumentParser(add_help=False)
    dry_run.add_argument(
        "--dry-run",
        choices=["none", "server", "client"],
        default="none",
        help="client: say what would be done; server: let the server try, too, without persisting it",
    )

    listing = commands.add_parser("list", parents=[cluster, some], help="what nodes there are", allow_abbrev=False)
    listing.add_argument("-o", "--output", choices=["wide", "name", "json", "yaml"], help="default: a table")
    listing.set_defaults(func=_run(_list))
    describe = commands.add_parser(
        "describe", parents=[cluster, some], help="conditions, taints, Pods and what they ask for", allow_abbrev=False
    )
    describe.set_defaults(func=_run(_describe))
    cordon = commands.add_parser(
        "cordon", parents=[cluster, some, dry_run], help="let no new Pods onto nodes", allow_abbrev=False
    )
    cordon.set_defaults(func=_run(_cordon))
    uncordon = commands.add_parser(
        "uncordon", parents=[cluster, some, dry_run], help="let new Pods onto nodes again", allow_abbrev=False
    )
    uncordon.set_defaults(func=_run(_uncordon))
    drain = commands.add_parser(
        "drain", parents=[cluster, some, dry_run], help="cordon nodes and evict their Pods", allow_abbrev=False
    )
    _add_drain_flags(drain)
    drain.set_defaults(func=_run(_drain))


def _add_drain_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ignore-daemonsets", action="store_true", help="leave DaemonSets' Pods, instead of refusing")
    parser.add_argument("--delete-emptydir-data", action="store_true", help="evict Pods whose emptyDir is lost")
    parser.add_argument("--force", action="store_true", help="evict Pods that nothing will put back")
    parser.add_argument(
        "--grace-period", metavar="SECONDS", type=int, default=-1, help="for each Pod to end (default: its own)"
    )
    parser.add_argument(
        "--timeout", metavar="DURATION", type=duration, default=0.0, help="for each node, such as 5m (default: none)"
    )
    parser.add_argument("--disable-eviction", action="store_true", help="delete, past all PodDisruptionBudgets")
    parser.add_argument("--pod-selector", metavar="LABELS", default="", help="only Pods with these labels")
    parser.add_argument(
        "--skip-wait-for-delete-timeout",
        metavar="SECONDS",
        type=int,
        default=0,
        help="leave Pods that have been terminating for longer (default: wait for them)",
    )


def duration(text: str) -> float:
    """Seconds of ``90s``, ``1h30m``, ``1.5m`` or ``0``. Raises ArgumentTypeError."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: want such as 90s, 5m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _run(command: Command) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        return anyio.run(_connected, command, options)

    return run


async def _connected(command: Command, options: argparse.Namespace) -> int:
    from reconcile.client.config import load_config
    from reconcile.client.connect import connect

    async with connect(load_config(options.kubeconfig, context=options.context)) as client:
        return await command(client, options)


async def _names(client: Client, options: argparse.Namespace) -> Sequence[str]:
    """The nodes that the command line names. Raises UsageError where it names none, or in both ways."""
    from reconcile.nodes import list_nodes

    if options.nodes and options.selector:
        raise UsageError("name nodes or give --selector, not both")
    if options.nodes:
        return list(dict.fromkeys(options.nodes))
    if not options.selector:
        raise UsageError("which nodes? Name them, or give --selector")
    names = [node.name for node in await list_nodes(client, label_selector=options.selector)]
    if not names:
        print(f"no node has the labels {options.selector}", file=sys.stderr)
    return names


async def _list(client: Client, options: argparse.Namespace) -> int:
    from reconcile.cli.nodes.report import render_nodes
    from reconcile.nodes import get_node, list_nodes

    if options.nodes and options.selector:
        raise UsageError("name nodes or give --selector, not both")
    if options.nodes:
        nodes = [await get_node(client, name) for name in dict.fromkeys(options.nodes)]
    else:
        nodes = list(await list_nodes(client, label_selector=options.selector))
    print(render_nodes(nodes, options.output), end="")
    return 0


async def _describe(client: Client, options: argparse.Namespace) -> int:
    from reconcile.cli.nodes.report import render_description
    from reconcile.nodes import describe_node

    texts = [render_description(await describe_node(client, name)) for name in await _names(client, options)]
    print("\n\n".join(texts), end="")
    return 0


async def _cordon(client: Client, options: argparse.Namespace) -> int:
    from reconcile.nodes import cordon

    return await _change(client, options, cordon, "cordoned")


async def _uncordon(client: Client, options: argparse.Namespace) -> int:
    from reconcile.nodes import uncordon

    return await _change(client, options, uncordon, "uncordoned")


async def _change(
    client: Client, options: argparse.Namespace, change: Callable[..., Awaitable[bool]], done: str
) -> int:
    """One word for each node. Stricter than kubectl: a patch that is refused is a failure."""
    status = 0
    for name in await _names(client, options):
        try:
            print(await _changed(client, name, change, done, _dry_run(options)), flush=True)
        except ReconcileError as error:
            complain(str(error))
            status = 1
    return status


async def _changed(
    client: Client, name: str, change: Callable[..., Awaitable[bool]], done: str, dry_run: DryRun
) -> str:
    changed = await change(client, name, dry_run=dry_run)
    note = "" if dry_run.value == "none" else f" ({dry_run.value} dry run)"
    return f"node/{name} {'' if changed else 'already '}{done}{note}"


def _dry_run(options: argparse.Namespace) -> DryRun:
    from reconcile.nodes import DryRun

    return DryRun(options.dry_run)


async def _drain(client: Client, options: argparse.Namespace) -> int:
    """Cordon all, then drain one after the other; a node that could not be cordoned is not drained."""
    from reconcile.nodes import cordon, drain

    wanted, dry_run = _drain_options(options), _dry_run(options)
    cordoned: list[str] = []
    failed: list[str] = []
    for name in await _names(client, options):
        try:
            print(await _changed(client, name, cordon, "cordoned", dry_run), flush=True)
            cordoned.append(name)
        except ReconcileError as error:
            complain(str(error))
            failed.append(name)
    for name in cordoned:
        try:
            await drain(client, name, wanted, report=_print_progress)
        except ReconcileError as error:
            complain(str(error))
            failed.append(name)
        else:
            print(f"node/{name} drained" + ("" if dry_run.value == "none" else f" ({dry_run.value} dry run)"))
    if failed:
        print(f"not drained: {', '.join(failed)}; they stay cordoned if they were", file=sys.stderr)
    return 1 if failed else 0


def _drain_options(options: argparse.Namespace) -> DrainOptions:
    from reconcile.nodes import DrainOptions

    return DrainOptions(
        ignore_daemonsets=options.ignore_daemonsets,
        delete_emptydir_data=options.delete_emptydir_data,
        force=options.force,
        grace_period_seconds=None if options.grace_period < 0 else options.grace_period,
        timeout_seconds=options.timeout,
        disable_eviction=options.disable_eviction,
        pod_selector=options.pod_selector,
        skip_wait_for_delete_timeout_seconds=options.skip_wait_for_delete_timeout,
        dry_run=_dry_run(options),
    )


def _print_progress(step: Progress) -> None:
    from reconcile.nodes.drain import Blocked, Evicting, Gone, Warned

    match step:
        case Warned(pod, text):
            print(f"warning: pod {pod}: {text}", file=sys.stderr)
        case Evicting(pod, is_dry_run):
            print(f"{'would evict' if is_dry_run else 'evicting'} pod {pod}")
        case Blocked(pod, reason, retry_seconds):
            print(f"pod {pod} may not go yet: {reason}; again in {retry_seconds:g} s", file=sys.stderr)
        case Gone(pod):
            print(f"pod {pod} is gone")
    sys.stdout.flush()
