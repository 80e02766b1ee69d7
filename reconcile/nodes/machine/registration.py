"""A node as the API server sees it: when it is ready for Pods, and how it is removed."""

from __future__ import annotations

from typing import Any

import attrs

from reconcile.client import paths
from reconcile.client.api import Client
from reconcile.client.transport import HTTPRequest
from reconcile.errors import NotFoundError, TransportError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.resource import Kind, Resource
from reconcile.model.watch_event import Deleted, ServerError, Undecodable, Upserted, WatchEvent
from reconcile.runtime.clock import SYSTEM_CLOCK

NODES = Resource(Kind("", "v1", "Node"), "nodes", namespaced=False)

NOT_READY_TAINT = "node.kubernetes.io/not-ready"

WATCH_SECONDS = 60.0
RETRY_SECONDS = 0.5
"""After a watch that ended or could not be begun: the API server may still be starting."""


def why_not_ready(node: Object, port: int) -> str:
    """What keeps Pods from a node. Empty when nothing does.

    Args:
        node: the Node.
        port: its kubelet's. Each life of a node has another, so what an earlier one reported does not count. (The
            heartbeat would not do: it has whole seconds, and a node is started anew in less.)
    """
    status: dict[str, Any] = node.field("status") or {}
    spec: dict[str, Any] = node.field("spec") or {}
    if ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") != port:
        return "its kubelet has not reported yet"
    ready: dict[str, Any] = next(
        (condition for condition in status.get("conditions") or () if condition.get("type") == "Ready"), {}
    )
    if ready.get("status") != "True":
        return f"Ready is {ready.get('status')}: {ready.get('reason')}: {ready.get('message')}"
    if any(taint.get("key") == NOT_READY_TAINT for taint in spec.get("taints") or ()):
        return (
            f"it is Ready, but still tainted {NOT_READY_TAINT}, which kube-controller-manager's"
            " node-lifecycle-controller removes: run that, or the API server with"
            " --disable-admission-plugins=TaintNodesByCondition"
        )
    return ""


@attrs.define
class Registration:
    """Follows one Node until Pods can be scheduled to it.

    Attributes:
        name: the Node's name.
        port: its kubelet's.
        why_not: what keeps Pods from it, as far as is known. Empty once it is ready.
    """

    name: str
    port: int
    why_not: str = "it has not registered"

    async def until_ready(self, client: Client) -> None:
        """Return when Pods can be scheduled to the node. Watches, and outlives a lost connection.

        Raises:
            ApiError: the API server refuses the watch.
        """
        while self.why_not:
            try:
                await self._watch(client)
            except TransportError as error:
                self.why_not = f"the API server cannot be reached: {error}"
            if self.why_not:
                await SYSTEM_CLOCK.sleep(RETRY_SECONDS)

    async def _watch(self, client: Client) -> None:
        # Version 0: from the server's memory, and what is there comes first.
        watch = client.watch(
            NODES, field_selector=f"metadata.name={self.name}", resource_version="0", timeout_seconds=WATCH_SECONDS
        )
        async with watch as events:
            async for batch in events:
                for event in batch:
                    self._note(event)
                if not self.why_not:
                    return

    def _note(self, event: WatchEvent) -> None:
        match event:
            case Upserted(node):
                self.why_not = why_not_ready(node, self.port)
            case Deleted():
                self.why_not = "its Node has been deleted"
            case ServerError(status):
                # 410, or a server that goes away: the stream ends with it, and the next begins at the present.
                self.why_not = f"the API server ended the watch: {status.message}"
            case Undecodable(reason):
                self.why_not = f"the API server's answer cannot be read: {reason}"
            case _:  # a bookmark says nothing of the node
                return


async def delete_node(client: Client, name: str) -> None:
    """Delete a Node. One that is not there is fine. Raises ApiError, TransportError."""
    try:
        await client.request(HTTPRequest("DELETE", paths.object_path(NODES, ObjectKey("", name))))
    except NotFoundError:
        return
