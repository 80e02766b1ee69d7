"""The examples do what they say, on a real API server."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
import yaml

from reconcile import (
    AlreadyExistsError,
    App,
    Client,
    Kind,
    MergePatch,
    NotFoundError,
    Object,
    ObjectKey,
    RunOptions,
    connect,
    controller_of,
    load_config,
)
from reconcile.client import writes
from reconcile.model.object import from_plain
from reconcile.model.write import Applied, Refused
from reconcile.testing.waiting import eventually

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> ModuleType:
    """The example's module, afresh: an app belongs to one run."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # annotations are looked up there
    spec.loader.exec_module(module)
    return module


class Cluster:
    """What a test says to the API server, in one namespace."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def key(self, name: str) -> ObjectKey:
        return ObjectKey(self.namespace, name)

    async def create(self, kind: str, name: str, *, labels: dict[str, str] | None = None, **members: Any) -> Object:
        resource = await self.client.resource(Kind.parse(kind))
        metadata: dict[str, Any] = {"name": name, "labels": labels or {}}
        if resource.namespaced:
            metadata["namespace"] = self.namespace
        body = {"apiVersion": resource.api_version, "kind": resource.kind.kind, "metadata": metadata, **members}
        outcome = await self.client.send(writes.create(resource, from_plain(body)))
        assert isinstance(outcome, Applied), outcome
        assert outcome.object is not None
        return outcome.object

    async def merge(self, kind: str, name: str, body: dict[str, Any], *, subresource: str = "") -> None:
        resource = await self.client.resource(Kind.parse(kind))
        patch = writes.patch(resource, self.key(name), MergePatch(body), subresource=subresource)
        outcome = await self.client.send(patch)
        assert isinstance(outcome, Applied), outcome

    async def delete(self, kind: str, name: str) -> None:
        resource = await self.client.resource(Kind.parse(kind))
        outcome = await self.client.send(writes.delete(resource, self.key(name)))
        assert isinstance(outcome, Applied), outcome

    async def get(self, kind: str, name: str) -> Object | None:
        try:
            return await self.client.get(await self.client.resource(Kind.parse(kind)), self.key(name))
        except NotFoundError:
            return None

    async def names(self, kind: str) -> set[str]:
        page = await self.client.list_page(await self.client.resource(Kind.parse(kind)), namespace=self.namespace)
        return {one.name for one in page.decode()[0]}

    async def define(self, manifest: str) -> None:
        """Create a CustomResourceDefinition, unless a test beside this one has, and wait until it is served."""
        body = yaml.safe_load((EXAMPLES / "manifests" / manifest).read_text())
        resource = await self.client.resource(Kind.parse("apiextensions.k8s.io/v1/CustomResourceDefinition"))
        outcome = await self.client.send(writes.create(resource, from_plain(body)))
        if isinstance(outcome, Refused):
            assert isinstance(outcome.error, AlreadyExistsError)
        key = ObjectKey("", body["metadata"]["name"])

        async def is_established() -> bool:
            conditions = ((await self.client.get(resource, key)).field("status") or {}).get(
                "conditions"
            ) or []  # null at first
            return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

        await eventually(is_established)

    def running(self, app: App) -> Any:
        return app.running(client=self.client, options=RunOptions(namespaces=(self.namespace,), missing_kinds="wait"))


@pytest_asyncio.fixture
async def cluster(namespace: str, kubeconfig: Path) -> AsyncIterator[Cluster]:
    async with connect(load_config(kubeconfig)) as client:
        yield Cluster(client, namespace)


@pytest.mark.asyncio
async def test_hello_greets_and_restores_its_greeting(cluster: Cluster) -> None:
    """A labelled ConfigMap gets a greeting of its own, which comes back when somebody deletes or changes it."""
    async with cluster.running(example("hello").app):
        world = await cluster.create("v1/ConfigMap", "world", labels={"hello": "World"})
        await cluster.create("v1/ConfigMap", "other")

        async def greeted() -> bool:
            greeting = await cluster.get("v1/ConfigMap", "world-greeting")
            return greeting is not None and greeting.field("data") == {"text": "Hello, World!"}

        await eventually(greeted)
        greeting = await cluster.get("v1/ConfigMap", "world-greeting")
        assert greeting is not None
        owner = controller_of(greeting)
        assert owner is not None
        assert owner.uid == world.uid

        await cluster.delete("v1/ConfigMap", "world-greeting")
        await eventually(greeted)
        await cluster.merge("v1/ConfigMap", "world-greeting", {"data": {"text": "Go away"}})
        await eventually(greeted)
        assert "other-greeting" not in await cluster.names("v1/ConfigMap")


@pytest.mark.asyncio
async def test_a_widget_owns_one_config_map_a_colour(cluster: Cluster) -> None:
    """Colours come and go with the spec, the status says how many there are, and a rest writes nothing."""
    await cluster.define("widget.yaml")
    rainbow = yaml.safe_load((EXAMPLES / "manifests" / "widget-rainbow.yaml").read_text())
    async with cluster.running(example("config_map_owner").app):
        await cluster.create("example.com/v1/Widget", "rainbow", spec=rainbow["spec"])

        async def settled(*names: str) -> bool:
            widget = await cluster.get("example.com/v1/Widget", "rainbow")
            assert widget is not None
            status = widget.field("status")
            is_told = status == {"observedGeneration": widget.metadata.generation, "ready": len(names)}
            return is_told and await cluster.names("v1/ConfigMap") == set(names)

        await eventually(lambda: settled("rainbow-red", "rainbow-orange", "rainbow-green"))
        await cluster.merge("example.com/v1/Widget", "rainbow", {"spec": {"colours": ["red", "blue"]}})
        await eventually(lambda: settled("rainbow-red", "rainbow-blue"))
        await cluster.delete("v1/ConfigMap", "rainbow-red")
        await eventually(lambda: settled("rainbow-red", "rainbow-blue"))


@pytest.mark.asyncio
async def test_an_album_adopts_by_label_and_releases(cluster: Cluster) -> None:
    """An orphan with the label is adopted, one that loses it is let go, one with another controller is left alone."""
    await cluster.define("album.yaml")
    album = await cluster.create("example.com/v1/Album", "summer")
    other = await cluster.create("example.com/v1/Album", "winter")
    label = {"example.com/album": "summer"}
    await cluster.create("v1/ConfigMap", "early", labels=label)
    async with cluster.running(example("labels_and_adoption").app):

        async def owner_of(name: str) -> str | None:
            picture = await cluster.get("v1/ConfigMap", name)
            assert picture is not None
            reference = controller_of(picture)
            return reference.uid if reference is not None else None

        async def is_owned(name: str, uid: str | None) -> bool:
            return await owner_of(name) == uid

        await eventually(lambda: is_owned("early", album.uid))
        await cluster.create("v1/ConfigMap", "late")
        await cluster.merge("v1/ConfigMap", "late", {"metadata": {"labels": label}})
        await eventually(lambda: is_owned("late", album.uid))

        await cluster.merge("v1/ConfigMap", "early", {"metadata": {"labels": {"example.com/album": "winter"}}})
        await eventually(lambda: is_owned("early", other.uid))
        await cluster.merge("v1/ConfigMap", "late", {"metadata": {"labels": {"example.com/album": None}}})
        await eventually(lambda: is_owned("late", None))
        assert await owner_of("early") == other.uid


@pytest.mark.asyncio
async def test_the_janitor_deletes_finished_pods_when_their_time_has_come(cluster: Cluster) -> None:
    """A finished Pod goes once its label's seconds are over; running ones, later ones and unlabelled ones stay."""
    spec = {"containers": [{"name": "main", "image": "example.com/none"}], "terminationGracePeriodSeconds": 0}

    async def pod(name: str, keep_seconds: str | None, phase: str, ended: datetime) -> None:
        labels = {} if keep_seconds is None else {"example.com/keep-seconds": keep_seconds}
        await cluster.create("v1/Pod", name, labels=labels, spec=spec)
        text = ended.strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"terminated": {"exitCode": 0, "finishedAt": text}} if phase != "Running" else {"running": {}}
        container = {"name": "main", "image": "example.com/none", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": phase, "containerStatuses": [{**container, "state": state}]}
        await cluster.merge("v1/Pod", name, {"status": status}, subresource="status")

    now = datetime.now(UTC)
    async with cluster.running(example("plain_kinds").app):
        await pod("running", "0", "Running", now)
        await pod("kept", "3600", "Succeeded", now)
        await pod("unlabelled", None, "Failed", now - timedelta(hours=1))
        await pod("nonsense", "soon", "Failed", now - timedelta(hours=1))
        await pod("old", "60", "Succeeded", now - timedelta(hours=1))
        await pod("soon", "2", "Failed", now)

        left = {"running", "kept", "unlabelled", "nonsense"}

        async def nothing_more() -> bool:
            return await cluster.names("v1/Pod") == left

        await eventually(nothing_more)


@pytest.mark.asyncio
async def test_a_finalizer_removes_the_outside_file(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file follows the object, and a deletion that nobody saw is made good by the next run."""
    monkeypatch.setenv("MIRROR_DIRECTORY", str(tmp_path))

    async def files() -> dict[str, str]:
        return {path.name.split(".")[1]: path.read_text() for path in tmp_path.iterdir()}

    async def holds(**wanted: str) -> bool:
        return await files() == wanted

    labels = {"mirror": "file"}
    async with cluster.running(example("finalizer").app):
        await cluster.create("v1/ConfigMap", "settings", labels=labels, data={"colour": "red"})
        await cluster.create("v1/ConfigMap", "other", labels=labels, data={"size": "1"})
        await eventually(lambda: holds(settings="colour=red\n", other="size=1\n"))
        await cluster.merge("v1/ConfigMap", "settings", {"data": {"colour": "blue"}})
        await eventually(lambda: holds(settings="colour=blue\n", other="size=1\n"))
        await cluster.merge("v1/ConfigMap", "settings", {"metadata": {"labels": {"mirror": None}}})
        await cluster.delete("v1/ConfigMap", "settings")
        await eventually(lambda: holds(other="size=1\n"))

        async def is_gone() -> bool:
            return await cluster.get("v1/ConfigMap", "settings") is None

        await eventually(is_gone)

    await cluster.delete("v1/ConfigMap", "other")
    waiting = await cluster.get("v1/ConfigMap", "other")
    assert waiting is not None
    assert waiting.is_deleting
    assert await holds(other="size=1\n")
    async with cluster.running(example("finalizer").app):
        await eventually(holds)
