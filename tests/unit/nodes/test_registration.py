"""When a node counts as ready, and following it there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from reconcile.client.api import Client
from reconcile.client.memory_transport import MemoryTransport, StreamedResponse
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import ForbiddenError, TransportError
from reconcile.model.object import from_plain
from reconcile.nodes.machine.registration import Registration, delete_node, why_not_ready

PORT = 20001


def node(*, port: int = PORT, ready: str = "True", taints: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "uid": "1", "resourceVersion": "5"},
        "spec": {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]},
        "status": {
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "no network plugin"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def test_a_ready_node_that_takes_pods_lacks_nothing():
    """Other taints are the user's own business."""
    assert why_not_ready(from_plain(node(taints=("dedicated",))), PORT) == ""


def test_what_an_earlier_life_reported_does_not_count():
    """A node that comes back is Ready on paper until its new kubelet has spoken."""
    assert "not reported" in why_not_ready(from_plain(node(port=PORT + 1)), PORT)


def test_a_node_without_status_has_not_reported():
    """As between its creation and its first status."""
    bare = {key: value for key, value in node().items() if key not in {"status", "spec"}}
    assert "not reported" in why_not_ready(from_plain(bare), PORT)


def test_a_node_that_is_not_ready_says_why():
    """The kubelet's own words are passed on."""
    assert why_not_ready(from_plain(node(ready="False")), PORT) == (
        "Ready is False: KubeletNotReady: no network plugin"
    )


def test_a_ready_node_with_the_taint_names_who_removes_it():
    """Without that controller the scheduler would never use the node, and nothing would say so."""
    reason = why_not_ready(from_plain(node(taints=("node.kubernetes.io/not-ready",))), PORT)
    assert "node-lifecycle-controller" in reason
    assert "TaintNodesByCondition" in reason


@pytest.mark.asyncio
async def test_a_node_is_followed_until_it_is_ready_across_lost_connections():
    """A refused connection, a stream that ends, a deletion: none of them ends the waiting."""
    asked: list[HTTPRequest] = []

    async def answer(request: HTTPRequest) -> StreamedResponse:
        asked.append(request)
        if len(asked) == 1:
            raise TransportError("connection refused")
        return StreamedResponse(chunks(len(asked)))

    async def chunks(attempt: int) -> AsyncIterator[bytes]:
        yield event("ADDED", node(ready="False"))
        if attempt == 2:
            yield event("DELETED", node())
            return
        yield event("BOOKMARK", {"metadata": {"resourceVersion": "6"}})
        yield event("MODIFIED", node())
        raise AssertionError("read on after the node was ready")

    registration = Registration("n1", PORT)
    await registration.until_ready(Client(MemoryTransport(answer)))
    assert registration.why_not == ""
    assert len(asked) == 3
    assert ("fieldSelector", "metadata.name=n1") in asked[0].query


@pytest.mark.asyncio
async def test_a_refused_watch_ends_the_waiting():
    """Whoever may not look would wait for ever."""
    refusal = b'{"kind":"Status","code":403,"reason":"Forbidden","message":"no"}'

    async def answer(request: HTTPRequest) -> HTTPResponse:
        return HTTPResponse(403, {"content-type": "application/json"}, refusal)

    with pytest.raises(ForbiddenError):
        await Registration("n1", PORT).until_ready(Client(MemoryTransport(answer)))


@pytest.mark.asyncio
async def test_an_expired_watch_is_begun_anew():
    """An ERROR event is the server's last word on one stream, and says nothing of the node."""
    expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    streams = [event("ERROR", expired), event("ADDED", node())]

    async def answer(request: HTTPRequest) -> HTTPResponse:
        return HTTPResponse(200, {"content-type": "application/json"}, streams.pop(0))

    await Registration("n1", PORT).until_ready(Client(MemoryTransport(answer)))
    assert streams == []


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [200, 404])
async def test_deleting_a_node_that_is_gone_is_fine(code: int):
    """What is wanted is that it is not there."""
    asked: list[str] = []

    async def answer(request: HTTPRequest) -> HTTPResponse:
        asked.append(str(request))
        body = json.dumps({"kind": "Status", "code": code, "reason": "NotFound" if code == 404 else ""}).encode()
        return HTTPResponse(code, {"content-type": "application/json"}, body)

    await delete_node(Client(MemoryTransport(answer)), "n1")
    assert asked == ["DELETE /api/v1/nodes/n1"]
