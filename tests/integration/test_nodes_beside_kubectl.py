"""``reconcile nodes`` beside kubectl: the same Pods go, the same are refused, with the same exit status.

Each case is played on two nodes with the same Pods, one for each program. The nodes are entries in the API server, and
their Pods end at once when asked to (grace 0), since no kubelet is part of this.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio
from pods import POD, Cluster

from reconcile import Client, Kind, ObjectKey, connect, load_config
from reconcile.nodes import DrainError, DrainOptions, DrainRefusedError, DryRun, cordon, drain, is_cordoned, uncordon
from reconcile.nodes.operations import NODE
from reconcile.testing.envtest import ControlPlane

DAEMON_SET = Kind.parse("apps/v1/DaemonSet")
BUDGET = Kind.parse("policy/v1/PodDisruptionBudget")

OWNED = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
EMPTY_DIR = {"volumes": [{"name": "scratch", "emptyDir": {}}]}
_numbers = itertools.count()


def daemon(name: str, version: str = "apps/v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": "DaemonSet", "name": name, "uid": "u", "controller": True}


PODS: dict[str, dict[str, Any]] = {
    "managed": {"metadata": {"ownerReferences": [OWNED]}},
    "bare": {},
    "local": {"metadata": {"ownerReferences": [OWNED]}, "spec": EMPTY_DIR},
    "bare-local": {"spec": EMPTY_DIR},
    "daemon": {"metadata": {"ownerReferences": [daemon("agent")]}},
    "daemon-local": {"metadata": {"ownerReferences": [daemon("agent")]}, "spec": EMPTY_DIR},
    "daemon-gone": {"metadata": {"ownerReferences": [daemon("missing")]}},
    "ended": {"phase": "Succeeded"},
    "ended-local": {"spec": EMPTY_DIR, "phase": "Failed"},
    "ended-daemon": {"metadata": {"ownerReferences": [daemon("agent")]}, "phase": "Failed"},
    "mirror": {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}},
    "labelled": {"metadata": {"labels": {"team": "a"}, "ownerReferences": [OWNED]}},
}


class Nodes(Cluster):
    """A cluster in which nodes and their Pods are made up."""

    async def node(self, pods: tuple[str, ...]) -> str:
        name = f"node-{self.namespace[-8:]}-{next(_numbers)}"
        await self.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "namespace": ""}})
        for pod in pods:
            await self.pod(pod, name)
        return name

    async def pod(self, what: str, node: str) -> None:
        said = PODS[what]
        name = f"{what}-{node}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, **said.get("metadata", {})},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "local/none"}],
                **said.get("spec", {}),
            },
        }
        await self.create(body)
        if "phase" in said:
            await self.patch(POD, name, {"status": {"phase": said["phase"]}}, "status")

    async def left_on(self, node: str) -> set[str]:
        pods = [pod for pod in await self.list(POD) if (pod.field("spec") or {}).get("nodeName") == node]
        return {pod.name.removesuffix(f"-{node}") for pod in pods}

    async def has_cordoned(self, node: str) -> bool:
        return is_cordoned(await self.client.get(await self.client.resource(NODE), ObjectKey("", node)))


@pytest_asyncio.fixture
async def nodes(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Nodes]:
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        cluster = Nodes(client, namespace)
        template = {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{"name": "main", "image": "local/none"}]},
        }
        spec = {"selector": {"matchLabels": {"app": "agent"}}, "template": template}
        await cluster.create({**_kind(DAEMON_SET), "metadata": {"name": "agent"}, "spec": spec})
        yield cluster
        for node in await _made(client, namespace):
            await cluster.client.send(_delete_node(await client.resource(NODE), node))


def _kind(kind: Kind) -> dict[str, str]:
    return {"apiVersion": kind.api_version, "kind": kind.kind}


async def _made(client: Client, namespace: str) -> list[str]:
    page = await client.list_page(await client.resource(NODE), limit=0)
    return [node.name for node in page.decode()[0] if node.name.startswith(f"node-{namespace[-8:]}-")]


def _delete_node(resource: Any, name: str) -> Any:
    from reconcile.client import writes

    return writes.delete(resource, ObjectKey("", name))


@attrs.frozen
class Ran:
    """What one program left behind."""

    status: int
    left: set[str]
    is_cordoned: bool
    output: str = attrs.field(eq=False)


async def run(*command: str, kubeconfig: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, f"--kubeconfig={kubeconfig}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def both(
    control_plane: ControlPlane, nodes: Nodes, pods: tuple[str, ...], verb: str, *flags: str
) -> tuple[Ran, Ran]:
    """The command by kubectl and by us, each on a node of its own with these Pods."""
    kubectl = str(await control_plane.binary("kubectl"))
    ran = []
    for program in ([kubectl], [sys.executable, "-m", "reconcile", "nodes"]):
        node = await nodes.node(pods)
        status, output = await run(*program, verb, node, *flags, kubeconfig=control_plane.admin_kubeconfig)
        ran.append(Ran(status, await nodes.left_on(node), await nodes.has_cordoned(node), output))
    return ran[0], ran[1]


EVERYTHING = tuple(PODS)
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], int, set[str]]] = {
    "managed goes": (("managed",), (), 0, set()),
    "bare refuses": (("managed", "bare"), (), 1, {"managed", "bare"}),
    "bare goes by force": (("managed", "bare"), ("--force",), 0, set()),
    "local refuses": (("managed", "local"), (), 1, {"managed", "local"}),
    "local goes if told": (("local",), ("--delete-emptydir-data",), 0, set()),
    "local and bare need both": (("bare-local",), ("--delete-emptydir-data",), 1, {"bare-local"}),
    "daemon refuses": (("managed", "daemon"), (), 1, {"managed", "daemon"}),
    "daemon stays if told": (("managed", "daemon"), ("--ignore-daemonsets",), 0, {"daemon"}),
    "daemon with data stays": (("daemon-local",), ("--ignore-daemonsets",), 0, {"daemon-local"}),
    "daemon whose set is gone": (("daemon-gone",), ("--ignore-daemonsets",), 1, {"daemon-gone"}),
    "the same by force": (("daemon-gone",), ("--ignore-daemonsets", "--force"), 0, set()),
    "ended ones go": (("ended", "ended-local", "ended-daemon"), (), 0, set()),
    "mirrors stay": (("managed", "mirror"), (), 0, {"mirror"}),
    "only selected": (("bare", "labelled"), ("--pod-selector=team=a",), 0, {"bare"}),
    "client dry run": (("managed",), ("--dry-run=client",), 0, {"managed"}),
    "server dry run": (("managed",), ("--dry-run=server",), 0, {"managed"}),
    "dry run that refuses": (("bare",), ("--dry-run=client",), 1, {"bare"}),
    "deleted": (("managed",), ("--disable-eviction",), 0, set()),
    "with a grace": (("managed",), ("--grace-period=0",), 0, set()),
    "everything": (
        EVERYTHING,
        ("--force", "--ignore-daemonsets", "--delete-emptydir-data"),
        0,
        {"daemon", "daemon-local", "mirror"},
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_drain_does_as_kubectl(control_plane: ControlPlane, nodes: Nodes, case: str) -> None:
    """The same Pods are left, the same exit status, and the node is cordoned alike."""
    pods, flags, status, left = CASES[case]
    theirs, ours = await both(control_plane, nodes, pods, "drain", *flags)
    assert ours == theirs, ours.output + theirs.output
    assert (ours.status, ours.left) == (status, left), ours.output
    assert ours.is_cordoned is not any("dry-run" in flag for flag in flags)


@pytest.mark.asyncio
async def test_a_spent_budget_is_waited_for_until_the_timeout(control_plane: ControlPlane, nodes: Nodes) -> None:
    """Both give up with status 1; the Pods of the budget are left, others go; ours says which, and why."""
    budget = {"maxUnavailable": 0, "selector": {"matchLabels": {"team": "a"}}}
    made = await nodes.create({**_kind(BUDGET), "metadata": {"name": "none"}, "spec": budget})
    status = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    status["observedGeneration"] = made.metadata.generation or 1
    await nodes.patch(BUDGET, "none", {"status": status}, "status")
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    ran = []
    kubectl = str(await control_plane.binary("kubectl"))
    for program in ([kubectl], [sys.executable, "-m", "reconcile", "nodes"]):
        node = await nodes.node(("managed", "labelled"))
        await nodes.patch(POD, f"labelled-{node}", ready, "status")
        code, output = await run(*program, "drain", node, "--timeout=3s", kubeconfig=control_plane.admin_kubeconfig)
        ran.append(Ran(code, await nodes.left_on(node), await nodes.has_cordoned(node), output))
    assert ran[0] == ran[1], ran[0].output + ran[1].output
    assert ran[1].left == {"labelled"}
    assert "labelled-" in ran[1].output
    assert "disruption budget" in ran[1].output


@pytest.mark.asyncio
@pytest.mark.parametrize("flags", [(), ("--dry-run=client",), ("--dry-run=server",)])
async def test_cordon_and_uncordon_do_as_kubectl(
    control_plane: ControlPlane, nodes: Nodes, flags: tuple[str, ...]
) -> None:
    """Each leaves the node alike, and says so with status 0, the second time too."""
    for verb in ("cordon", "uncordon"):
        theirs, ours = await both(control_plane, nodes, (), verb, *flags)
        assert ours == theirs, ours.output + theirs.output
        assert ours.is_cordoned is (verb == "cordon" and not flags)
    node = await nodes.node(())
    for verb, word in (("cordon", "cordoned"), ("cordon", "already cordoned"), ("uncordon", "uncordoned")):
        command = (sys.executable, "-m", "reconcile", "nodes", verb, node)
        status, output = await run(*command, kubeconfig=control_plane.admin_kubeconfig)
        assert (status, output) == (0, f"node/{node} {word}\n")


@pytest.mark.asyncio
async def test_the_list_names_what_kubectl_names(control_plane: ControlPlane, nodes: Nodes) -> None:
    """``-o name`` and the objects of ``-o json``, by label."""
    node = await nodes.node(("managed",))
    await nodes.client.send(_label(await nodes.client.resource(NODE), node))
    kubectl = str(await control_plane.binary("kubectl"))
    config = control_plane.admin_kubeconfig
    program = (sys.executable, "-m", "reconcile", "nodes", "list", "-l", "pool=this")
    assert await run(*program, "-o", "name", kubeconfig=config) == await run(
        kubectl, "get", "nodes", "-l", "pool=this", "-o", "name", kubeconfig=config
    )
    ours = json.loads((await run(*program, "-o", "json", kubeconfig=config))[1])
    theirs = json.loads((await run(kubectl, "get", "nodes", "-l", "pool=this", "-o", "json", kubeconfig=config))[1])
    assert ours["items"] == theirs["items"]
    status, table = await run(*program, kubeconfig=config)
    assert status == 0
    assert table.splitlines()[1].split()[:2] == [node, "Unknown"]
    described = (sys.executable, "-m", "reconcile", "nodes", "describe", node)
    status, text = await run(*described, kubeconfig=config)
    assert status == 0
    assert f"{nodes.namespace}/managed-{node}" in text
    assert "pool=this" in text


def _label(resource: Any, name: str) -> Any:
    from reconcile import MergePatch
    from reconcile.client import writes

    return writes.patch(resource, ObjectKey("", name), MergePatch({"metadata": {"labels": {"pool": "this"}}}))


@pytest.mark.asyncio
async def test_a_node_that_is_not_there(control_plane: ControlPlane, nodes: Nodes) -> None:
    """Both fail; the node beside it is drained by neither less."""
    kubectl = str(await control_plane.binary("kubectl"))
    config = control_plane.admin_kubeconfig
    for verb in ("drain", "cordon", "uncordon"):
        theirs, _ = await run(kubectl, verb, "no-such-node", kubeconfig=config)
        ours, output = await run(sys.executable, "-m", "reconcile", "nodes", verb, "no-such-node", kubeconfig=config)
        assert ours == theirs == 1
        assert '"no-such-node" not found' in output


@pytest.mark.asyncio
async def test_the_library_names_every_pod_that_forbids_it(nodes: Nodes) -> None:
    """One error with a line each and the way out; nothing has been evicted, and the library cordons nothing."""
    node = await nodes.node(("managed", "bare", "local", "daemon"))
    with pytest.raises(DrainRefusedError) as raised:
        await drain(nodes.client, node)
    assert len(raised.value.problems) == 3
    for name, flag in (("bare", "--force"), ("local", "--delete-emptydir-data"), ("daemon", "--ignore-daemonsets")):
        assert any(f"{name}-{node}" in line and flag in line for line in raised.value.problems)
    assert await nodes.left_on(node) == {"managed", "bare", "local", "daemon"}
    assert not await nodes.has_cordoned(node)


@pytest.mark.asyncio
async def test_a_pod_that_does_not_go_is_named_at_the_timeout(nodes: Nodes) -> None:
    """A finalizer keeps it: the drain ends at its bound and says that the Pod is terminating."""
    node = await nodes.node(("managed",))
    name = f"managed-{node}"
    await nodes.patch(POD, name, {"metadata": {"finalizers": ["example.com/held"]}})
    with pytest.raises(DrainError, match=rf"{name} is still there after 1\.5 s: it is terminating"):
        await drain(nodes.client, node, DrainOptions(timeout_seconds=1.5))
    await nodes.patch(POD, name, {"metadata": {"finalizers": None}})


@pytest.mark.asyncio
async def test_cordoning_in_a_dry_run_changes_nothing(nodes: Nodes) -> None:
    """It says that it would, and leaves the node as it is."""
    node = await nodes.node(())
    for dry_run in (DryRun.CLIENT, DryRun.SERVER):
        assert await cordon(nodes.client, node, dry_run=dry_run)
        assert not await nodes.has_cordoned(node)
    assert await cordon(nodes.client, node)
    assert not await cordon(nodes.client, node)
    assert await uncordon(nodes.client, node)
    assert not await nodes.has_cordoned(node)
