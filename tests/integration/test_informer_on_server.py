"""The informer against a real API server: first state, changes, selectors, rights, compaction, a kind that goes away."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from reconcile.client.api import Client
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.client.transport import ByteStream, HTTPRequest, HTTPResponse, Transport
from reconcile.core import reflector as machine
from reconcile.errors import TransportError
from reconcile.instrumentation.hooks import Fact, Hooks, WatchEnded
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Kind, Resource
from reconcile.model.scope import Scope
from reconcile.runtime.informer import Informer
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

CONFIG_MAPS = Resource(Kind("", "v1", "ConfigMap"), "configmaps")
SECONDS_MAX = 60.0


def client_for(kubeconfig: Path) -> Client:
    return connect(load_config(kubeconfig))


async def request(control_plane: ControlPlane, method: str, path: str, body: Any = None) -> Any:
    """As the administrator."""
    return await anyio.to_thread.run_sync(control_plane.rest.request, method, path, body)


async def create(
    control_plane: ControlPlane, namespace: str, name: str, *, labels: dict[str, str] | None = None
) -> None:
    body = {"metadata": {"name": name, "labels": labels or {}}, "data": {"a": "b"}}
    await request(control_plane, "POST", f"/api/v1/namespaces/{namespace}/configmaps", body)


async def delete(control_plane: ControlPlane, namespace: str, name: str) -> None:
    await request(control_plane, "DELETE", f"/api/v1/namespaces/{namespace}/configmaps/{name}")


class Heard:
    """What a subscriber was told, replayed: every ``old`` must be what the one before said."""

    def __init__(self, informer: Informer) -> None:
        self.view: dict[ObjectKey, str] = {}
        self.gone: list[str] = []
        self.changed = asyncio.Event()
        informer.subscribe(self._hear)
        informer.on_progress(self.changed.set)

    def _hear(self, deltas: Any) -> None:
        for delta in deltas:
            assert isinstance(delta, Delta)
            assert self.view.get(delta.key, "") == (delta.old.resource_version if delta.old is not None else "")
            if delta.new is None:
                del self.view[delta.key]
                self.gone.append(delta.key.name)
            else:
                self.view[delta.key] = delta.new.resource_version
        self.changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a change that makes it true."""
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: not within {SECONDS_MAX:g} s; heard of {sorted(self.view)}") from None


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[Heard]:
    heard = Heard(informer)
    async with anyio.create_task_group() as group:
        group.start_soon(informer.run)
        yield heard
        group.cancel_scope.cancel()


def names(informer: Informer, namespace: str) -> list[str]:
    return sorted(obj.name for obj in informer.store.list(namespace) if obj.name != "kube-root-ca.crt")


