"""Who reaches the embedded API server, and what it says to those who may not."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path

import anyio
import pytest
from embedded import TOKEN, api_server, ask

from reconcile.cluster.api_server.http import HTTPFront, admin_only
from reconcile.cluster.api_server.request import ADMIN, ANONYMOUS, User
from reconcile.cluster.api_server.server import BODY_BYTES_MAX, APIServer
from reconcile.errors import ConfigurationError
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.http_server import Address
from reconcile.testing.waiting import eventually

ANYWHERE = "0.0.0.0"  # noqa: S104  what is refused here
MAPS = "/api/v1/namespaces/default/configmaps"


async def requested(front: HTTPFront, path: str, **headers: str) -> tuple[int, str]:
    def send() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", int(front.url.rpartition(":")[2]), timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    return await anyio.to_thread.run_sync(send)


@pytest.mark.asyncio
async def test_the_token_and_the_host_are_checked() -> None:
    """Only the token's holder is answered, under a name of this machine."""
    front = HTTPFront(api_server(), SYSTEM_CLOCK, Address("127.0.0.1", 0), admin_only(TOKEN))
    await front.start()
    try:
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert (await requested(front, MAPS, **right))[0] == 200
        assert (await requested(front, MAPS, Authorization="Bearer wrong"))[0] == 401
        assert (await requested(front, MAPS))[0] == 403
        assert await requested(front, "/readyz") == (200, "ok")
        status, said = await requested(front, MAPS, **right, Host="attacker.example")
        assert (status, "Host header" in json.loads(said)["message"]) == (403, True)
    finally:
        await front.stop()


@pytest.mark.asyncio
async def test_a_watch_whose_client_is_gone_is_closed() -> None:
    """It is not kept until the next event, which may never come."""
    server = api_server()
    front = HTTPFront(server, SYSTEM_CLOCK, Address("127.0.0.1", 0), admin_only(TOKEN))
    await front.start()
    try:
        sleeping = server.storage.tables["namespaces"]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(front.url.rpartition(":")[2]))
        head = f"GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"kube-system")
        await eventually(lambda: sleeping.sleeping, why="the watch waits for changes")
        writer.close()
        await eventually(lambda: not sleeping.sleeping, why="the watch is closed")
    finally:
        await front.stop()


def test_another_address_is_refused_unless_asked_for() -> None:
    """The text names the flag that allows it."""
    with pytest.raises(ConfigurationError, match="--expose"):
        HTTPFront(api_server(), SYSTEM_CLOCK, Address(ANYWHERE, 0), {})
    HTTPFront(api_server(), SYSTEM_CLOCK, Address(ANYWHERE, 0), {}, expose=True)


def test_the_authorizer_is_asked() -> None:
    """A refusal is the real server's 403; access reviews ask the same authorizer."""

    def only_reads(user: User, verb: str, target: object) -> str | None:
        return None if verb in ("get", "list", "watch") else "read only"

    server = APIServer(random=SYSTEM_CLOCK.random, now=SYSTEM_CLOCK.wall(), authorize=only_reads)
    reader = User("reader", ("system:authenticated",))
    assert ask(server, "GET", MAPS, user=reader).status == 200
    refused = ask(server, "POST", MAPS, {"metadata": {"name": "a"}}, user=reader)
    assert refused.status == 403
    assert refused.body["message"] == (
        'configmaps is forbidden: User "reader" cannot create resource "configmaps" in API group ""'
        ' in the namespace "default": read only'
    )
    attributes = {"verb": "delete", "resource": "configmaps", "namespace": "default"}
    review = {"spec": {"user": "reader", "resourceAttributes": attributes}}
    answer = ask(server, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.body["status"] == {"allowed": False, "reason": "read only"}


def test_nobody_knows_the_anonymous() -> None:
    """Without a token nothing is answered but health and the version."""
    server = api_server()
    assert ask(server, "GET", "/apis", user=ANONYMOUS).status == 403
    assert ask(server, "GET", "/version", user=ANONYMOUS).status == 200
    assert ask(server, "GET", "/apis", user=ADMIN).status == 200


def test_a_body_that_is_too_long_is_refused() -> None:
    """413, as kube-apiserver says it of more than 3 MiB."""
    answer = ask(api_server(), "POST", MAPS, b'{"data":"' + b"x" * BODY_BYTES_MAX + b'"}')
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


def test_protobuf_bodies_are_refused_and_answers_are_json() -> None:
    """A client that takes protobuf or JSON gets JSON; one that sends protobuf is told what is read."""
    server = api_server()
    kind = "application/vnd.kubernetes.protobuf"
    assert ask(server, "GET", MAPS, accept=f"{kind}, */*").status == 200
    assert ask(server, "GET", MAPS, accept=f"{kind},application/json").body["kind"] == "ConfigMapList"
    assert ask(server, "POST", MAPS, b"k8s\x00", content_type=kind).status == 415


def test_the_state_is_kept_in_a_dump(tmp_path: Path) -> None:
    """What is loaded is what was dumped, definitions of custom resources included; older versions are expired."""
    server = api_server()
    definition = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    assert ask(server, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).status == 201
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    assert ask(server, "POST", widgets, {"metadata": {"name": "w"}}).status == 201
    before = ask(server, "GET", widgets).body
    restored = api_server()
    restored.load(list(server.storage.dump()))
    assert ask(restored, "GET", widgets).body == before
    assert ask(restored, "GET", widgets, query={"resourceVersionMatch": "Exact", "resourceVersion": "2"}).status == 410
