"""A proxy in front of the real API server that can hold watches back, lose answers and go silent.

It speaks plain HTTP on loopback towards the client and TLS towards the server, as the administrator or as another
user of the administrators' group, so that the audit log tells whose requests came through it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from reconcile.client.config import ClusterConfig
from reconcile.testing.envtest import ControlPlane

Matcher = Callable[[web.Request], bool]


class FaultProxy:
    """``async with FaultProxy(control_plane) as proxy``: give ``proxy.config`` to ``connect``."""

    def __init__(self, control_plane: ControlPlane, *, user: str = "") -> None:
        self._server = control_plane.url
        self._headers = {"Authorization": f"Bearer {control_plane.admin_token}"}
        if user:
            self._headers |= {"Impersonate-User": user, "Impersonate-Group": "system:masters"}
        self._ca_file = control_plane.ca_file
        self.watches_flow = asyncio.Event()
        """Cleared: watch events (of matching requests) are held back until it is set again."""
        self.watches_flow.set()
        self.held_watch: Matcher = lambda request: True
        self.lose_answer: Matcher = lambda request: False
        """True for a request: the server executes it, and the client's connection is cut instead of answered."""
        self.refuse: Matcher = lambda request: False
        """True for a request: the connection is cut, and the server never sees it."""
        self.requests: list[tuple[str, str]] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(self._ca_file)), limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.config = ClusterConfig(server=f"http://{host}:{port}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.watches_flow.set()
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(0)  # what was just dropped is closed by the loop's next turn

    def count(self, method: str, path_part: str) -> int:
        """How many requests of that kind came in."""
        return sum(1 for seen, path in self.requests if seen == method and path_part in path)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if self.refuse(request):
            self._cut(request)
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name in ("Content-Type", "Accept")}
        async with self._session.request(
            request.method, self._server + request.raw_path, data=body or None, headers=headers
        ) as answer:
            if request.query.get("watch") == "true":
                return await self._relay_watch(request, answer)
            payload = await answer.read()
            if self.lose_answer(request):
                self._cut(request)
            kept = {name: value for name, value in answer.headers.items() if name in ("Content-Type", "Retry-After")}
            return web.Response(status=answer.status, body=payload, headers=kept)

    async def _relay_watch(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(
            status=answer.status, headers={"Content-Type": answer.headers.get("Content-Type", "")}
        )
        await response.prepare(request)
        try:
            async for chunk in answer.content.iter_any():
                if self.held_watch(request):
                    await self.watches_flow.wait()
                await response.write(chunk)
        finally:
            drop(answer)
        return response

    @staticmethod
    def _cut(request: web.BaseRequest) -> None:
        if request.transport is not None:
            request.transport.abort()
        raise asyncio.CancelledError


def drop(answer: aiohttp.ClientResponse) -> None:
    """End a watch at once. A polite end of TLS waits for the server, and the test's loop may be over before that."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()
