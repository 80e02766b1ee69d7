"""One request and its answer, sent again where that is safe, and told to the hooks."""

from __future__ import annotations

import asyncio
import logging

from reconcile.client import answers
from reconcile.client.clock import Clock
from reconcile.client.transport import HTTPRequest, HTTPResponse, Transport
from reconcile.errors import TransportError
from reconcile.instrumentation.hooks import Hooks, RequestSent

_log = logging.getLogger("reconcile.client")

ATTEMPTS_MAX = 5
"""How often one request is sent at most."""

BACKOFF_SECONDS_FIRST, BACKOFF_SECONDS_MAX = 0.1, 5.0

RETRY_SECONDS_MAX = 15.0
"""After a network failure nothing is sent again later than that after the first attempt: the callers have their own
backoff, and want to say that the server is away."""

WARNING_SECONDS = 3600.0
"""Each text of the server's warnings is logged that often."""

WARNINGS_MAX = 256
"""So many texts are remembered."""


class Exchange:
    """Sends the requests of one client.

    What is sent again: reads, what was shed or never sent, and what the API server refused before it began
    (``answers.retry_after``). Delays grow exponentially, with jitter, on top of what the server asks for.
    """

    def __init__(self, transport: Transport, hooks: Hooks, clock: Clock, name: str) -> None:
        self._transport = transport
        self._hooks = hooks
        self._clock = clock
        self._name = name
        self._warned_at: dict[str, float] = {}

    async def request(self, request: HTTPRequest, resource: str) -> HTTPResponse:
        """The answer, whatever its status. Raises TransportError where none came."""
        first = self._clock.monotonic()
        attempt = 1
        while True:
            started = self._clock.monotonic()
            try:
                response = await self._transport.request(request)
            except TransportError as error:
                self.report(request.method, resource, 0, started)
                repeatable = not error.may_have_arrived or request.method == "GET"
                late = self._clock.monotonic() - first > RETRY_SECONDS_MAX
                if not repeatable or late or attempt >= ATTEMPTS_MAX:
                    raise
                delay = 0.0
            except asyncio.CancelledError:
                self.report(request.method, resource, 0, started)
                raise
            else:
                self.report(request.method, resource, response.status, started)
                self._note_warning(response)
                wait = answers.retry_after(request, response)
                if wait is None or attempt >= ATTEMPTS_MAX:
                    return response
                delay = wait
            backoff = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_FIRST * 2 ** (attempt - 1))
            await self._clock.sleep(delay + backoff * (0.5 + self._clock.random() / 2))
            attempt += 1

    def report(self, method: str, resource: str, code: int, started: float) -> None:
        """Tell the hooks of one request."""
        self._hooks.emit(RequestSent(method, self._name, resource, code, self._clock.monotonic() - started))

    def _note_warning(self, response: HTTPResponse) -> None:
        """Log the server's warnings (deprecated APIs, unknown fields): each text once an hour."""
        text = response.headers.get("warning", "")
        if not text:
            return
        now = self._clock.monotonic()
        if now - self._warned_at.get(text, -WARNING_SECONDS) < WARNING_SECONDS:
            return
        if len(self._warned_at) >= WARNINGS_MAX:
            del self._warned_at[next(iter(self._warned_at))]
        self._warned_at.pop(text, None)
        self._warned_at[text] = now
        _log.warning("the API server warns: %s", text[:500])
