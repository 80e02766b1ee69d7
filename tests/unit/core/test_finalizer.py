from __future__ import annotations

from datetime import timedelta

import pytest

from reconcile.core.finalizer import Step, adding, check_name, next_step, removing
from reconcile.errors import NotFoundError, Status, UsageError
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.patch import JSONPatch
from reconcile.model.resource import Kind
from reconcile.runtime.finalizer import finalize
from reconcile.testing.context import RecordingContext

OURS, THEIRS = "example.com/ours", "example.com/theirs"


def widget(*finalizers, deleting=False):
    deleted = "2026-01-01T00:00:00Z" if deleting else None
    metadata = ObjectMeta(
        name="w",
        namespace="n",
        uid="u",
        resource_version="7",
        finalizers=finalizers or None,
        deletion_timestamp=deleted,
    )
    return Object(Kind("example.com", "v1", "Widget"), metadata)


@pytest.mark.parametrize(
    ("obj", "step"),
    [
        (widget(), Step.ADD),
        (widget(THEIRS), Step.ADD),
        (widget(THEIRS, OURS), Step.APPLY),
        (widget(THEIRS, OURS, deleting=True), Step.CLEANUP),
        (widget(THEIRS, deleting=True), Step.NOTHING),
        (widget(deleting=True), Step.NOTHING),
    ],
)
def test_the_next_step_follows_from_the_object_alone(obj, step):
    """The table of the module."""
    assert next_step(obj, OURS) == step


def test_patches_change_one_entry_and_state_what_they_expect():
    """Never the list as a whole, unless there is none; then nothing may have changed."""
    assert adding(widget(), OURS).operations == (
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/metadata/finalizers", "value": [OURS]},
    )
    assert adding(widget(THEIRS), OURS).operations == (
        {"op": "test", "path": "/metadata/finalizers", "value": [THEIRS]},
        {"op": "add", "path": "/metadata/finalizers/-", "value": OURS},
    )
    assert removing(widget(THEIRS, OURS), OURS).operations == (
        {"op": "test", "path": "/metadata/finalizers/1", "value": OURS},
        {"op": "remove", "path": "/metadata/finalizers/1"},
    )


@pytest.mark.parametrize(
    "name", ["", "bucket", "example.com/", "/x", "Example.com/x", "a b/c", "example.com/a/b", "x" * 300 + "/a"]
)
def test_a_name_that_is_none_is_refused_before_anything_is_written(name):
    """The API server wants a qualified name for new finalizers."""
    with pytest.raises(UsageError, match="want a domain of yours"):
        check_name(name)


async def run(obj, *, unfinished=None, patch_error=None):
    calls = []
    context = RecordingContext(obj)
    if patch_error is not None:

        async def refuse(*_args, **_kwargs):
            raise patch_error

        context.patch = refuse

    async def apply(given):
        calls.append(("apply", len(context.writes), given.name))
        return timedelta(seconds=60)

    async def cleanup(given):
        calls.append(("cleanup", len(context.writes), given.name))
        return unfinished

    returned = await finalize(context, obj, OURS, apply=apply, cleanup=cleanup)
    return returned, calls, [write.patch for write in context.writes]


@pytest.mark.asyncio
async def test_the_finalizer_is_written_before_the_work_begins():
    """And what the work returns is returned."""
    returned, calls, patches = await run(widget())
    assert returned == timedelta(seconds=60)
    assert calls == [("apply", 1, "w")]
    assert patches == [adding(widget(), OURS)]


@pytest.mark.asyncio
async def test_with_the_finalizer_in_place_only_the_work_is_done():
    """Nothing is written for it."""
    _, calls, patches = await run(widget(OURS))
    assert (calls, patches) == ([("apply", 0, "w")], [])


@pytest.mark.asyncio
async def test_the_finalizer_is_removed_after_the_cleanup_is_finished():
    """In this order, and only ours."""
    returned, calls, patches = await run(widget(THEIRS, OURS, deleting=True))
    assert returned is None
    assert calls == [("cleanup", 0, "w")]
    assert patches == [removing(widget(THEIRS, OURS), OURS)]
    assert isinstance(patches[0], JSONPatch)


@pytest.mark.asyncio
async def test_an_unfinished_cleanup_keeps_the_finalizer_and_comes_back():
    """Its duration is the reconcile's."""
    returned, _, patches = await run(widget(OURS, deleting=True), unfinished=timedelta(seconds=5))
    assert (returned, patches) == (timedelta(seconds=5), [])


@pytest.mark.asyncio
async def test_an_object_that_went_meanwhile_is_success():
    """Somebody else removed the finalizer."""
    gone = NotFoundError("patch", Status(404, "NotFound"))
    returned, calls, _ = await run(widget(OURS, deleting=True), patch_error=gone)
    assert (returned, len(calls)) == (None, 1)


@pytest.mark.asyncio
async def test_what_is_deleted_and_not_ours_is_left_alone():
    """Neither function runs."""
    assert await run(widget(THEIRS, deleting=True)) == (None, [], [])
