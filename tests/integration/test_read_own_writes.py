"""Reading one's own writes, on the real API server behind a proxy that delays watches and loses answers."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from fault_proxy import FaultProxy

from reconcile import (
    App,
    Builder,
    Client,
    Context,
    JSONPatch,
    Kind,
    MergePatch,
    Object,
    ObjectKey,
    Request,
    RunOptions,
    connect,
)
from reconcile.client import writes
from reconcile.client.config import load_config
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import ConfigurationError
from reconcile.model.object import from_plain
from reconcile.model.write import Applied
from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

CONFIG_MAP = Kind.parse("v1/ConfigMap")
SECRET = Kind.parse("v1/Secret")


def longer_than(runs: list[str], length: int) -> bool:
    return len(runs) > length


def one_child_app(*, read_own_writes: bool, runs: list[str]) -> App:
    """A naive controller: where the cache shows no child, it makes one under a new name."""
    app = App("one-child")

    @app.controller(
        "v1/ConfigMap",
        owns=["v1/Secret"],
        labels="role=parent",
        read_own_writes=read_own_writes,
        settle_seconds_max=60.0,
    )
    async def one_child(obj: Object, ctx: Context) -> None:
        runs.append(obj.resource_version)
        if not ctx.owned("v1/Secret"):
            name = f"{obj.name}-{len(runs)}"
            await ctx.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})

    return app


async def make_parent(client: Client, namespace: str) -> None:
    resource = await client.resource(CONFIG_MAP)
    parent = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "parent", "namespace": namespace, "labels": {"role": "parent"}},
    }
    assert isinstance(await client.send(writes.create(resource, from_plain(parent))), Applied)


async def touch_parent(client: Client, namespace: str, value: str) -> None:
    resource = await client.resource(CONFIG_MAP)
    patch = writes.patch(resource, ObjectKey(namespace, "parent"), MergePatch({"data": {"touched": value}}))
    assert isinstance(await client.send(patch), Applied)


async def children(client: Client, namespace: str) -> int:
    page = await client.list_page(await client.resource(SECRET), namespace=namespace)
    return len(page.decode()[0])


async def touched_while_the_child_is_unseen(
    control_plane: ControlPlane, namespace: str, *, read_own_writes: bool
) -> tuple[int, list[str]]:
    """Touch the parent three times while the watch of children is held back. Gives the children made, and the runs."""
    runs: list[str] = []
    app = one_child_app(read_own_writes=read_own_writes, runs=runs)
    async with FaultProxy(control_plane) as proxy, connect(proxy.config) as client:
        proxy.held_watch = lambda request: request.path.endswith("/secrets")
        proxy.watches_flow.clear()
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
            await make_parent(client, namespace)
            await eventually(lambda: children(client, namespace))
            controller = manager.controllers[0]
            for number in range(3):
                before = len(runs)
                await touch_parent(client, namespace, str(number))
                if read_own_writes:
                    await eventually(lambda: controller.queue.statistics().parked == 1)
                else:
                    await eventually(functools.partial(longer_than, runs, before))
            made = await children(client, namespace)
            proxy.watches_flow.set()
            if read_own_writes:
                await eventually(lambda: len(runs) >= 2)
                await eventually(lambda: controller.queue.statistics().parked == 0)
                made = await children(client, namespace)
    return made, runs


@pytest.mark.asyncio
async def test_without_the_gate_a_delayed_watch_makes_duplicates(control_plane: ControlPlane, namespace: str) -> None:
    """What the gate prevents: each touch of the parent makes one more child, because the cache shows none."""
    made, runs = await touched_while_the_child_is_unseen(control_plane, namespace, read_own_writes=False)
    assert len(runs) >= 4
    assert made >= 4


@pytest.mark.asyncio
async def test_the_gate_parks_the_key_until_the_child_is_seen(control_plane: ControlPlane, namespace: str) -> None:
    """The same with the gate (the default): one child, and the touches are merged into one later run."""
    made, runs = await touched_while_the_child_is_unseen(control_plane, namespace, read_own_writes=True)
    assert made == 1
    assert 2 <= len(runs) <= 4


@pytest.mark.asyncio
async def test_a_lost_answer_is_asked_again_before_the_key_runs(control_plane: ControlPlane, namespace: str) -> None:
    """The create is executed and its answer lost: the identical request is sent again, and nothing is made twice."""
    lost: list[str] = []
    runs: list[str] = []

    def lose_first_create(request: Any) -> bool:
        if request.method == "POST" and request.path.endswith("/secrets") and not lost:
            lost.append(request.path)
            return True
        return False

    app = one_child_app(read_own_writes=True, runs=runs)
    async with FaultProxy(control_plane) as proxy, connect(proxy.config) as client:
        proxy.lose_answer = lose_first_create
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))):
            await make_parent(client, namespace)
            await eventually(lambda: len(runs) >= 2)
            assert lost, "the fault did not happen"
            assert await children(client, namespace) == 1
            assert proxy.count("POST", "/secrets") == 2, "sent once, and once more to learn what became of it"


@pytest.mark.asyncio
async def test_writes_to_objects_under_a_field_selector_cost_no_wait(
    control_plane: ControlPlane, namespace: str
) -> None:
    """Whether the selector admits an object is the server's knowledge, but one that is cached is heard of again."""
    runs: list[str] = []

    async def touch_once(request: Request, ctx: Context) -> None:
        parent = ctx.get(CONFIG_MAP, request.name)
        assert parent is not None
        runs.append(parent.resource_version)
        if len(runs) == 1:
            await ctx.patch(parent, MergePatch({"data": {"touched": "yes"}}))

    app = App("under-fields")
    app.add(Builder.for_(CONFIG_MAP, fields="metadata.name=parent").options(settle_seconds_max=300.0).build(touch_once))
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        await make_parent(client, namespace)
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
            await eventually(lambda: len(runs) >= 2)
            assert manager.controllers[0].freshness.statistics().timeouts_total == 0
            assert runs[0] != runs[1], "the second run saw the write of the first"


