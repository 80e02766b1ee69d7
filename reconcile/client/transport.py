"""The one seam to the network: a request and its answer, or a request and a stream.

Two implementations: ``kubernetes_transport`` (real HTTP) and ``memory_transport`` (a handler in this process,
for tests and for the embedded cluster).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs


@attrs.frozen
class HTTPRequest:
    """One HTTP request. ``path`` is percent-encoded already; ``query`` is not."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = attrs.field(default=b"", repr=False)
    content_type: str = "application/json"
    accept: str = "application/json"
    timeout_seconds: float = 30.0
    """From sending to the last byte of the answer; for streams to the first byte of the headers."""
    gate: Callable[[], None] | None = attrs.field(default=None, eq=False, repr=False)
    """Called each time the request is about to be written to the socket. What it raises reaches the caller, and nothing
    is sent: so a leader that slept while it waited for a connection, or between two attempts, writes nothing."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@attrs.frozen
class HTTPResponse:
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


class ByteStream(Protocol):
    """An answer whose body arrives in chunks."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self, *, idle_seconds_max: float | None = None) -> AsyncGenerator[bytes, None]:
        """Chunks as they come. Raises TransportError when cut, or silent for more than ``idle_seconds_max``."""
        ...

    def set_idle_deadline(self, seconds: float) -> None:
        """Change how long a silence is allowed from now on."""
        ...


class Transport(Protocol):
    """Sends requests.

    Guarantees:
        * Watches and requests use separate connections, so that no watch keeps a request waiting.
        * Every read has a deadline.
        * No redirects are followed; credentials never leave for another host.

    Raises:
        TransportError: no answer; ``may_have_arrived`` says whether the request can have been executed.
    """

    async def request(self, request: HTTPRequest, /) -> HTTPResponse: ...

    def stream(self, request: HTTPRequest, /) -> AbstractAsyncContextManager[ByteStream]: ...

    async def aclose(self) -> None: ...
