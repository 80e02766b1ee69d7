"""Node operations: what an operator does to nodes, as a library. ``drain`` has its own file.

Cordon and uncordon change ``spec.unschedulable`` alone, and only where it has not that value already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.errors import UnknownOutcomeError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.patch import StrategicMergePatch
from reconcile.model.resource import Kind
from reconcile.model.write import Applied, Refused, Unknown
from reconcile.nodes.drain import POD
from reconcile.nodes.filters import DryRun
from reconcile.nodes.listing import list_all

NODE: Final = Kind("", "v1", "Node")
EVENT: Final = Kind("", "v1", "Event")

ANSWERS_MAX: Final = 3
"""How often a patch whose answer was lost is sent: doing it twice does no harm."""


class _NodeSpec(msgspec.Struct, frozen=True, gc=False):
    unschedulable: bool = False


class _NodeView(msgspec.Struct, frozen=True, gc=False):
    spec: _NodeSpec = _NodeSpec()


@attrs.frozen
class NodeDescription:
    """A node and what is on it.

    Attributes:
        node: the Node.
        pods: its Pods, ended ones included, by namespace and name.
        events: the Events about it, oldest first.
    """

    node: Object
    pods: Sequence[Object]
    events: Sequence[Object]


def is_cordoned(node: Object) -> bool:
    """Whether the scheduler puts no new Pods on it because somebody said so."""
    return node.decode(_NodeView).spec.unschedulable


async def cordon(client: Client, name: str, *, dry_run: DryRun = DryRun.NONE) -> bool:
    """Let no new Pods onto the node. Returns whether that changed (or would change) anything.

    Raises:
        NotFoundError: no such node; other ApiErrors.
        UnknownOutcomeError: no answer, several times.
    """
    return await _set_unschedulable(client, name, wanted=True, dry_run=dry_run)


async def uncordon(client: Client, name: str, *, dry_run: DryRun = DryRun.NONE) -> bool:
    """Let new Pods onto the node again. Returns and raises as ``cordon``."""
    return await _set_unschedulable(client, name, wanted=False, dry_run=dry_run)


async def _set_unschedulable(client: Client, name: str, *, wanted: bool, dry_run: DryRun) -> bool:
    nodes = await client.resource(NODE)
    node = await client.get(nodes, ObjectKey("", name))
    if is_cordoned(node) is wanted:
        return False
    if dry_run is DryRun.CLIENT:
        return True
    # None, not False, as the field is absent on a node that was never cordoned.
    patch = StrategicMergePatch({"spec": {"unschedulable": True if wanted else None}})
    write = writes.patch(nodes, node.key, patch, uid=node.uid, dry_run=dry_run is DryRun.SERVER)
    reason = ""
    for _ in range(ANSWERS_MAX):
        outcome = await client.send(write)
        match outcome:
            case Applied():
                return True
            case Refused(error=error):
                raise error
            case Unknown(reason=reason):
                pass
    raise UnknownOutcomeError(f"{write}: no answer {ANSWERS_MAX} times: {reason}; look at the node, and try again")


async def list_nodes(client: Client, *, label_selector: str = "") -> Sequence[Object]:
    """The nodes that match, by name. Raises ApiError, TransportError, DecodeError."""
    return await list_all(client, await client.resource(NODE), label_selector=label_selector)


async def get_node(client: Client, name: str) -> Object:
    """One node. Raises NotFoundError."""
    return await client.get(await client.resource(NODE), ObjectKey("", name))


async def describe_node(client: Client, name: str) -> NodeDescription:
    """A node, its Pods and the Events about it. Raises NotFoundError, other ApiErrors, TransportError, DecodeError."""
    node = await get_node(client, name)
    pods = await list_all(client, await client.resource(POD), field_selector=f"spec.nodeName={name}")
    about = f"involvedObject.kind=Node,involvedObject.name={name}"
    events = await list_all(client, await client.resource(EVENT), field_selector=about)
    by_time = sorted(events, key=lambda event: (event.metadata.creation_timestamp or "", event.key))
    return NodeDescription(node, pods, by_time)