@pytest.mark.asyncio
@pytest.mark.parametrize("watch_list", [False, True], ids=["pages", "stream"])
async def test_the_first_state_and_all_that_follows(
    control_plane: ControlPlane, namespace: str, watch_list: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several pages, or a stream; then creations, changes and deletions; in the end cache and server agree."""
    monkeypatch.setattr(machine, "PAGE_SIZE", 5)
    for number in range(12):
        await create(control_plane, namespace, f"c{number:02}")
    async with client_for(control_plane.admin_kubeconfig) as client:
        informer = Informer(client, CONFIG_MAPS, scope=Scope((namespace,)), watch_list=watch_list)
        async with running(informer) as heard:
            await informer.wait_synced(SECONDS_MAX)
            assert names(informer, namespace) == [f"c{number:02}" for number in range(12)]
            await create(control_plane, namespace, "new")
            await delete(control_plane, namespace, "c03")
            path = f"/api/v1/namespaces/{namespace}/configmaps/c04"
            changed = await request(control_plane, "GET", path)
            changed["data"]["a"] = "c"
            changed = await request(control_plane, "PUT", path, changed)
            version = int(changed["metadata"]["resourceVersion"])
            await heard.until(lambda: (informer.version_of(namespace, {}) or 0) >= version, "the last write")
            listed = await request(control_plane, "GET", f"/api/v1/namespaces/{namespace}/configmaps")
            truth = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}
            assert {obj.name: obj.resource_version for obj in informer.store.list(namespace)} == truth
            assert {key.name: version for key, version in heard.view.items()} == truth
            cached = informer.store.get(ObjectKey(namespace, "c04"))
            assert cached is not None
            assert cached.field("data") == {"a": "c"}
            assert "managedFields" not in str(cached.to_dict())


@pytest.mark.asyncio
async def test_an_object_that_leaves_the_selector_leaves_the_cache(control_plane: ControlPlane, namespace: str) -> None:
    """And one that comes into it appears, though neither was created or deleted."""
    await create(control_plane, namespace, "in", labels={"app": "web"})
    await create(control_plane, namespace, "out", labels={"app": "db"})
    async with client_for(control_plane.admin_kubeconfig) as client:
        informer = Informer(client, CONFIG_MAPS, scope=Scope((namespace,)), label_selector="app in (web,api)")
        async with running(informer) as heard:
            await informer.wait_synced(SECONDS_MAX)
            assert names(informer, namespace) == ["in"]
            for name, app in (("in", "db"), ("out", "api")):
                path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
                changed = await request(control_plane, "GET", path)
                changed["metadata"]["labels"]["app"] = app
                await request(control_plane, "PUT", path, changed)
            await heard.until(lambda: names(informer, namespace) == ["out"], "both moves")
            assert heard.gone == ["in"]
            assert informer.version_of(namespace, {"app": "db"}) is None


@pytest.mark.asyncio
async def test_metadata_alone_can_be_cached(control_plane: ControlPlane, namespace: str) -> None:
    """Labels and owners without data, in the list and in the stream, under the objects' own kind."""
    await create(control_plane, namespace, "first", labels={"app": "web"})
    async with client_for(control_plane.admin_kubeconfig) as client:
        informer = Informer(client, CONFIG_MAPS, scope=Scope((namespace,)), metadata_only=True)
        async with running(informer) as heard:
            await informer.wait_synced(SECONDS_MAX)
            await create(control_plane, namespace, "second", labels={"app": "web"})
            await heard.until(lambda: names(informer, namespace) == ["first", "second"], "the second")
            for name in ("first", "second"):
                obj = informer.store.get(ObjectKey(namespace, name))
                assert obj is not None
                assert (obj.kind, dict(obj.labels), obj.rest) == (CONFIG_MAPS.kind, {"app": "web"}, b"")


@pytest.mark.asyncio
async def test_a_role_in_each_namespace_is_enough(control_plane: ControlPlane, namespace: str) -> None:
    """No request crosses the scope. Without the right the state names what is missing, and it recovers alone."""
    other = f"{namespace}-2"
    await request(control_plane, "POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    user = f"reader-{namespace}"
    await allow(control_plane, namespace, user)
    await create(control_plane, namespace, "a")
    await create(control_plane, other, "b")
    async with client_for(control_plane.kubeconfig(user=user)) as client:
        informer = Informer(client, CONFIG_MAPS, scope=Scope((namespace, other)))
        async with running(informer) as heard:
            await heard.until(lambda: bool(names(informer, namespace)), "the namespace that may be read")
            await eventually(lambda: informer.problems, seconds=SECONDS_MAX)
            (problem,) = informer.problems
            assert f'cannot list resource "configmaps" in API group "" in the namespace "{other}"' in problem
            assert not informer.has_synced
            await allow(control_plane, other, user)
            await informer.wait_synced(SECONDS_MAX)
            assert names(informer, other) == ["b"]
            assert informer.problems == []


async def allow(control_plane: ControlPlane, namespace: str, user: str) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}
    await request(control_plane, "POST", f"{path}/roles", {"metadata": {"name": "reader"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": user}],
    }
    await request(control_plane, "POST", f"{path}/rolebindings", binding)


WIDGETS = Resource(Kind("informer.example.com", "v1", "Widget"), "widgets")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def define_widgets(control_plane: ControlPlane) -> None:
    """Create the kind and wait until it is served."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    body = {
        "metadata": {"name": "widgets.informer.example.com"},
        "spec": {
            "group": WIDGETS.kind.group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await request(control_plane, "POST", DEFINITIONS, body)
    await until_answered(control_plane, f"/apis/{WIDGETS.api_version}/widgets", served=True)


async def until_answered(control_plane: ControlPlane, path: str, *, served: bool) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                await request(control_plane, "GET", path)
                if served:
                    return
            except Exception:
                if not served:
                    return
            await asyncio.sleep(0.1)


@pytest.mark.asyncio
async def test_a_kind_that_goes_away_and_comes_back(control_plane: ControlPlane, namespace: str) -> None:
    """The state says what is missing; once it is served again, what is gone is told as gone, and what is new as new.

    Until then its objects may stay: a server of several that does not know a kind yet answers 404 as well.
    """
    await define_widgets(control_plane)
    widget = {"apiVersion": WIDGETS.api_version, "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    objects = f"/apis/{WIDGETS.api_version}/namespaces/{namespace}/widgets"
    first = await request(control_plane, "POST", objects, widget)
    async with client_for(control_plane.admin_kubeconfig) as client:
        informer = Informer(client, WIDGETS)
        async with running(informer) as heard:
            await informer.wait_synced(SECONDS_MAX)
            await request(control_plane, "DELETE", f"{DEFINITIONS}/widgets.informer.example.com")
            await eventually(lambda: any("404" in problem for problem in informer.problems), seconds=SECONDS_MAX)
            await until_answered(control_plane, f"/apis/{WIDGETS.api_version}/widgets", served=False)
            await define_widgets(control_plane)
            second = await request(control_plane, "POST", objects, widget)
            version = second["metadata"]["resourceVersion"]
            await heard.until(lambda: heard.view.get(ObjectKey(namespace, "w")) == version, "the new object")
            assert heard.gone == ["w"]
            assert second["metadata"]["uid"] != first["metadata"]["uid"]
            assert informer.problems == []
            await request(control_plane, "DELETE", f"{DEFINITIONS}/widgets.informer.example.com")


class Breakable:
    """A real transport whose streams can be cut, and kept from coming back for a while."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._streams: set[anyio.CancelScope] = set()
        self.open = asyncio.Event()
        self.open.set()

    async def request(self, request: HTTPRequest, /) -> HTTPResponse:
        return await self._transport.request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def cut(self) -> None:
        """Once there is a stream to cut."""
        await eventually(lambda: self._streams, seconds=SECONDS_MAX)
        self.open.clear()
        for scope in self._streams:
            scope.cancel()

    @asynccontextmanager
    async def stream(self, request: HTTPRequest, /) -> AsyncIterator[ByteStream]:
        await self.open.wait()
        async with self._transport.stream(request) as stream:
            yield _Cuttable(stream, self._streams)


class _Cuttable:
    def __init__(self, stream: ByteStream, scopes: set[anyio.CancelScope]) -> None:
        self.status, self.headers = stream.status, stream.headers
        self.set_idle_deadline = stream.set_idle_deadline
        self._stream = stream
        self._scopes = scopes

    async def chunks(self, *, idle_seconds_max: float | None = None) -> AsyncGenerator[bytes, None]:
        source = self._stream.chunks(idle_seconds_max=idle_seconds_max)
        while True:
            with anyio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    chunk = await anext(source, b"")
                finally:
                    self._scopes.discard(scope)
            if scope.cancelled_caught:
                raise TransportError("cut by the test")
            if not chunk:
                return
            yield chunk


def compact(control_plane: ControlPlane) -> None:
    """Let etcd forget everything but the present, through its JSON gateway."""

    class EtcdConnection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(control_plane.directory / "localhost:2379"))

    def post(path: str, body: dict[str, Any]) -> Any:
        connection = EtcdConnection("etcd")
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200, answer
            return answer
        finally:
            connection.close()

    revision = post("/v3/kv/range", {"key": "YQ=="})["header"]["revision"]
    post("/v3/kv/compaction", {"revision": revision, "physical": True})


@pytest.mark.asyncio
async def test_a_compaction_during_a_disconnection_loses_nothing() -> None:
    """410 from a real server: listed again, with the deletion, the creation and the namesake in the gap told."""
    # Without the watch cache every watch is served from etcd, so that a compaction shows at once.
    config = ControlPlaneConfig(apiserver_arguments=("--watch-cache-sizes=configmaps#0",))
    facts: list[Fact] = []
    hooks = Hooks()
    hooks.add(facts.append)
    async with ControlPlane(config) as control_plane, client_for(control_plane.admin_kubeconfig) as real:
        for name in ("stays", "goes", "again"):
            await create(control_plane, "default", name)
        transport = Breakable(real._transport)
        informer = Informer(Client(transport), CONFIG_MAPS, scope=Scope(("default",)), hooks=hooks)
        async with running(informer) as heard:
            await informer.wait_synced(SECONDS_MAX)
            before = informer.store.get(ObjectKey("default", "again"))
            assert before is not None
            await transport.cut()
            await delete(control_plane, "default", "goes")
            await delete(control_plane, "default", "again")
            await create(control_plane, "default", "again")
            await create(control_plane, "default", "comes")
            await anyio.to_thread.run_sync(compact, control_plane)
            transport.open.set()
            await heard.until(lambda: informer.statistics().relists == 2, "the new list")
            assert names(informer, "default") == ["again", "comes", "stays"]
            assert sorted(heard.gone) == ["again", "goes"]
            after = informer.store.get(ObjectKey("default", "again"))
            assert after is not None
            assert after.uid != before.uid
    reasons = [fact.reason for fact in facts if isinstance(fact, WatchEnded)]
    assert "expired" in reasons, reasons
