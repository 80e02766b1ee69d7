"""The API as users type it. Never run: mypy --strict and pyright read it, in `make test`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import attrs
import msgspec

from reconcile import (
    App,
    ApplyPatch,
    Client,
    Context,
    Counter,
    DeclaredController,
    Histogram,
    JSONPatch,
    Kind,
    MergePatch,
    Object,
    ObjectKey,
    ObjectMeta,
    Reconciler,
    Request,
    Result,
    Right,
    RunOptions,
    StrategicMergePatch,
    all_of,
    child_name,
    connect,
    controller_of,
    generation_changed,
    labels_changed,
    load_config,
    mapped,
    not_,
)
from reconcile.client import writes
from reconcile.model.write import Applied, Refused, Unknown
from reconcile.testing.context import RecordingContext

app = App("typing")


# -- objects of any class --------------------------------------------------------------------------------------------


class Spec(msgspec.Struct, frozen=True):
    replicas: int = 1


class Widget(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: Spec


@attrs.frozen
class Gadget:
    metadata: ObjectMeta


@dataclass
class Gizmo:
    metadata: ObjectMeta


@app.controller(
    "example.com/v1/Widget",
    owns=["v1/ConfigMap", Kind("", "v1", "Secret")],
    needs=[Right("example.com/v1/Widget", ["patch"], "status"), Right(Kind("", "v1", "Secret"), ("get",))],
)
async def widget(obj: Widget, ctx: Context) -> None:
    assert_type(obj.spec.replicas, int)
    await ctx.patch_status({"ready": True})


GADGETS = Counter("gadgets_total", "Looks at gadgets", labels=("color",))
SECONDS = Histogram("gadget_seconds", "How long it took", buckets=(0.1, 1.0))


@app.controller(
    "example.com/v1/Gadget", where=all_of(generation_changed, not_(labels_changed)), metrics=[GADGETS, SECONDS]
)
async def gadget(obj: Gadget, ctx: Context) -> Result:
    ctx.report(GADGETS, 1, "red")
    ctx.report(SECONDS, 0.5)
    ctx.event("Seen", f"{obj.metadata.name} was seen")
    return Result(requeue_after_seconds=60.0)


@app.controller("example.com/v1/Gizmo", labels="tier=backend", workers=8, timeout_seconds=30.0)
async def gizmo(obj: Gizmo, ctx: Context) -> timedelta | None:
    return timedelta(minutes=1) if ctx.owned("v1/Pod") else None


@app.controller("v1/ConfigMap")
async def plain(obj: dict[str, Any], ctx: Context) -> None:
    ctx.log.info("%s", obj["metadata"]["name"])


@app.controller("v1/Secret")
async def missing_too(obj: Object | None, ctx: Context) -> None:
    if obj is None:
        ctx.log.info("%s is gone", ctx.request.key)


assert_type(widget, DeclaredController[Widget])


# -- the context -----------------------------------------------------------------------------------------------------


async def everything(obj: Object, ctx: Context) -> None:
    assert_type(ctx.get("v1/Pod", "web"), Object | None)
    assert_type(ctx.list("v1/Pod", labels={"app": "web"}), Sequence[Object])
    assert_type(ctx.indexed("v1/Pod", "node", "n1"), Sequence[Object])
    assert_type(await ctx.read("v1/Pod", "web", namespace="default"), Object)
    pod = await ctx.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": child_name(obj, 0)}})
    assert_type(pod.decode(Widget), Widget)
    assert_type(pod.labels.get("app"), str | None)
    await ctx.patch(pod, MergePatch({"metadata": {"labels": {"a": "b"}}}), resource_version=True)
    await ctx.patch(pod, StrategicMergePatch({"spec": {}}))
    await ctx.patch(pod, JSONPatch(({"op": "remove", "path": "/metadata/labels/a"},)))
    await ctx.update(pod, subresource="status")
    await ctx.delete(pod, propagation="Background", grace_period_seconds=0)
    await ctx.evict(pod)
    assert_type(await ctx.offload(sum, [1, 2]), int)
    owner = controller_of(pod)
    if owner is not None:
        assert_type(owner.uid, str)


# -- the long form ---------------------------------------------------------------------------------------------------


def node_of(pod: Object) -> Iterable[ObjectKey]:
    return [ObjectKey("", "node")]


async def function(request: Request, ctx: Context) -> Result | None:
    return Result() if ctx.get("v1/Node", request.name) else None


@attrs.frozen
class NodeReconciler:
    limit: int

    async def __call__(self, request: Request, ctx: Context, /) -> None:
        ctx.log.info("%s of %d", request.key, self.limit)


reconciler: Reconciler = NodeReconciler(3)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=3)


def setup(app: App, options: argparse.Namespace) -> None:
    app.add(app.builder("v1/Node").watches("v1/Pod", enqueue=mapped(node_of)).build(NodeReconciler(options.limit)))


long_form = App("nodes", arguments=arguments, setup=setup)
long_form.add(long_form.builder("v1/Node", name="other").options(workers=2).build(function))


# -- running, clients, tests -----------------------------------------------------------------------------------------


async def embedded() -> None:
    async with app.running(options=RunOptions(namespaces=("default",))) as manager:
        assert_type(manager.is_leading, bool)


async def client() -> None:
    async with connect(load_config("kubeconfig", context="other")) as other:
        assert_type(other, Client)
        resource = await other.resource(Kind.parse("v1/Pod"))
        outcome = await other.send(writes.patch(resource, ObjectKey("default", "web"), ApplyPatch({}, "me")))
        assert_type(outcome, Applied | Refused | Unknown)


async def unit_test() -> None:
    context = RecordingContext({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    await widget(Widget(ObjectMeta(name="a"), Spec()), context)
    assert_type(context.writes[0].object.name, str)
    as_context: Context = context
    await everything(Object(Kind("", "v1", "Pod"), ObjectMeta()), as_context)
