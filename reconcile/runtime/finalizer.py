"""Finalizers for reconcile functions: work while the object lives, clean up before it goes.

Example::

    async def bucket(obj: Object, ctx: Context) -> Returned:
        return await finalize(ctx, obj, "example.com/bucket", apply=make_bucket, cleanup=delete_bucket)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_never

from reconcile.core import finalizer as rules
from reconcile.core.finalizer import Step
from reconcile.errors import NotFoundError
from reconcile.model.object import Object
from reconcile.model.patch import JSONPatch
from reconcile.reconciler import Context, Returned


async def finalize(
    ctx: Context,
    obj: Object,
    name: str,
    *,
    apply: Callable[[Object], Awaitable[Returned]],
    cleanup: Callable[[Object], Awaitable[Returned]],
) -> Returned:
    """Run ``apply`` while ``obj`` lives, and ``cleanup`` once it is being deleted.

    Guarantees:
        * ``apply`` runs only when the finalizer is on the object in the API server.
        * The finalizer is removed only after ``cleanup`` returned None. Until then the object stays.
        * Other finalizers are never touched.

    Assumptions: both functions are level-based, as a reconcile function is: they may run again after any failure, and
    ``cleanup`` may find its work done, or never begun.

    Args:
        ctx: the Context of this reconcile.
        obj: the object, from the cache.
        name: the finalizer: a domain of yours and a name.
        apply: the controller's work; what it returns is returned.
        cleanup: undoes it. None says that nothing is left; a duration or Result that it must be asked again.

    Raises:
        UsageError: ``name`` is no finalizer's name.
        ApiError: a patch was refused. 422 without a field and 409 mean that the object has changed since it was read.
    """
    rules.check_name(name)
    step = rules.next_step(obj, name)
    match step:
        case Step.ADD:
            return await apply(await _patch(ctx, obj, rules.adding(obj, name)))
        case Step.APPLY:
            return await apply(obj)
        case Step.CLEANUP:
            unfinished = await cleanup(obj)
            if unfinished is None:
                await _remove(ctx, obj, name)
            return unfinished
        case Step.NOTHING:
            return None
        case _:
            assert_never(step)


async def _remove(ctx: Context, obj: Object, name: str) -> None:
    try:
        await _patch(ctx, obj, rules.removing(obj, name))
    except NotFoundError:
        ctx.log.debug("%s is gone already", obj)


async def _patch(ctx: Context, obj: Object, patch: JSONPatch) -> Object:
    """Without the version: the patch tests the list itself, and ``cleanup`` may well have written to the object."""
    return await ctx.patch(obj, patch, resource_version=False)
