"""The way in without a network: the client's transport over an API server in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import anyio.lowlevel

from reconcile.client.memory_transport import JSON_HEADERS, MemoryTransport, StreamedResponse
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.cluster.api_server.request import ADMIN, Request, Response, User
from reconcile.cluster.api_server.server import APIServer
from reconcile.cluster.api_server.streaming import lines_of
from reconcile.runtime.clock import Clock

USER_AGENT = "reconcile"
"""Who owns what is written, where the request names nobody."""


def memory_transport(
    server: APIServer, clock: Clock, *, user: User = ADMIN, user_agent: str = USER_AGENT
) -> MemoryTransport:
    """A transport for ``Client``. Every request lets others run once, as one over a network would."""

    async def handle(request: HTTPRequest) -> HTTPResponse | StreamedResponse:
        await anyio.lowlevel.checkpoint()
        answer = server.handle(
            Request(
                request.method,
                request.path,
                dict(request.query),
                request.body,
                request.content_type,
                request.accept,
                user_agent,
                user,
                [],
            ),
            clock.wall(),
        )
        if isinstance(answer, Response):
            return HTTPResponse(answer.status, _headers(answer), answer.body)
        return StreamedResponse(_chunks(lines_of(answer, clock)))

    return MemoryTransport(handle)


async def _chunks(lines: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    async for some in lines:
        yield b"".join(some)


def _headers(answer: Response) -> Mapping[str, str]:
    if answer.content_type == "application/json" and not answer.headers:
        return JSON_HEADERS
    headers = {"content-type": answer.content_type}
    for name, value in answer.headers:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
