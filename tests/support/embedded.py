"""An embedded API server, reached in one of its two ways."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import attrs

from reconcile import Client, connect, load_config
from reconcile.cluster.api_server.http import HTTPFront, admin_only
from reconcile.cluster.api_server.memory import memory_transport
from reconcile.cluster.api_server.request import ADMIN, Request, Response, Stream
from reconcile.cluster.api_server.server import APIServer
from reconcile.model import json
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.http_server import Address
from reconcile.testing.envtest.credentials import Credentials, token_kubeconfig

TOKEN = "test-token"
Way = Literal["memory", "http"]


def api_server() -> APIServer:
    return APIServer(random=random.random, now=SYSTEM_CLOCK.wall())


@attrs.frozen
class Asked:
    """One answer, decoded."""

    status: int
    body: Any
    headers: dict[str, str]


def ask(
    server: APIServer,
    method: str,
    path: str,
    body: Any = None,
    *,
    content_type: str = "application/json",
    accept: str = "application/json",
    query: dict[str, str] | None = None,
    user: Any = ADMIN,
) -> Asked:
    """One plain request, without any transport."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.encode(body)
    request = Request(method, path, query or {}, raw, content_type, accept, "test/1", user, [])
    answer = server.handle(request, SYSTEM_CLOCK.wall())
    assert isinstance(answer, Response), path
    decoded = json.decode(answer.body) if answer.content_type.startswith("application/json") else answer.body.decode()
    return Asked(answer.status, decoded, {name.lower(): value for name, value in answer.headers})


def watch(server: APIServer, path: str, accept: str = "application/json", **query: str) -> Stream:
    """Begin a watch; its lines are taken by ``events``."""
    request = Request("GET", path, {"watch": "1", **query}, accept=accept, warnings=[])
    answer = server.handle(request, SYSTEM_CLOCK.wall())
    assert isinstance(answer, Stream), answer
    return answer


def events(stream: Stream) -> list[Any]:
    """What the watch has to tell now."""
    found: list[Any] = []
    while True:
        lines = stream.watch.take()
        found += [json.decode(line) for line in lines]
        if not lines or stream.watch.ended:
            return found


@asynccontextmanager
async def client_of(server: APIServer, way: Way, directory: Path) -> AsyncIterator[Client]:
    """A client of the server, through memory or over TLS on loopback."""
    if way == "memory":
        async with Client(memory_transport(server, SYSTEM_CLOCK)) as client:
            yield client
        return
    async with served(server, directory) as kubeconfig, connect(load_config(kubeconfig)) as client:
        yield client


@asynccontextmanager
async def served(server: APIServer, directory: Path) -> AsyncIterator[Path]:
    """The server on loopback; the kubeconfig that reaches it."""
    credentials = Credentials.create(directory, SYSTEM_CLOCK.wall())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(credentials.serving_certificate_file, credentials.serving_key_file)
    front = HTTPFront(server, SYSTEM_CLOCK, Address("127.0.0.1", 0), admin_only(TOKEN), tls=tls)
    await front.start()
    try:
        path = directory / "kubeconfig"
        path.write_text(token_kubeconfig(front.url, credentials.authority.certificate_pem, TOKEN))
        yield path
    finally:
        await front.stop()
