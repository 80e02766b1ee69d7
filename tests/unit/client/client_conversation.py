"""A scripted API server in this process, and the words to script it with."""

from __future__ import annotations

import json
from typing import Any

import attrs

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.client.memory_transport import MemoryTransport, StreamedResponse
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import TransportError
from reconcile.instrumentation.hooks import Fact, Hooks
from reconcile.model.key import ObjectKey
from reconcile.model.object import from_plain
from reconcile.model.patch import MergePatch
from reconcile.model.resource import Kind, Resource

PODS = Resource(Kind("", "v1", "Pod"), "pods")
KEY = ObjectKey("ns", "web")
OWNER = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "owner", "controller": True}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "ns", "uid": "u", "resourceVersion": "7", "ownerReferences": [OWNER]},
}
CREATE = writes.create(PODS, from_plain(POD))
UPDATE = writes.update(PODS, from_plain(POD))
PATCH = writes.patch(PODS, KEY, MergePatch({}), uid="u")
DELETE = writes.delete(PODS, KEY, uid="u")
EVICT = writes.evict(PODS, KEY, uid="u")

Answer = HTTPResponse | StreamedResponse | Exception


def answer(status: int, body: object = None, content_type: str = "application/json", **headers: str) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPResponse(status, {"content-type": content_type, **named}, data)


def refusal(code: int, reason: str = "", message: str = "", **more: Any) -> HTTPResponse:
    return answer(
        code, {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message, **more}
    )


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def random(self) -> float:
        return 0.5


@attrs.define
class Conversation:
    """Answers in turn; the last one is repeated. What was asked is remembered."""

    answers: list[Answer]
    clock: ManualClock = attrs.field(factory=ManualClock)
    asked: list[HTTPRequest] = attrs.field(factory=list)
    facts: list[Fact] = attrs.field(factory=list)
    client: Client = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        hooks = Hooks()
        hooks.add(self.facts.append)
        self.client = Client(MemoryTransport(self.handle), hooks=hooks, clock=self.clock, name="host:1")

    async def handle(self, request: HTTPRequest) -> HTTPResponse | StreamedResponse:
        self.asked.append(request)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        return said


def conversation(*answers: Answer) -> Conversation:
    return Conversation(list(answers))


LOST = TransportError("cut")
UNSENT = TransportError("refused", may_have_arrived=False)
BUDGET = refusal(429, "TooManyRequests", "Cannot evict pod", details={"causes": [{"reason": "DisruptionBudget"}]})
