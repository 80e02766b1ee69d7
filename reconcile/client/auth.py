"""Credentials: what goes into ``Authorization``, and when it is renewed.

Guarantees:
    * A token file is read again at most 60 s after its last reading, and at a 401.
    * An exec plugin runs once for all who wait, with a deadline; its result serves until shortly before it expires.
    * Nothing secret is logged or shown: neither tokens, nor what a plugin printed.

Whether a credential has expired is judged by the API server's clock (the ``Date`` of its answers), since it is
the server that will refuse it, whatever this machine's clock says.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, assert_never

from reconcile.client.clock import Clock
from reconcile.client.config import (
    Auth,
    BasicAuth,
    ClusterConfig,
    ExecAuth,
    OIDCAuth,
    TokenAuth,
    TokenFileAuth,
    check_header,
)
from reconcile.client.exec_plugin import ExecCredential, run_plugin
from reconcile.client.tls import KeyPair
from reconcile.errors import ConfigurationError, ReconcileError, TransportError

_log = logging.getLogger("reconcile.client")

TOKEN_FILE_SECONDS = 60.0
"""How long the content of a token file is believed (as in client-go)."""

EXPIRY_SKEW_SECONDS = 60.0
"""A credential is renewed that long before it expires, so that none expires on its way."""

RENEWAL_SECONDS_MIN = 10.0
"""A plugin or issuer is not asked more often than that, however short-lived or unloved its credentials are."""

ServerTime = Callable[[], datetime | None]
RefreshOIDC = Callable[[OIDCAuth], Awaitable[OIDCAuth]]


class Credentials(Protocol):
    """How one client proves who it is."""

    async def header(self) -> str:
        """The value of ``Authorization``; empty for none."""
        ...

    async def renew(self, rejected: str) -> bool:
        """After a 401 to ``rejected``: get another credential. False where there is none."""
        ...

    @property
    def key_pair(self) -> KeyPair | None:
        """A client certificate that came with the credential."""
        ...


class FixedCredentials:
    """A header that never changes, or none."""

    key_pair: KeyPair | None = None

    def __init__(self, header: str = "") -> None:
        self._header = header

    async def header(self) -> str:
        return self._header

    async def renew(self, rejected: str) -> bool:  # noqa: ARG002  the protocol's signature
        return False


class TokenFileCredentials:
    """A bearer token that is renewed in its file, by kubelet or by whoever mounts it."""

    key_pair: KeyPair | None = None

    def __init__(self, auth: TokenFileAuth, clock: Clock) -> None:
        self._path = auth.path
        self._clock = clock
        self._header = ""
        self._read_at = 0.0

    async def header(self) -> str:
        if not self._header or self._clock.monotonic() - self._read_at >= TOKEN_FILE_SECONDS:
            self._read()
        return self._header

    async def renew(self, rejected: str) -> bool:
        if self._header == rejected:
            self._read()
        return self._header != rejected

    def _read(self) -> None:
        """Keeps the last good token while the file is gone or empty, as it is for a moment when it is replaced."""
        self._read_at = self._clock.monotonic()
        try:
            token = self._path.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            if not self._header:
                raise ConfigurationError(f"cannot read the token file {self._path}") from error
            return
        try:
            check_header(token, f"the token file {self._path}")
        except ConfigurationError:
            if not self._header:
                raise
            return
        if token:
            self._header = f"Bearer {token}"
        elif not self._header:
            raise ConfigurationError(f"the token file {self._path} is empty")


class ExecCredentials:
    """What an exec plugin printed, until shortly before it expires."""

    def __init__(self, auth: ExecAuth, clock: Clock, server_time: ServerTime) -> None:
        self._auth = auth
        self._clock = clock
        self._server_time = server_time
        self._current: ExecCredential | None = None
        self._failure: ReconcileError | None = None
        self._ran_at: float | None = None
        self._single_flight = asyncio.Lock()

    @property
    def key_pair(self) -> KeyPair | None:
        return None if self._current is None else self._current.key_pair

    async def header(self) -> str:
        if self._current is None or self._seconds_left(self._current) <= EXPIRY_SKEW_SECONDS:
            async with self._single_flight:
                await self._ensure()
        return self._header

    async def renew(self, rejected: str) -> bool:
        before = self._current
        async with self._single_flight:
            if self._current is before and self._header == rejected and self._may_run():
                await self._run()
        return self._current is not before or self._header != rejected

    @property
    def _header(self) -> str:
        return f"Bearer {self._current.token}" if self._current is not None and self._current.token else ""

    async def _ensure(self) -> None:
        """Run the plugin where that is due; whoever waited for a run that failed shares the failure."""
        if self._current is None:
            if self._failure is not None and not self._may_run():
                raise self._failure.with_traceback(None)
            await self._run()
        elif self._seconds_left(self._current) <= EXPIRY_SKEW_SECONDS and self._may_run():
            try:
                await self._run()
            except TransportError as error:
                if self._seconds_left(self._current) <= 0.0:
                    raise
                _log.warning("going on with a credential that expires soon: %s", error)

    def _may_run(self) -> bool:
        return self._ran_at is None or self._clock.monotonic() - self._ran_at >= RENEWAL_SECONDS_MIN

    def _seconds_left(self, credential: ExecCredential) -> float:
        now = self._server_time()
        if credential.expires_at is None or now is None:
            return math.inf
        return (credential.expires_at - now).total_seconds()

    async def _run(self) -> None:
        try:
            self._current = await run_plugin(self._auth)
            self._failure = None
        except ReconcileError as error:
            self._failure = error
            raise
        finally:
            self._ran_at = self._clock.monotonic()


class OIDCCredentials:
    """An ID token; a new one is asked of the issuer when the API server refuses the old one."""

    key_pair: KeyPair | None = None

    def __init__(self, auth: OIDCAuth, clock: Clock, refresh: RefreshOIDC) -> None:
        self._auth = auth
        self._clock = clock
        self._refresh = refresh
        self._asked_at: float | None = None
        self._single_flight = asyncio.Lock()

    async def header(self) -> str:
        if not self._auth.id_token:
            await self.renew("")
        return self._header

    async def renew(self, rejected: str) -> bool:
        async with self._single_flight:
            now = self._clock.monotonic()
            may_ask = self._asked_at is None or now - self._asked_at >= RENEWAL_SECONDS_MIN
            if self._header == rejected and self._auth.refresh_token and may_ask:
                self._asked_at = now
                self._auth = await self._refresh(self._auth)
        return self._header != rejected

    @property
    def _header(self) -> str:
        return f"Bearer {self._auth.id_token}" if self._auth.id_token else ""


def credentials_for(
    config: ClusterConfig, clock: Clock, server_time: ServerTime, refresh_oidc: RefreshOIDC
) -> Credentials:
    """The credentials of a configuration. None are sent over plain http, as with kubectl."""
    auth: Auth | None = config.auth if config.server.startswith("https:") else None
    match auth:
        case None:
            return FixedCredentials()
        case TokenAuth(token):
            return FixedCredentials(f"Bearer {token}")
        case BasicAuth(username, password):
            return FixedCredentials("Basic " + base64.b64encode(f"{username}:{password}".encode()).decode())
        case TokenFileAuth():
            return TokenFileCredentials(auth, clock)
        case ExecAuth():
            return ExecCredentials(auth, clock, server_time)
        case OIDCAuth():
            return OIDCCredentials(auth, clock, refresh_oidc)
        case _:
            assert_never(auth)
