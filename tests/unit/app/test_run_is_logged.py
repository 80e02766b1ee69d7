"""What happens to a running app is in the log, whether the command line runs it or somebody's own program."""

from __future__ import annotations

import asyncio
import json

import pytest

from reconcile import App, Client, Context, Object
from reconcile.client.memory_transport import JSON_HEADERS, MemoryTransport
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.instrumentation.hooks import Fact, Quarantined

SERVED = {"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]}
LISTED = {
    "metadata": {"resourceVersion": "10"},
    "items": [{"metadata": {"name": "bad", "namespace": "default", "resourceVersion": "5", "labels": "none"}}],
}


async def answer(request: HTTPRequest) -> HTTPResponse:
    if dict(request.query).get("watch") == "true":
        await asyncio.Event().wait()
    body = SERVED if request.path == "/api/v1" else LISTED
    return HTTPResponse(200, JSON_HEADERS, json.dumps(body).encode())


@pytest.mark.asyncio
async def test_an_object_that_cannot_be_read_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """Once in the log, and once to the app's own listener, at every run."""
    app = App("reader")
    told: list[Fact] = []
    app.hook(told.append)

    @app.controller("v1/ConfigMap")
    async def reader(obj: Object, ctx: Context) -> None:
        """Nothing that can be read comes."""

    for runs in (1, 2):
        async with app.running(client=Client(MemoryTransport(answer))):
            pass
        assert caplog.text.count("configmaps default/bad cannot be decoded") == runs
        assert len([fact for fact in told if isinstance(fact, Quarantined)]) == runs
