"""The client: what can be asked of one cluster, in the model's words.

Guarantees:
    * ``send`` never raises for a refusal or a lost answer: every write ends in Applied, Refused or Unknown.
    * Only what was certainly not executed is sent again without being asked: 429 (the server shed it), a 503 of the API
      server itself, a connection that never came about; and reads. Attempts and waiting are bounded, with jitter;
      ``Retry-After`` is honoured within [0, 60] s.
    * What no API server would say (a redirect, an HTML page) is a TransportError that names the URL: somebody in
      between has answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

import attrs
import msgspec

from reconcile.client import answers, codec, paths
from reconcile.client.clock import LOOP_CLOCK, Clock
from reconcile.client.codec import ListPage
from reconcile.client.discovery import Discovery
from reconcile.client.exchange import Exchange
from reconcile.client.framing import LineSplitter
from reconcile.client.transport import ByteStream, HTTPRequest, HTTPResponse, Transport
from reconcile.errors import AlreadyExistsError, ApiError, ConflictError, DecodeError, NotFoundError, TransportError
from reconcile.instrumentation.hooks import Hooks
from reconcile.model import json
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, decode_object
from reconcile.model.owner import controller_of
from reconcile.model.resource import Kind, Resource
from reconcile.model.watch_event import WatchEvent
from reconcile.model.write import Applied, Outcome, Refused, Unknown, Verb, Write

__all__ = ["Client", "ListPage", "ServerVersion", "WatchStream"]

LIST_SECONDS_MAX = 60.0
"""A page of 500 large objects over a slow line."""

FIRST_BYTE_SECONDS_MAX = 30.0
"""Until a watch's headers: the API server sends them at once."""

ERROR_BODY_BYTES_MAX = 256 * 1024

_METHODS = {Verb.CREATE: "POST", Verb.UPDATE: "PUT", Verb.PATCH: "PATCH", Verb.DELETE: "DELETE"}


@attrs.frozen
class ServerVersion:
    """What ``/version`` says: ``major`` "1", ``minor`` "37", ``git_version`` "v1.37.2"."""

    major: str
    minor: str
    git_version: str
    platform: str


class _Version(msgspec.Struct, rename="camel"):
    major: str = ""
    minor: str = ""
    git_version: str = ""
    platform: str = ""


class WatchStream:
    """One watch connection: an iterator of all the events that one chunk completes.

    It ends when the server closes the stream, and raises TransportError when it was cut or silent for too long.
    """

    def __init__(self, stream: ByteStream, kind: Kind) -> None:
        self._stream = stream
        self._chunks = stream.chunks()
        self._splitter = LineSplitter()
        self._kind = kind

    def set_idle_deadline(self, seconds: float) -> None:
        """How long a silence is allowed from now on: shorter once bookmarks are known to come."""
        self._stream.set_idle_deadline(seconds)

    async def aclose(self) -> None:
        """Read no more. Leaving the context that gave the stream does this."""
        await self._chunks.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[WatchEvent]:
        while True:
            lines = self._splitter.feed(await anext(self._chunks))
            if lines:
                return codec.decode_events(lines, self._kind)


