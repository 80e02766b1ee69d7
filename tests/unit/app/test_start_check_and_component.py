"""What an app looks at before it starts, and who its Events are from when it runs with others."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile import App, Builder, Client, UsageError
from reconcile.client.memory_transport import JSON_HEADERS, MemoryTransport
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.instrumentation.hooks import Hooks
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.recorder import Recorders


async def reconcile(request: Any, context: Any) -> None:
    """Never called here."""


class Server:
    """Notes what it is asked, and has nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.client = Client(MemoryTransport(self.answer))

    async def answer(self, request: HTTPRequest) -> HTTPResponse:
        self.asked.append(request.path)
        return HTTPResponse(404, JSON_HEADERS, b'{"kind": "Status", "code": 404, "reason": "NotFound"}')


@pytest.mark.asyncio
async def test_what_a_start_check_raises_ends_the_run() -> None:
    """With its own text, and before a kind is looked for."""
    server, clients = Server(), list[Client]()

    async def refuse(client: Client) -> None:
        clients.append(client)
        raise UsageError("not on this server")

    app = App("picky")
    app.add(Builder.for_("v1/Pod").start_check(refuse).build(reconcile))
    with pytest.raises(UsageError, match="not on this server"):
        async with app.running(client=server.client):
            pass
    assert clients == [server.client]
    assert server.asked == []


def test_a_controller_keeps_its_apps_name() -> None:
    """Its Events are from the app that declared it, also where several run together."""
    jobs, others, together = App("job-controller"), App("others"), App("job-controller-others")
    jobs.add(Builder.for_("batch/v1/Job").build(reconcile))
    others.add(Builder.for_("v1/Pod").build(reconcile))
    for app in (jobs, others):
        for declaration in app.controllers:
            together.add(declaration)
    assert [one.component for one in together.controllers] == ["job-controller", "others"]


def test_controllers_of_one_app_share_a_recorder() -> None:
    """So that the bound on one object's Events holds for the program."""
    recorders = Recorders(Server().client, gate=lambda: None, clock=SYSTEM_CLOCK, hooks=Hooks())
    assert recorders.of("one") is recorders.of("one")
    assert recorders.of("one") is not recorders.of("other")
