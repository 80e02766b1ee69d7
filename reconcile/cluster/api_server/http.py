"""The way in over the network: an API server on loopback, behind a token and a check of the Host header.

Guarantees:
    * Nobody without the token is answered, but for health and the version.
    * A page in a browser cannot reach it under another name (DNS rebinding): the Host header must name this machine.
    * It listens on loopback; anywhere else only where that is asked for in so many words.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import parse_qsl

from reconcile.cluster.api_server.failure import Failure
from reconcile.cluster.api_server.request import ADMIN, ANONYMOUS, Request, Response, User, refused
from reconcile.cluster.api_server.server import BODY_BYTES_MAX, APIServer
from reconcile.cluster.api_server.streaming import lines_of
from reconcile.errors import ConfigurationError
from reconcile.runtime.clock import Clock
from reconcile.runtime.http_server import Address, Incoming, Outgoing, RequestServer

_BODY_SLACK_BYTES = 1024
"""So much more is read, so that the refusal is the API server's own."""


class HTTPFront:
    """Serves one API server.

    Args:
        users: bearer token → who has it.
        expose: listen on an address that other machines can reach.

    Raises:
        ConfigurationError: such an address without ``expose``, or one that cannot be bound (from ``start``).
    """

    def __init__(
        self,
        server: APIServer,
        clock: Clock,
        address: Address,
        users: Mapping[str, User],
        *,
        expose: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not address.is_loopback and not expose:
            raise ConfigurationError(
                f"the embedded API server on {address}: it is made for trying things out on one machine and enforces"
                f" no RBAC; use 127.0.0.1:{address.port}, or say --expose if other machines shall reach it"
            )
        self._server = server
        self._clock = clock
        self._users = {token.encode(): user for token, user in users.items()}
        self._exposed = expose
        self._names = frozenset({"localhost", "127.0.0.1", "[::1]", address.host})
        self._http = RequestServer(
            "the embedded API server", address, self._handle, body_bytes_max=BODY_BYTES_MAX + _BODY_SLACK_BYTES, tls=tls
        )

    @property
    def url(self) -> str:
        """As bound. Empty while not started."""
        return self._http.url

    async def start(self) -> None:
        await self._http.start()
        self._server.address = self.url.partition("://")[2]

    async def stop(self) -> None:
        await self._http.stop()

    def _handle(self, incoming: Incoming) -> Outgoing:
        headers = incoming.headers
        if not self._exposed and not self._is_this_machine(headers.get("Host", "")):
            text = "the Host header names another machine; use localhost or 127.0.0.1"
            return _outgoing(refused(Failure(403, text, details={})))
        user = self._user_of(headers.get("Authorization", ""))
        if user is None:
            return _outgoing(refused(Failure(401, "Unauthorized")))
        request = Request(
            incoming.method,
            incoming.path,
            dict(reversed(parse_qsl(incoming.query, keep_blank_values=True))) if incoming.query else {},
            incoming.body,
            headers.get("Content-Type", ""),
            headers.get("Accept", ""),
            headers.get("User-Agent", ""),
            user,
            [],
            headers.get("If-None-Match", ""),
        )
        answer = self._server.handle(request, self._clock.wall())
        if isinstance(answer, Response):
            return _outgoing(answer)
        lines: AsyncIterator[Sequence[bytes]] = lines_of(answer, self._clock)
        return Outgoing(200, lines, (("Content-Type", answer.content_type), *_ALWAYS))

    def _is_this_machine(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        return (name if colon and port.isdigit() else host) in self._names

    def _user_of(self, authorization: str) -> User | None:
        """Who that is; the anonymous where nothing is said; None for a token that nobody has."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        said = token.strip().encode()
        found = None
        for known, user in self._users.items():
            if hmac.compare_digest(known, said):  # in a time that tells nothing of how much of it is right
                found = user
        return found


_ALWAYS = (("Cache-Control", "no-cache, private"),)


def _outgoing(answer: Response) -> Outgoing:
    kept = () if any(name == "Cache-Control" for name, _ in answer.headers) else _ALWAYS
    return Outgoing(answer.status, answer.body, (("Content-Type", answer.content_type), *kept, *answer.headers))


def admin_only(token: str) -> Mapping[str, User]:
    """One token, for who may do everything."""
    return {token: ADMIN}
