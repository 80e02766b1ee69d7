"""The transport without a network: a handler in this process answers. For tests and for the embedded cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import attrs

from reconcile.client.transport import ByteStream, HTTPRequest, HTTPResponse
from reconcile.errors import TransportError

JSON_HEADERS: Mapping[str, str] = {"content-type": "application/json"}


@attrs.frozen
class StreamedResponse:
    """An answer whose body comes in chunks. An exception raised by ``body`` reaches the reader."""

    body: AsyncIterator[bytes]
    status: int = 200
    headers: Mapping[str, str] = JSON_HEADERS


Handler: TypeAlias = Callable[[HTTPRequest], Awaitable[HTTPResponse | StreamedResponse]]
"""Answers one request, or raises TransportError for a network that fails."""


class MemoryTransport:
    """Hands each request to ``handler``, with the deadlines that a network would have."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def request(self, request: HTTPRequest, /) -> HTTPResponse:
        try:
            async with asyncio.timeout(request.timeout_seconds):
                if request.gate is not None:
                    request.gate()
                answer = await self._handler(request)
                if isinstance(answer, HTTPResponse):
                    return answer
                body = b"".join([chunk async for chunk in answer.body])
                return HTTPResponse(answer.status, answer.headers, body)
        except TimeoutError:
            raise TransportError(f"{request}: no answer in time") from None

    @asynccontextmanager
    async def stream(self, request: HTTPRequest, /) -> AsyncIterator[ByteStream]:
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._handler(request)
        except TimeoutError:
            raise TransportError(f"{request}: no answer in time") from None
        if isinstance(answer, HTTPResponse):
            answer = StreamedResponse(_once(answer.body), answer.status, answer.headers)
        try:
            yield _MemoryStream(answer, str(request))
        finally:
            if isinstance(answer.body, AsyncGenerator):
                await answer.body.aclose()

    async def aclose(self) -> None:
        """Nothing to close."""


class _MemoryStream:
    def __init__(self, answer: StreamedResponse, what: str) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = answer.body
        self._what = what
        self._idle_seconds_max: float | None = None

    async def chunks(self, *, idle_seconds_max: float | None = None) -> AsyncGenerator[bytes, None]:
        if idle_seconds_max is not None:
            self._idle_seconds_max = idle_seconds_max
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds_max):
                    chunk = await anext(self._body)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TransportError(f"{self._what}: silent for {self._idle_seconds_max:g} s, given up") from None
            yield chunk

    def set_idle_deadline(self, seconds: float) -> None:
        self._idle_seconds_max = seconds


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