@pytest.mark.asyncio
async def test_an_append_whose_answer_was_lost_is_done_once(control_plane: ControlPlane, namespace: str) -> None:
    """A JSON patch carries the version unless told otherwise, so the identical request is refused the second time."""
    lost: list[str] = []

    def lose_first_patch(request: Any) -> bool:
        if request.method == "PATCH" and not lost:
            lost.append(request.path)
            return True
        return False

    app = App("append")

    @app.controller("discovery.k8s.io/v1/EndpointSlice")
    async def append(obj: Object, ctx: Context) -> None:
        if len(obj.field("endpoints")) == 1:
            second = {"addresses": ["10.0.0.2"]}
            await ctx.patch(obj, JSONPatch(({"op": "add", "path": "/endpoints/-", "value": second},)))

    async with FaultProxy(control_plane) as proxy, connect(proxy.config) as client:
        slices = await client.resource(Kind.parse("discovery.k8s.io/v1/EndpointSlice"))
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "slice", "namespace": namespace},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"]}],
        }
        assert isinstance(await client.send(writes.create(slices, from_plain(body))), Applied)
        proxy.lose_answer = lose_first_patch
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))):
            await eventually(lambda: proxy.count("PATCH", "/endpointslices/slice") >= 2)
        assert lost, "the fault did not happen"
        left = await client.get(slices, ObjectKey(namespace, "slice"))
        assert len(left.field("endpoints")) == 2


@pytest.mark.asyncio
async def test_a_credential_that_fails_while_a_lost_answer_is_asked_for_costs_no_worker(
    control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The write stays unknown and is asked for again; the controller, and so every other key, goes on."""
    lost: list[str] = []
    failures: list[str] = []
    runs: list[str] = []

    def lose_first_create(request: Any) -> bool:
        if request.method == "POST" and request.path.endswith("/secrets") and not lost:
            lost.append(request.path)
            return True
        return False

    async with FaultProxy(control_plane) as proxy, connect(proxy.config) as client:
        proxy.lose_answer = lose_first_create
        transport = client._transport
        send = transport.request

        async def request(asked: HTTPRequest) -> HTTPResponse:
            if lost and len(failures) < 2 and asked.path.endswith("/secrets"):
                failures.append(asked.path)
                raise ConfigurationError("exec plugin 'login' cannot be started")
            return await send(asked)

        monkeypatch.setattr(transport, "request", request)
        app = one_child_app(read_own_writes=True, runs=runs)
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))):
            await make_parent(client, namespace)
            await eventually(lambda: len(runs) >= 2)
    assert len(failures) == 2, "the fault did not happen"
    assert "still no answer (exec plugin 'login' cannot be started)" in caplog.text
    assert "controller one-child failed" not in caplog.text
    assert proxy.count("POST", "/secrets") == 2
