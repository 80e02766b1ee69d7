"""A scripted HTTP server on loopback, and the transport under test before it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import attrs

from reconcile.client.clock import LOOP_CLOCK
from reconcile.client.config import ClusterConfig, Pem
from reconcile.client.kubernetes_transport import KubernetesTransport
from reconcile.client.transport import HTTPRequest
from reconcile.testing.envtest.certificate_authority import Certificate, CertificateAuthority

CANARY = "canary-5f1e77a0-secret-value"
GET = HTTPRequest("GET", "/api/v1/x", timeout_seconds=20)
Script = Callable[["Exchange"], Awaitable[None]]


@attrs.define
class Exchange:
    """One request as it came in, and the way to answer it."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def line(self) -> str:
        return self.head.splitlines()[0]

    def header(self, name: str) -> list[str]:
        fields = [line.partition(": ") for line in self.head.splitlines()[1:]]
        return [value for key, _, value in fields if key.lower() == name.lower()]

    async def answer(self, status: int = 200, body: bytes = b"{}", *, more: str = "") -> None:
        self.writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode()
            + body
        )
        await self.writer.drain()

    async def begin_stream(self) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()


@attrs.define
class Server:
    """A small HTTP server whose answers are scripted; what came in is remembered."""

    script: Script
    url: str = ""
    exchanges: list[Exchange] = attrs.field(factory=list)
    connections: int = 0
    closed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                exchange = Exchange(head, b"", writer)
                length = exchange.header("content-length")
                exchange.body = await reader.readexactly(int(length[0])) if length else b""
                self.exchanges.append(exchange)
                await self.script(exchange)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self.closed.set()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(script: Script, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Server]:
    server = Server(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", port, ssl=context)
    server.url = f"http{'s' if context else ''}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await server.end()


@contextlib.asynccontextmanager
async def transport(config: ClusterConfig) -> AsyncIterator[KubernetesTransport]:
    made = KubernetesTransport(config, LOOP_CLOCK)
    try:
        yield made
    finally:
        await made.aclose()


async def ok(exchange: Exchange) -> None:
    await exchange.answer()


def context_for(
    certificate: Certificate, directory: Path, *, clients: CertificateAuthority | None = None
) -> ssl.SSLContext:
    path = directory / f"server-{os.urandom(4).hex()}.pem"
    path.write_text(certificate.certificate_pem + certificate.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.certificate_pem)
    return context


def trusting(authority: CertificateAuthority) -> Pem:
    return Pem(data=authority.certificate_pem.encode())
