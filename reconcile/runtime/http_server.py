"""HTTP servers: one for probes and scrapes, one for an API. The only server file that knows aiohttp.

``HTTPServer`` gives small answers to anybody. Guarantees:
    * One request a connection, and each connection is cut ``CONNECTION_SECONDS`` after it opened, so a client that
      sends or reads slowly holds nothing for longer (slowloris).
    * At most ``CONNECTIONS_MAX`` at a time: one more cuts the oldest. A probe is over in milliseconds, so the oldest is
      never a healthy one.
    * Request line, headers and body are bounded; a body is not read at all. Only GET and HEAD are answered.
    * ``stop`` ends within ``STOP_SECONDS``, whatever the clients do.

``RequestServer`` reads bodies, keeps connections and streams; who may ask is its handler's business.

Raises:
    ConfigurationError: the address is malformed, taken or not this machine's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs

from reconcile.errors import ConfigurationError

if TYPE_CHECKING:
    from aiohttp import web

_log = logging.getLogger("reconcile.http")

CONNECTIONS_MAX = 64
"""Probes and scrapes come one or two at a time; more is somebody's mistake or attack."""

CONNECTION_SECONDS = 10.0
"""From accept to the last byte of the answer. kubelet's probes wait one second, Prometheus' scrapes ten."""

HEADER_BYTES_MAX = 8190
"""The request line, and each header. Nothing that asks here needs more."""

STOP_SECONDS = 1.0
"""How long ``stop`` lets answers under way finish. aiohttp's own default, 60 s, would outlast a pod's grace period."""

KEPT_SECONDS = 75.0
"""How long ``RequestServer`` keeps an idle connection: longer than clients do, so that they close it and not we."""

