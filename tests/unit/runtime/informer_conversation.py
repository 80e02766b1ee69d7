"""Conversations with an API server that follows a script, in virtual time.

A script is a list of (what must be asked, what is answered). A question that is not the next one of the script fails
the test; when the script is over, every further question waits for ever.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from reconcile.client.api import Client
from reconcile.client.memory_transport import MemoryTransport, StreamedResponse
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.instrumentation.hooks import Fact, Hooks
from reconcile.model.resource import Kind, Resource

T = TypeVar("T")

PODS = Resource(Kind("", "v1", "Pod"), "pods")
NODES = Resource(Kind("", "v1", "Node"), "nodes", namespaced=False)
JSON = {"content-type": "application/json"}
HOLD = object()
"""In a stream: stay open, say nothing."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the loop's time to it."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everything waits and no timer is set: a wake-up was lost")
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when everything waits."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class VirtualClock:
    """The running loop's time; chance is always nought, so that waits are exact."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, seconds: float, /) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def random(self) -> float:
        return 0.0

    def token(self, length: int, /) -> str:
        return "x" * length


def pod(name: str, version: int, *, namespace: str = "default", uid: str = "", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            **metadata,
        },
        "spec": {"nodeName": "n"},
    }


def page(version: int, *items: Any, more: str = "") -> HTTPResponse:
    """A page of a list."""
    metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    raw = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    body = b'{"kind":"PodList","apiVersion":"v1","metadata":%b,"items":[%b]}' % (
        json.dumps(metadata).encode(),
        b",".join(raw),
    )
    return HTTPResponse(200, JSON, body)


def refusal(code: int, reason: str, message: str = "") -> HTTPResponse:
    return HTTPResponse(code, JSON, json.dumps(status(code, reason, message)).encode())


def status(code: int, reason: str, message: str = "") -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message or reason}


def event(kind: str, value: Any) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)


def added(value: Any) -> bytes:
    return event("ADDED", value)


def modified(value: Any) -> bytes:
    return event("MODIFIED", value)


def deleted(value: Any) -> bytes:
    return event("DELETED", value)


def bookmark(version: int, *, end: bool = False) -> bytes:
    annotations = {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version), **annotations}})


def stream(*parts: Any) -> Sequence[Any]:
    """A stream: bytes are sent, numbers are seconds of silence, exceptions cut it, HOLD keeps it open."""
    return parts


def asked(request: HTTPRequest) -> str:
    """A request in the words of a script: ``LIST``, ``LIST next=TOKEN``, ``WATCH 10``, ``WATCH initial``."""
    query = dict(request.query)
    where = request.path.removeprefix("/api/v1/").removesuffix("pods").strip("/").removeprefix("namespaces/")
    place = f" in {where}" if where else ""
    if query.get("watch") == "true":
        what = "initial" if query.get("sendInitialEvents") == "true" else query.get("resourceVersion", "")
        return f"WATCH {what}{place}"
    token = query.get("continue", "")
    return f"LIST{place}" + (f" next={token}" if token else "")


class Conversation:
    """The server's side."""

    def __init__(self, script: Sequence[tuple[str, Any]]) -> None:
        self.left = list(script)
        self.asked: list[tuple[float, str]] = []
        self.requests: list[HTTPRequest] = []
        self.over = asyncio.Event()
        """Set when the last question of the script has been asked."""

    async def handle(self, request: HTTPRequest) -> HTTPResponse | StreamedResponse:
        text = asked(request)
        self.asked.append((asyncio.get_running_loop().time(), text))
        self.requests.append(request)
        if not self.left:
            self.over.set()
            await asyncio.Event().wait()
        at = next((index for index, (expected, _) in enumerate(self.left) if expected == text), None)
        if at is None or (at > 0 and " in " not in text):  # namespaces are asked in no order
            raise AssertionError(f"asked {text!r}, the script goes on with {self.left[:1]}")
        _, answer = self.left.pop(at)
        if not self.left:
            self.over.set()
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, HTTPResponse):
            return answer
        return StreamedResponse(play(answer))


async def play(parts: Sequence[Any]) -> AsyncIterator[bytes]:
    for part in parts:
        if part is HOLD:
            await asyncio.Event().wait()
        elif isinstance(part, BaseException):
            raise part
        elif isinstance(part, int | float):
            await asyncio.sleep(part)
        else:
            yield part


class Facts:
    """Everything that was reported."""

    def __init__(self) -> None:
        self.all: list[Fact] = []
        self.hooks = Hooks()
        self.hooks.add(self.all.append)

    def of(self, kind: type[T]) -> list[T]:
        return [fact for fact in self.all if isinstance(fact, kind)]


def client_of(conversation: Conversation) -> Client:
    return Client(MemoryTransport(conversation.handle), clock=VirtualClock())


async def settled(condition: Callable[[], bool], what: str, seconds: float = 3600.0) -> None:
    """Wait in virtual time until ``condition``; a failure says what did not come."""
    for _ in range(int(seconds * 10)):
        if condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} virtual seconds")


Body = Callable[..., Awaitable[None]]