class Client:
    """One cluster, as one user."""

    def __init__(
        self, transport: Transport, *, hooks: Hooks | None = None, clock: Clock = LOOP_CLOCK, name: str = "cluster"
    ) -> None:
        self.name = name
        self._transport = transport
        self._clock = clock
        self._exchange = Exchange(transport, hooks or Hooks(), clock, name)
        self._discovery = Discovery(self.request)

    def __repr__(self) -> str:
        return f"<Client of {self.name}>"

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- reads ----------------------------------------------------------------------------------------------------

    async def resource(self, kind: Kind) -> Resource:
        """Where ``kind`` is served; asked once. Raises UnknownKindError where it is not."""
        return await self._discovery.resource(kind)

    async def version(self) -> ServerVersion:
        """The API server's version."""
        response = await self.request(HTTPRequest("GET", "/version"))
        said = json.decode_as(response.body, _Version)
        return ServerVersion(said.major, said.minor, said.git_version, said.platform)

    async def get(self, resource: Resource, key: ObjectKey, *, subresource: str = "") -> Object:
        """One object, as it is now. Raises NotFoundError and the other ApiErrors."""
        path = paths.object_path(resource, key, subresource)
        response = await self._checked(HTTPRequest("GET", path), resource.group_resource)
        return decode_object(response.body, None if subresource else resource.kind)

    async def list_page(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
        continue_token: str = "",
        resource_version: str = "",
        resource_version_match: str = "",
        metadata_only: bool = False,
    ) -> ListPage:
        """One page of a list. Empty arguments are not sent; ``limit=0`` asks for everything at once."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
            resourceVersionMatch=resource_version_match,
        )
        query += (("continue", continue_token),) if continue_token else ()
        request = HTTPRequest(
            "GET",
            paths.collection_path(resource, namespace),
            query,
            accept=codec.ACCEPT_METADATA_LIST if metadata_only else codec.ACCEPT_JSON,
            timeout_seconds=LIST_SECONDS_MAX,
        )
        response = await self._checked(request, resource.group_resource)
        return ListPage(response.body, resource.kind)

    def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        send_initial_events: bool = False,
        resource_version_match: str = "",
        timeout_seconds: float = 300,
        metadata_only: bool = False,
        extra_query: Iterable[tuple[str, str]] = (),
    ) -> AbstractAsyncContextManager[WatchStream]:
        """A watch, with bookmarks. Entering it raises ApiError where the server refuses.

        Args:
            resource: what to watch.
            namespace: one namespace; empty for all.
            label_selector: which objects, by labels; empty for all.
            field_selector: which objects, by fields; empty for all.
            resource_version: where to resume.
            send_initial_events: WatchList (KEP-3157): the state first, then a bookmark that says so.
            resource_version_match: ``NotOlderThan`` with ``send_initial_events``.
            timeout_seconds: when the server shall end it.
            metadata_only: objects without spec and status.
            extra_query: further parameters, such as ``shardSelector``.
        """
        query = (
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            *_query(
                labelSelector=label_selector,
                fieldSelector=field_selector,
                resourceVersion=resource_version,
                resourceVersionMatch=resource_version_match,
                sendInitialEvents="true" if send_initial_events else "",
                timeoutSeconds=str(max(1, round(timeout_seconds))),
            ),
            *extra_query,
        )
        request = HTTPRequest(
            "GET",
            paths.collection_path(resource, namespace),
            query,
            accept=codec.ACCEPT_METADATA if metadata_only else codec.ACCEPT_JSON,
            timeout_seconds=FIRST_BYTE_SECONDS_MAX,
        )
        return self._watch(request, resource)

    @asynccontextmanager
    async def _watch(self, request: HTTPRequest, resource: Resource) -> AsyncIterator[WatchStream]:
        started = self._clock.monotonic()
        code = 0
        try:
            async with self._transport.stream(request) as stream:
                code = stream.status
                if code >= 300:
                    response = await _bounded_answer(stream)
                    answers.check(request, response)
                    raise answers.error_of(request, response)
                answers.check(request, HTTPResponse(code, stream.headers, b""))
                self._exchange.report("WATCH", resource.group_resource, code, started)
                started = -1.0
                watch = WatchStream(stream, resource.kind)
                try:
                    yield watch
                finally:
                    await watch.aclose()
        finally:
            if started >= 0.0:
                self._exchange.report("WATCH", resource.group_resource, code, started)

    async def request(self, request: HTTPRequest) -> HTTPResponse:
        """Any request. Raises ApiError for a status of 400 and above, TransportError where no answer came."""
        return await self._checked(request, "")

    # -- writes ---------------------------------------------------------------------------------------------------

    async def send(self, write: Write, *, gate: Callable[[], None] | None = None) -> Outcome:
        """Send a write, and say how it ended. A caller that is cancelled meanwhile does not know.

        Args:
            write: what to send.
            gate: called in the moment before anything leaves, at each attempt; what it raises reaches the caller.

        Raises:
            TransportError: it was certainly not sent (``may_have_arrived`` is False): no connection came about.
        """
        method = _METHODS[write.verb]
        request = HTTPRequest(method, write.path, write.query, write.body, write.content_type, gate=gate)
        try:
            response = await self._exchange.request(request, write.resource.group_resource)
            answers.check(request, response)
        except TransportError as error:
            if not error.may_have_arrived:
                raise
            return Unknown(write, str(error))
        if response.status < 300:
            return Applied(write, _object_in(response))
        error_said = answers.error_of(request, response)
        if answers.may_have_been_executed(response, error_said):
            return Unknown(write, str(error_said))
        return Refused(write, error_said)

    async def resolve(self, write: Write, *, gate: Callable[[], None] | None = None) -> Outcome:
        """Ask again what became of a write whose answer was lost, by sending the identical request.

        Names are fixed and preconditions part of the request, so that a second execution changes nothing (of a JSON
        patch that counts positions only with a precondition on the version). Then: a delete that finds nothing, or
        another object, has been done; a create that finds its name taken has been done if what stands there has the
        same controller.

        Raises:
            TransportError: as ``send``.
        """
        outcome = await self.send(write, gate=gate)
        if not isinstance(outcome, Refused):
            return outcome
        deletes = write.verb is Verb.DELETE or write.subresource == "eviction"
        if deletes and isinstance(outcome.error, NotFoundError | ConflictError):
            return Applied(write, None)
        if write.verb is Verb.CREATE and isinstance(outcome.error, AlreadyExistsError):
            found = await self._find(write)
            if found is not None and _same_controller(write, found):
                return Applied(write, found)
        return outcome

    async def _find(self, write: Write) -> Object | None:
        """The object of a create. By a list of one, since controllers may list what they watch, but often not get."""
        try:
            page = await self.list_page(
                write.resource, namespace=write.key.namespace, field_selector=f"metadata.name={write.key.name}", limit=1
            )
            objects, _ = page.decode()
        except (ApiError, TransportError, DecodeError):
            return None
        return objects[0] if objects else None

    # -- one request ----------------------------------------------------------------------------------------------

    async def _checked(self, request: HTTPRequest, resource: str) -> HTTPResponse:
        response = await self._exchange.request(request, resource)
        answers.check(request, response)
        if response.status >= 400:
            raise answers.error_of(request, response)
        return response


def _query(**parameters: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in parameters.items() if value)


async def _bounded_answer(stream: ByteStream) -> HTTPResponse:
    body = bytearray()
    async for chunk in stream.chunks(idle_seconds_max=FIRST_BYTE_SECONDS_MAX):
        body += chunk
        if len(body) >= ERROR_BODY_BYTES_MAX:
            break
    return HTTPResponse(stream.status, stream.headers, bytes(body))


def _object_in(response: HTTPResponse) -> Object | None:
    """The written object; None for a Status (most deletes) or what cannot be read: it was executed all the same."""
    try:
        obj = decode_object(response.body)
    except DecodeError:
        return None
    return None if obj.kind.kind == "Status" and obj.kind.group == "" else obj


def _same_controller(write: Write, found: Object) -> bool:
    try:
        wanted = controller_of(decode_object(write.body))
    except DecodeError:
        return False
    has = controller_of(found)
    return wanted is not None and has is not None and wanted.uid == has.uid
