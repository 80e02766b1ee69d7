"""Declaring controllers: the builder, the decorator, and what they refuse."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconcile import (
    App,
    Builder,
    Context,
    Object,
    ObjectKey,
    RunOptions,
    TerminalError,
    UsageError,
    generation_changed,
)
from reconcile.reconciler import Request
from reconcile.testing.context import RecordingContext


class WidgetSpec(msgspec.Struct, frozen=True):
    size: int = 0


class Widget(msgspec.Struct, frozen=True):
    metadata: dict[str, Any]
    spec: WidgetSpec = WidgetSpec()


@dataclass
class PlainWidget:
    metadata: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)


WIDGET = {
    "apiVersion": "example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "one", "namespace": "default", "uid": "u1"},
    "spec": {"size": 3},
}


def test_for_owns_and_watches_make_one_watch_each_in_order() -> None:
    """The first watch is the reconciled kind; owned kinds wake their controller."""
    declaration = (
        Builder.for_("batch/v1/Job", name="jobs")
        .owns("v1/Pod")
        .watches("v1/Node", enqueue=lambda delta: (delta.key,))
        .where(generation_changed)
        .options(workers=7)
        .build(lambda request, context: _done())
    )
    assert [str(watch.kind) for watch in declaration.watches] == ["batch/v1/Job", "v1/Pod", "v1/Node"]
    assert declaration.watches[1].enqueue is None, "None stands for the controller owner"
    assert declaration.watches[0].predicate is not None
    assert declaration.options.workers == 7
    assert declaration.options.field_manager == "jobs"


async def _done() -> None:
    return None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Builder.for_("Pod"), "'version/Kind' or 'group/version/Kind'"),
        (lambda: Builder.for_("v1/pod"), "'pod' is not a kind"),
        (lambda: Builder.for_("v1/Pod", name="No Good"), "controller name 'No Good'"),
        (lambda: Builder.for_("v1/Pod", labels="a in b"), "a in b"),
        (lambda: Builder.for_("v1/Pod").owns("x/y/z/v1/Pod"), "x/y/z/v1/Pod"),
        (
            lambda: Builder.for_("v1/Pod").owns("v1/Pod", priority=1001),
            "priority=1001: want a number from -1000 to 1000",
        ),
        (lambda: Builder.for_("v1/Pod").options(wrokers=3), "no option 'wrokers'"),
        (lambda: Builder.for_("v1/Pod").options(workers=0), "workers=0"),
        (lambda: Builder.for_("v1/Pod").options(workers=2.5), "workers=2.5: want a whole number"),
        (lambda: Builder.for_("v1/Pod").options(workers="4"), "workers='4'"),
        (lambda: Builder.for_("v1/Pod").options(timeout_seconds=-1), "timeout_seconds=-1"),
        (lambda: Builder.for_("v1/Pod").options(resync_seconds="60"), "resync_seconds='60'"),
        (lambda: Builder.for_("v1/Pod").options(retry_seconds_max=float("inf")), "retry_seconds_max=inf"),
        (lambda: RunOptions(workers=-1), "RunOptions.workers=-1"),
        (lambda: RunOptions(namespaces="default"), "RunOptions.namespaces='default': want a tuple"),  # type: ignore[arg-type]  the mistake
        (lambda: RunOptions(drain_seconds=-1), "RunOptions.drain_seconds=-1"),
    ],
)
def test_a_wrong_declaration_names_what_is_wrong(make: Any, says: str) -> None:
    """Each error names the offending word."""
    with pytest.raises(UsageError) as caught:
        make()
    assert says in str(caught.value)


def test_two_controllers_of_one_name_are_refused() -> None:
    """Names are metric labels and field managers, so they must differ."""
    app = App("two")

    @app.controller("v1/Pod")
    async def same(obj: Object, ctx: Context) -> None: ...

    with pytest.raises(UsageError, match="has a controller 'same' already"):
        app.controller("v1/Node", name="same")(same.function)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [dict, dict[str, Any], Object, Widget, PlainWidget])
async def test_the_annotation_says_how_the_object_is_decoded(kind: Any) -> None:
    """dict, Object, Struct and dataclass all arrive as annotated."""
    app = App("kinds")
    seen: list[Any] = []

    async def controller(obj: Any, ctx: Context) -> timedelta:
        seen.append(obj)
        return timedelta(seconds=5)

    controller.__annotations__["obj"] = kind
    declared = app.controller("example.com/v1/Widget")(controller)
    returned = await declared.declaration.reconciler(Request(ObjectKey("default", "one")), RecordingContext(WIDGET))
    assert returned == timedelta(seconds=5)
    assert isinstance(seen[0], dict if kind == dict[str, Any] else kind)


@pytest.mark.asyncio
async def test_a_missing_object_reaches_the_function_only_if_it_asks() -> None:
    """``X | None`` asks; ``X`` does not."""
    app = App("missing")
    seen: list[object] = []

    @app.controller("v1/ConfigMap")
    async def present(obj: Object, ctx: Context) -> None:
        seen.append(obj)

    @app.controller("v1/ConfigMap")
    async def either(obj: Object | None, ctx: Context) -> None:
        seen.append(obj)

    context = RecordingContext(key=ObjectKey("default", "gone"))
    for one in (present, either):
        await one.declaration.reconciler(context.request, context)
    assert seen == [None]


@pytest.mark.asyncio
async def test_an_object_without_the_label_is_missing_though_another_watch_holds_it() -> None:
    """``labels`` says what the function is given, whatever else of its kind is cached for ``owns``."""
    app = App("labelled")
    seen: list[object] = []

    @app.controller("v1/ConfigMap", labels="hello", owns=["v1/ConfigMap"])
    async def greet(obj: Object | None, ctx: Context) -> None:
        seen.append(obj and obj.name)

    for labels in ({"hello": "World"}, {}):
        metadata = {"name": "one", "namespace": "default", "labels": labels}
        context = RecordingContext({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        await greet.declaration.reconciler(context.request, context)
    assert seen == ["one", None]


def test_what_is_no_async_function_of_two_is_refused_at_declaration() -> None:
    """Each would fail at its first reconcile, and for ever."""

    def plain(obj: Object, ctx: Context) -> None: ...

    async def three(obj: Object, ctx: Context, extra: int) -> None: ...

    for number, wrong in enumerate((plain, three, lambda obj, ctx: None, object())):
        with pytest.raises(UsageError, match="want 'async def f"):
            App("wrong").controller("v1/ConfigMap", name=f"wrong-{number}")(wrong)  # type: ignore[arg-type]  the mistake


@pytest.mark.asyncio
async def test_an_object_of_the_wrong_shape_is_terminal_and_tells_its_owner() -> None:
    """Trying again cannot help until the object changes; an Event says why."""
    app = App("shape")

    @app.controller("example.com/v1/Widget")
    async def widget(obj: Widget, ctx: Context) -> None: ...

    context = RecordingContext({**WIDGET, "spec": {"size": "many"}})
    with pytest.raises(TerminalError, match=r"Widget default/one.*size"):
        await widget.declaration.reconciler(context.request, context)
    assert [(event.type, event.reason) for event in context.events] == [("Warning", "InvalidObject")]


@pytest.mark.asyncio
async def test_a_declared_function_is_unit_tested_by_calling_it() -> None:
    """The decorator keeps the function callable with an object and a recording Context."""
    app = App("unit")

    @app.controller("example.com/v1/Widget", owns=["v1/ConfigMap"])
    async def widget(obj: Widget, ctx: Context) -> None:
        await ctx.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"size": "3"}})
        await ctx.patch_status({"ready": True})

    context = RecordingContext(WIDGET)
    await widget(Widget(metadata={"name": "one"}), context)
    assert [write.verb for write in context.writes] == ["apply", "patch_status"]
    assert context.writes[0].object.owner_references[0].uid == "u1"
    assert context.writes[0].object.namespace == "default"


def test_annotations_that_cannot_be_resolved_are_refused_at_declaration() -> None:
    """Not at the first reconcile, hours later."""
    app = App("late")

    async def controller(obj: Any, ctx: Context) -> None: ...

    controller.__annotations__["obj"] = "Nowhere"
    with pytest.raises(UsageError, match="cannot be resolved"):
        app.controller("v1/Pod")(controller)

    async def none(ctx: Context) -> None: ...

    with pytest.raises(UsageError, match=r"want 'async def f\(obj, ctx\)'"):
        app.controller("v1/Pod")(none)  # type: ignore[arg-type]  # what the test is about


def test_setup_runs_once_with_the_parsed_flags() -> None:
    """An app whose controllers depend on flags registers them when the flags are known."""
    seen: list[str] = []

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--colour", default="blue")

    def setup(app: App, options: argparse.Namespace) -> None:
        seen.append(options.colour)
        app.add(Builder.for_("v1/Pod").build(lambda request, context: _done()))

    app = App("flags", arguments=arguments, setup=setup)
    parser = argparse.ArgumentParser()
    app.add_arguments(parser)
    app.configure(parser.parse_args(["--colour", "red"]))
    app.configure(parser.parse_args([]))
    assert seen == ["red"]
    assert len(app.controllers) == 1
