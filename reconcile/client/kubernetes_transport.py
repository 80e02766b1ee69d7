"""The transport over real sockets: aiohttp sessions, credentials and TLS that follow their sources.

The one client file that knows aiohttp, and the one file that imports kubernetes-asyncio. Of the latter only the OIDC
requestor is used, and only for a user whose kubeconfig has the ``oidc`` auth-provider: any import of the package loads
all generated models (0.35 s, 39 MB beside aiohttp's), so nobody else pays for that. Configuration, exec plugins, token
files and rotation have rooms of their own (``config``, ``exec_plugin``, ``auth``, ``tls``), which do what that package
leaves out.

Guarantees beyond the protocol's:
    * Two pools: watches pin a connection each and never keep a request waiting.
    * Nothing is sent twice behind the caller's back, save once more after a 401, which says that it was not executed.
    * Connections notice a dead peer: TCP keepalive, and ``TCP_USER_TIMEOUT`` where the system has it.
    * Answers come uncompressed: on one machine or in one data centre packing costs the client as much as it saves
      (45 MB of Pods: 0.06 s to unpack), and the server far more.
    * Names are resolved anew for each connection; no netrc, no cookies, no proxies but those of the configuration.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import attrs

from reconcile.client.auth import credentials_for
from reconcile.client.clock import Clock
from reconcile.client.compression import inflate
from reconcile.client.config import ClusterConfig, OIDCAuth
from reconcile.client.gated_payload import gated_payload
from reconcile.client.proxy import proxy_for
from reconcile.client.sockets import make_socket
from reconcile.client.tls import TLSContexts
from reconcile.client.transport import ByteStream, HTTPRequest, HTTPResponse
from reconcile.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger("reconcile.client")

CONNECT_SECONDS_MAX = 10.0
"""To resolve, connect, tunnel and shake hands."""

RESPONSE_BYTES_MAX = 512 * 1024 * 1024
"""The longest answer that is read: an unpaged list of some 100 000 Pods. Pages of 500 have 2 MiB."""

REQUEST_CONNECTIONS_MAX = 128
"""Requests at one time; more wait for a connection. Watches are not counted."""

KEEPALIVE_SECONDS = 30.0
"""An idle connection is closed before the server or a load balancer in between does it under a request."""

READ_BUFFER_BYTES = 256 * 1024
"""What is read ahead of the consumer of one stream, at most twice that."""

IDLE_SECONDS_MAX = 230.0
"""A silent stream is given up: less than the 240–350 s after which load balancers cut it without a word."""


class KubernetesTransport:
    """One cluster over HTTP/1.1. Sessions open with the first request, in the loop that makes it."""

    def __init__(self, config: ClusterConfig, clock: Clock, *, user_agent: str = "") -> None:
        import aiohttp  # noqa: PLC0415  0.1 s that only a network client pays
        import yarl  # noqa: PLC0415  aiohttp's URLs

        self._aiohttp = aiohttp
        self._url_type = yarl.URL
        self._payload_type = gated_payload(aiohttp)
        self._config = config
        self._clock = clock
        self._proxy = proxy_for(config.server, proxy_url=config.proxy_url, environ=os.environ)
        self._tls = TLSContexts(config, clock)
        self._credentials = credentials_for(config, clock, self._server_time, self._refresh_oidc)
        self._user_agent = user_agent or f"reconcile/{metadata.version('reconcile-k8s')}"
        self._requests: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None
        self._errors = (aiohttp.ClientError, TimeoutError, OSError)
        self._date = ""
        self._date_at = 0.0
        self._warn()

    def _warn(self) -> None:
        if self._config.insecure_skip_tls_verify:
            _log.warning(
                "insecure-skip-tls-verify is set: anybody on the way to %s can read and change everything",
                self._config.server,
            )
        if self._config.server.startswith("http:") and self._config.auth is not None:
            _log.warning(
                "%s is plain http: the credentials of %s are not sent", self._config.server, self._config.source
            )

    async def request(self, request: HTTPRequest, /) -> HTTPResponse:
        if self._requests is None:
            self._requests = self._session(REQUEST_CONNECTIONS_MAX)
        response, deadline = await self._open(self._requests, request)
        try:
            async with asyncio.timeout_at(deadline):
                body = await self._read(response)
        except self._errors as error:
            _drop(response)
            raise self._failed(request, error) from error
        except BaseException:
            _drop(response)
            raise
        response.release()
        headers = _headers(response)
        if headers.get("content-encoding") == "gzip":
            what = f"{request.method} {self._url(request)}"
            body = inflate(body, bytes_max=RESPONSE_BYTES_MAX, what=what)
        return HTTPResponse(response.status, headers, body)

    @asynccontextmanager
    async def stream(self, request: HTTPRequest, /) -> AsyncIterator[ByteStream]:
        if self._watches is None:
            self._watches = self._session(0)
        response, _ = await self._open(self._watches, request)
        stream = _Stream(response, self._errors, f"{request.method} {self._url(request)}")
        try:
            yield stream
        finally:
            stream.close()

    async def aclose(self) -> None:
        for session in (self._requests, self._watches):
            if session is not None:
                await session.close()
        self._requests = self._watches = None
        await self._clock.sleep(0.0)  # what was just dropped is closed by the loop's next turn

    # -- one request ----------------------------------------------------------------------------------------------

    async def _open(self, session: aiohttp.ClientSession, request: HTTPRequest) -> tuple[aiohttp.ClientResponse, float]:
        """The answer's head, and the deadline for its body. A slow exec plugin does not eat the request's time."""
        authorization = await self._credentials.header()
        deadline = self._deadline(request)
        response = await self._send(session, request, authorization, deadline)
        if response.status == 401 and authorization:
            try:
                renewed = await self._credentials.renew(authorization)
                authorization = await self._credentials.header()
            except BaseException:
                _drop(response)
                raise
            if renewed:
                _drop(response)
                deadline = self._deadline(request)
                response = await self._send(session, request, authorization, deadline)
        return response, deadline

    def _deadline(self, request: HTTPRequest) -> float:
        return asyncio.get_running_loop().time() + request.timeout_seconds

    async def _send(
        self, session: aiohttp.ClientSession, request: HTTPRequest, authorization: str, deadline: float
    ) -> aiohttp.ClientResponse:
        accepted = "gzip" if request.method == "GET" and session is self._requests else "identity"
        headers = [("Accept", request.accept), ("Accept-Encoding", accepted), *self._config.impersonate]
        if authorization:
            headers.append(("Authorization", authorization))
        body: aiohttp.payload.BytesIOPayload | None = None
        refusals: list[Exception] = []
        if request.body:
            headers.append(("Content-Type", request.content_type))
            body = self._payload_type(request.body, request.gate, refusals)
        elif request.gate is not None:
            request.gate()
        try:
            async with asyncio.timeout_at(deadline):
                response = await session.request(
                    request.method,
                    self._url_type(self._url(request, with_query=True), encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    ssl=self._tls.context(self._credentials.key_pair) or True,
                    server_hostname=self._config.tls_server_name or None,
                    proxy=self._proxy,
                )
        except self._errors as error:
            if refusals:
                raise refusals[0] from None
            raise self._failed(request, error) from error
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding not in ("identity", accepted):
            _drop(response)
            raise TransportError(f"{request.method} {self._url(request)}: the answer came as {encoding}, unasked")
        if date := response.headers.get("Date"):
            self._date, self._date_at = date, self._clock.monotonic()
        return response

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        length = 0
        content = response.content
        while chunk := await content.readany():
            length += len(chunk)
            if length > RESPONSE_BYTES_MAX:
                raise TransportError(
                    f"{response.method} {response.url.with_query(None)}: the answer is longer than"
                    f" {RESPONSE_BYTES_MAX} bytes; list in pages (limit)"
                )
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _url(self, request: HTTPRequest, *, with_query: bool = False) -> str:
        url = self._config.server.rstrip("/") + request.path
        return f"{url}?{urlencode(request.query)}" if with_query and request.query else url

    def _failed(self, request: HTTPRequest, error: BaseException) -> TransportError:
        """Say what was asked of whom, what happened, and what may help. Neither header nor body nor query is shown."""
        arrived, reason = _reason(self._aiohttp, error, self._config, self._proxy)
        return TransportError(f"{request.method} {self._url(request)}: {reason}", may_have_arrived=arrived)

    # -- sessions -------------------------------------------------------------------------------------------------

    def _session(self, connections_max: int) -> aiohttp.ClientSession:
        library = self._aiohttp
        session: aiohttp.ClientSession = library.ClientSession(
            connector=library.TCPConnector(
                limit=connections_max,
                use_dns_cache=False,
                keepalive_timeout=KEEPALIVE_SECONDS,
                socket_factory=make_socket,
            ),
            cookie_jar=library.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER_BYTES,
            headers={"User-Agent": self._user_agent},
            # The deadlines of the whole and of each silence are kept by the callers of the session.
            timeout=library.ClientTimeout(
                total=None, connect=CONNECT_SECONDS_MAX, sock_connect=CONNECT_SECONDS_MAX, sock_read=None
            ),
        )
        # aiohttp sends PUT and DELETE again when a kept connection turns out dead, though the first may have been
        # executed: an Applied would look like a conflict. A test watches over this private switch.
        session._retry_connection = False  # noqa: SLF001  no public switch exists
        return session

    # -- credentials ----------------------------------------------------------------------------------------------

    def _server_time(self) -> datetime | None:
        """The API server's clock: its last ``Date`` and the time since. None before the first answer."""
        try:
            said = parsedate_to_datetime(self._date)
        except (TypeError, ValueError):
            return None
        if said.tzinfo is None:
            return None
        return datetime.fromtimestamp(said.timestamp() + self._clock.monotonic() - self._date_at, said.tzinfo)

    async def _refresh_oidc(self, auth: OIDCAuth) -> OIDCAuth:
        from kubernetes_asyncio.config.openid import OpenIDRequestor  # noqa: PLC0415  0.35 s and 39 MB

        make_connector = self._aiohttp.TCPConnector
        context = ssl.create_default_context(
            cadata=None if auth.ca_data is None else auth.ca_data.decode("ascii", "replace")
        )

        class Requestor(OpenIDRequestor):  # type: ignore[misc]  # the package is not read by mypy
            def _get_connector(self) -> Any:
                """Verified TLS: the parent verifies only where it is given a CA, and then fails."""
                return make_connector(ssl=context)

        requestor = Requestor(auth.client_id, auth.client_secret, auth.issuer_url)
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                answer: Mapping[str, Any] = await requestor.refresh_token(auth.refresh_token)
            id_token, refresh_token = str(answer["id_token"]), str(answer.get("refresh_token") or auth.refresh_token)
        except self._errors as error:
            raise TransportError(
                f"OIDC issuer {auth.issuer_url}: {type(error).__name__}", may_have_arrived=False
            ) from None
        except Exception as error:
            raise ConfigurationError(
                f"{self._config.source}: the OIDC issuer {auth.issuer_url} gave no new ID token; log in again"
            ) from error
        return attrs.evolve(auth, id_token=id_token, refresh_token=refresh_token)


