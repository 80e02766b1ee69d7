"""``reconcile rbac``: prints the RBAC manifest that grants exactly what apps ask of the API server."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconcile.cli.main import Subparsers, complain
from reconcile.errors import UsageError
from reconcile.model.built_in import built_in
from reconcile.model.resource import Kind, Resource
from reconcile.model.right import Right, merged

if TYPE_CHECKING:
    from reconcile.app import App

LEASE = Resource(Kind("coordination.k8s.io", "v1", "Lease"), "leases")

RBAC_VERSION = "rbac.authorization.k8s.io/v1"

_ACCOUNT = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?):([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)")

_DESCRIPTION = """Prints a manifest with a ServiceAccount and the roles that allow it what the apps need, run with the
same flags, and nothing else: to list and watch what they declare, their own needs, Events, and with --leader-elect the
Lease."""


def add_parser(subparsers: Subparsers) -> None:
    """Register the command. The apps' own flags are parsed in ``run``, once the apps are known."""
    parser = subparsers.add_parser("rbac", add_help=False, allow_abbrev=False, help="print the rights that apps need")
    _add_arguments(parser)
    parser.set_defaults(func=run, parses_arguments=True)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "apps", nargs="*", metavar="NAME|MODULE:APP", help="an installed app (`reconcile run --list`), or module:app"
    )
    parser.add_argument("-h", "--help", action="store_true", help="this help, and the flags of the apps named before")
    parser.add_argument(
        "--service-account", metavar="NAMESPACE:NAME", help="who gets the rights (default: default:<the apps' names>)"
    )
    parser.add_argument(
        "--namespace",
        metavar="NAMES",
        action="append",
        default=[],
        help="as for run: roles in these namespaces only, instead of the whole cluster",
    )
    parser.add_argument("--leader-elect", action="store_true", help="as for run: with the rights for the Lease")
    parser.add_argument(
        "--leader-elect-namespace", metavar="NAMESPACE", help="of the Lease (default: the service account's)"
    )
    parser.add_argument("--leader-elect-name", metavar="NAME", help="of the Lease (default: the apps' names)")
    cluster = parser.add_argument_group(
        "cluster", "asked only for the plurals of kinds that are not Kubernetes' own, such as custom resources"
    )
    cluster.add_argument("--kubeconfig", metavar="PATH", help="default: KUBECONFIG, ~/.kube/config, in-cluster")
    cluster.add_argument("--context", metavar="NAME", help="a context of the kubeconfig (default: its current one)")


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: no such app, or a flag that cannot be.
        ReconcileError: the cluster was asked for a plural, and could not say.
    """
    import yaml

    from reconcile.cli.run import joined, prepare, split_namespaces

    prepared = prepare("rbac", options, _add_arguments, _DESCRIPTION)
    if prepared is None:
        return 0
    apps, given = prepared
    if not given.leader_elect and (given.leader_elect_namespace or given.leader_elect_name):
        raise UsageError("--leader-elect-namespace and --leader-elect-name need --leader-elect")
    app = joined(apps, given)
    for one in app.controllers:
        if not one.needs:
            complain(
                f"controller {one.name!r} declares no needs, so that it may watch and report Events, and nothing else"
            )
    account = _account(given.service_account or f"default:{app.name}")
    lease = None
    if given.leader_elect:
        lease = (given.leader_elect_namespace or account[0], given.leader_elect_name or app.name)
    documents = manifest(
        app.rights, account, _resources(app, given), namespaces=split_namespaces(given.namespace), lease=lease
    )
    print(f"# What `{' '.join(['reconcile rbac', *options.arguments])}` prints: granted is what is used.")
    print(
        "---\n".join(yaml.safe_dump(one, sort_keys=False, default_flow_style=None, width=120) for one in documents),
        end="",
    )
    return 0


def _account(text: str) -> tuple[str, str]:
    found = _ACCOUNT.fullmatch(text)
    if found is None:
        raise UsageError(f"--service-account {text!r}: want NAMESPACE:NAME, such as kube-system:job-controller")
    return found[1], found[3]


def manifest(
    rights: Iterable[Right],
    account: tuple[str, str],
    resources: Mapping[Kind, Resource],
    *,
    namespaces: Sequence[str] = (),
    lease: tuple[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The manifest's objects.

    Args:
        rights: what is granted.
        account: namespace and name of the service account that gets them.
        resources: where the rights' kinds are served.
        namespaces: where those that live in namespaces are granted; empty for everywhere.
        lease: namespace and name of the Lease that the process elects its leader by; None for none.
    """
    namespace, name = account
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    ]
    asked = merged(rights)
    local = [_rule(right, resources[right.kind]) for right in asked if namespaces and resources[right.kind].namespaced]
    everywhere = [rule for right in asked if (rule := _rule(right, resources[right.kind])) not in local]
    if everywhere:
        documents += _granted(everywhere, name, "", account)
    for where in namespaces:
        documents += _granted(local, name, where, account)
    if lease is not None:
        lease_namespace, lease_name = lease
        named = _rule(Right(LEASE.kind, ["get", "update"]), LEASE) | {"resourceNames": [lease_name]}
        # A create cannot be narrowed to a name: it is decided before there is one.
        rules = [named, _rule(Right(LEASE.kind, ["create"]), LEASE)]
        documents += _granted(rules, f"{name}-lease", lease_namespace, account)
    return documents


def _granted(rules: list[dict[str, Any]], name: str, namespace: str, account: tuple[str, str]) -> list[dict[str, Any]]:
    """A role with these rules, and who has it. In one namespace, or everywhere."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    kind = "Role" if namespace else "ClusterRole"
    subject = {"kind": "ServiceAccount", "namespace": account[0], "name": account[1]}
    return [
        {"apiVersion": RBAC_VERSION, "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": RBAC_VERSION,
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC_VERSION.partition("/")[0], "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


def _rule(right: Right, resource: Resource) -> dict[str, Any]:
    name = f"{resource.plural}/{right.subresource}" if right.subresource else resource.plural
    return {"apiGroups": [right.kind.group], "resources": [name], "verbs": list(right.verbs)}


def _resources(app: App, options: argparse.Namespace) -> dict[Kind, Resource]:
    """Where each kind is served: known, or asked for."""
    import anyio

    from reconcile.client.config import load_config
    from reconcile.client.connect import connect

    kinds = {right.kind for right in app.rights}
    found = {kind: resource for kind in kinds if (resource := built_in(kind)) is not None}

    async def ask() -> None:
        async with connect(load_config(options.kubeconfig, context=options.context)) as client:
            for kind in sorted(kinds - found.keys()):
                found[kind] = await client.resource(kind)

    if kinds != found.keys():
        anyio.run(ask)
    return found