_PORT = re.compile(r"[0-9]{1,5}")
_HEADERS = {"Server": "reconcile", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@attrs.frozen
class Answer:
    """A response."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Handler = Callable[[Mapping[str, str]], Answer]
"""Query parameters → answer. A plain call on the event loop, so it must be quick."""


@attrs.frozen
class Address:
    """Where to listen. Port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, flag: str) -> Address:
        """``127.0.0.1:8080``, ``[::1]:0``, ``localhost:8080``, or ``:8080`` for all interfaces.

        Raises:
            ConfigurationError: not of that form; the text names ``flag``.
        """
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not _PORT.fullmatch(port) or int(port) > 65535 or (":" in host and bare == host):
            raise ConfigurationError(
                f"{flag} {text!r}: want HOST:PORT, such as 127.0.0.1:8080, [::1]:8080, :8080 for all interfaces, "
                f"or port 0 for any free one"
            )
        return cls(bare, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name: what it resolves to is not known here, so it is not trusted

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def loopback_only(address: Address, *, flag: str) -> Address:
    """``address``, if only this machine can reach it. Raises ConfigurationError that says the way out."""
    if address.is_loopback:
        return address
    raise ConfigurationError(
        f"{flag} {address}: metrics are served without TLS and authentication, so on a loopback address only; "
        f"use 127.0.0.1:{address.port}, and for a scrape from outside put a proxy that authenticates beside it "
        f"(a kube-rbac-proxy container in the same Pod reaches it there)"
    )


class HTTPServer:
    """Serves ``routes`` (path → handler) on ``address``.

    Args:
        name: in the log, beside the URL.
    """

    def __init__(self, name: str, address: Address, routes: Mapping[str, Handler]) -> None:
        self._name = name
        self._address = address
        self._routes = dict(routes)
        self._listener: asyncio.Server | None = None
        self._aiohttp: web.Server | None = None
        self._connections: dict[_Connection, None] = {}

    @property
    def url(self) -> str:
        """``http://host:port`` as bound. Empty while not started."""
        if self._listener is None or not self._listener.sockets:
            return ""
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"http://{Address(host, port)}"

    async def start(self) -> None:
        """Bind and answer from now on."""
        from aiohttp import web  # noqa: PLC0415  costs 0.2 s, and most runs serve nothing

        self._web = web
        self._aiohttp = web.Server(
            self._answer,
            access_log=None,
            logger=logging.getLogger("reconcile.http.protocol"),
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            lingering_time=0.0,
        )
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self), self._address.host or None, self._address.port
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot serve {self._name} on {self._address}: {error.strerror or error}; "
                f"choose another address, or port 0 for any free one"
            ) from error
        _log.info("serving %s on %s", self._name, self.url)

    async def stop(self) -> None:
        """Stop listening, let answers under way finish, cut the rest."""
        if self._listener is None or self._aiohttp is None:
            return
        self._listener.close()
        self._aiohttp.pre_shutdown()
        await self._aiohttp.shutdown(STOP_SECONDS)
        for connection in tuple(self._connections):
            connection.abort()
        self._listener = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = self._answer_to(request.method, request.path, request.query)
        if request.can_read_body:
            answer = Answer(413, b"no body is read here\n")
        response = self._web.Response(status=answer.status, body=answer.body, headers=_HEADERS)
        response.headers["Content-Type"] = answer.content_type
        response.force_close()
        return response

    def _answer_to(self, method: str, path: str, query: Mapping[str, str]) -> Answer:
        if method not in {"GET", "HEAD"}:
            return Answer(405, b"only GET and HEAD\n")
        handler = self._routes.get(path)
        if handler is None:
            return Answer(404, b"not found\n")
        try:
            return handler(query)
        except Exception:  # noqa: BLE001  a broken handler must answer, and not with its own text
            _log.exception("%s %s raised", self._name, path)
            return Answer(500, b"internal error\n")

    def _opened(self, connection: _Connection) -> asyncio.Protocol:
        assert self._aiohttp is not None  # noqa: S101  set before the listener that calls this
        if len(self._connections) >= CONNECTIONS_MAX:
            next(iter(self._connections)).abort()
        self._connections[connection] = None
        return self._aiohttp()

    def _closed(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    """aiohttp's protocol with a limit on the connection's life, which aiohttp has none for."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._deadline = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, self.abort)
        self._inner = self._server._opened(self)  # noqa: SLF001  two halves of one thing
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._server._closed(self)  # noqa: SLF001  two halves of one thing
        self._inner.connection_lost(exc)

    def abort(self) -> None:
        """Cut it now, without waiting for what is still to be sent."""
        self._server._closed(self)  # noqa: SLF001  two halves of one thing
        self._transport.abort()


@attrs.frozen
class Incoming:
    """A request as it came. ``path`` and ``query`` are percent-encoded; header names are case-insensitive."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Outgoing:
    """A response: its body, or parts of one as they come. Closing the iterator is this server's business."""

    status: int
    body: bytes | AsyncIterator[Sequence[bytes]]
    headers: Sequence[tuple[str, str]]


RequestHandler: TypeAlias = Callable[[Incoming], Outgoing]
"""A plain call on the event loop, so it must be quick; what takes time comes in the parts of a stream."""


class RequestServer:
    """Serves whole requests, streams and kept connections on ``address``.

    Args:
        name: in the log, beside the URL.
        body_bytes_max: a longer body is answered with 413 by aiohttp, unread.
        tls: serve HTTPS with it.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        handler: RequestHandler,
        *,
        body_bytes_max: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._name = name
        self._address = address
        self._handler = handler
        self._body_bytes_max = body_bytes_max
        self._tls = tls
        self._listener: asyncio.Server | None = None
        self._aiohttp: web.Server | None = None
        self._streams: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """As bound. 0 while not started."""
        sockets = self._listener.sockets if self._listener is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    @property
    def url(self) -> str:
        """``http://host:port`` as bound. Empty while not started."""
        if not self.port:
            return ""
        scheme = "https" if self._tls is not None else "http"
        return f"{scheme}://{Address(self._address.host or '127.0.0.1', self.port)}"

    async def start(self) -> None:
        """Bind and answer from now on."""
        from aiohttp import web  # noqa: PLC0415  costs 0.2 s, and most runs serve nothing

        self._web = web
        self._aiohttp = web.Server(
            self._answer,
            access_log=None,
            logger=logging.getLogger("reconcile.http.protocol"),
            keepalive_timeout=KEPT_SECONDS,
            handler_cancellation=True,  # a stream whose client is gone ends now, not with its next part
        )
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._aiohttp, self._address.host or None, self._address.port, ssl=self._tls, backlog=1024
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot serve {self._name} on {self._address}: {error.strerror or error}; "
                f"choose another address, or port 0 for any free one"
            ) from error
        _log.info("serving %s on %s", self._name, self.url)

    async def stop(self) -> None:
        """Stop listening, end all streams, let answers under way finish, cut the rest."""
        if self._listener is None or self._aiohttp is None:
            return
        self._listener.close()
        for stream in tuple(self._streams):
            stream.cancel()
        self._aiohttp.pre_shutdown()
        await self._aiohttp.shutdown(STOP_SECONDS)
        self._listener = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = b""
        if request.can_read_body:
            parts = []
            length = 0
            async for part in request.content.iter_any():
                length += len(part)
                if length > self._body_bytes_max:
                    return self._web.Response(status=413, text="Request entity is too large\n")
                parts.append(part)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
        path, _, query = request.raw_path.partition("?")
        try:
            answer = self._handler(Incoming(request.method, path, query, request.headers, body))
        except Exception:  # noqa: BLE001  a broken handler must answer, and not with its own text
            _log.exception("%s %s %s raised", self._name, request.method, path)
            return self._web.Response(status=500, text="internal error\n")
        if isinstance(answer.body, bytes):
            return self._web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await self._stream(request, answer, answer.body)

    async def _stream(
        self, request: web.BaseRequest, answer: Outgoing, parts: AsyncIterator[Sequence[bytes]]
    ) -> web.StreamResponse:
        response = self._web.StreamResponse(status=answer.status, headers=answer.headers)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._streams.add(task)
        try:
            await response.prepare(request)
            async for some in parts:
                await response.write(b"".join(some))
        except ConnectionError:
            pass  # the client is gone
        except asyncio.CancelledError:
            if self._listener is not None and self._listener.is_serving():
                raise  # the client is gone
        finally:
            self._streams.discard(task)
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()
        return response