class _Stream:
    """A body that arrives in chunks, with a watchdog on its silences.

    The watchdog is one timer that looks now and then, rather than a deadline set up and torn down for each chunk.
    """

    def __init__(self, response: aiohttp.ClientResponse, errors: tuple[type[BaseException], ...], what: str) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._response = response
        self._errors = errors
        self._what = what
        self._loop = asyncio.get_running_loop()
        self._idle_seconds_max = IDLE_SECONDS_MAX
        self._waiting_since: float | None = None
        self._timer = self._loop.call_later(self._idle_seconds_max, self._look)

    async def chunks(self, *, idle_seconds_max: float | None = None) -> AsyncGenerator[bytes, None]:
        if idle_seconds_max is not None:
            self.set_idle_deadline(idle_seconds_max)
        content = self._response.content
        time = self._loop.time
        try:
            while True:
                self._waiting_since = time()
                chunk = await content.readany()
                self._waiting_since = None
                if not chunk:
                    return
                yield chunk
        except self._errors as error:
            raise TransportError(f"{self._what}: the stream was cut: {type(error).__name__}") from error

    def set_idle_deadline(self, seconds: float) -> None:
        self._idle_seconds_max = seconds
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        since = self._waiting_since
        left = self._idle_seconds_max if since is None else since + self._idle_seconds_max - self._loop.time()
        if left > 0.0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            seconds = f"{self._idle_seconds_max:g}"
            self._response.content.set_exception(TransportError(f"{self._what}: silent for {seconds} s, given up"))

    def close(self) -> None:
        self._timer.cancel()
        _drop(self._response)


def _drop(response: aiohttp.ClientResponse) -> None:
    """Close the connection at once. A polite end of TLS would wait for the server, and outlive the session."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _reason(aiohttp: Any, error: Any, config: ClusterConfig, proxy: str | None) -> tuple[bool, str]:
    """Whether the request may have arrived, and what happened in words."""
    if isinstance(error, TimeoutError):
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return False, f"no connection within {CONNECT_SECONDS_MAX:g} s; is the server reachable from here?"
        return True, "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or "it is not valid"
        return False, (
            f"the server's certificate is refused: {why};"
            f" check certificate-authority and tls-server-name ({config.source})"
        )
    if isinstance(error, aiohttp.ClientSSLError):
        return False, f"TLS handshake failed: {getattr(error.os_error, 'reason', None) or 'unknown reason'}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return False, f"the proxy answered {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return False, f"cannot resolve {urlsplit(config.server).hostname}; check the server's address ({config.source})"
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
        through = "" if proxy is None else " (through a proxy)"
        return False, f"cannot connect{through}: {reason}; is the server up, at this address ({config.source})?"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return True, "the server closed the connection before it answered"
    return True, f"the connection broke: {type(error).__name__}"
