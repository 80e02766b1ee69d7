"""The Job reconciler: claims the Pods, asks ``plan.sync`` what to do, does it, and writes what came of it.

Guarantees:
    * Each Pod that ends is counted at most once, and once if its Job lives (``plan.tracking``), whatever crashes when.
    * A Pod is deleted or stripped of its finalizer only if its controller reference carries this Job's uid.
    * Nothing is written to a Job that is not served, or is finished.

Assumptions: the framework has shown the cache this Job's own earlier writes, and has asked again for every lost answer,
before the key runs again. So no expectations are kept; a Pod's name makes a repeated create harmless. One thing that
wait cannot see: the patch that takes the last finalizer off a Pod that is being deleted is answered with the version
before the deletion. So the uids of Pods that were let go are remembered until the cache agrees.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count

import attrs

from reconcile import (
    Client,
    Context,
    DecodeError,
    Object,
    ObjectKey,
    Request,
    Result,
    TerminalError,
    UnknownOutcomeError,
)
from reconcile_job.lanes import Lanes
from reconcile_job.look import Look, Remembered
from reconcile_job.metrics import timed
from reconcile_job.orphans import strip_leftovers
from reconcile_job.plan.batch import pause_seconds
from reconcile_job.plan.options import Options
from reconcile_job.plan.server import suited
from reconcile_job.plan.sync import Memory
from reconcile_job.plan.view import JobView
from reconcile_job.refusals import raise_first, untrack_events

_log = logging.getLogger("reconcile.job")


@attrs.define
class JobReconciler:
    """Reconciles Jobs. One instance remembers the backoff of all its Jobs."""

    options: Options
    _lanes: Lanes = attrs.field(factory=Lanes)
    _remembered: dict[ObjectKey, Remembered] = attrs.field(factory=dict)
    _arrivals: Iterator[int] = attrs.field(factory=count)

    async def check_server(self, client: Client) -> None:
        """Adapt to the server's release. Raises UsageError where it is too old."""
        self.options, warning = suited((await client.version()).git_version, self.options)
        if warning:
            _log.warning("%s", warning)

    async def __call__(self, request: Request, context: Context, /) -> Result | None:
        job = context.get("batch/v1/Job", request.name)
        view = None if job is None else _view(job, context)
        leftovers = await strip_leftovers(context, request.key, view, self.options, self._lanes)
        if leftovers.has_asked:
            # Time has passed. Without its Job the cache shows none of a Job's Pods, and all would be made again.
            job = context.get("batch/v1/Job", request.name)
            view = None if job is None else _view(job, context)
        for event in untrack_events(leftovers.failures) if job is not None else ():
            context.event(event.reason, event.message, type=event.type, on=job)
        if job is None or view is None or view.status.is_finished or not self.options.serves(view.spec.managed_by):
            self._remembered.pop(request.key, None)
            raise_first(leftovers.failures)
            return None
        if _is_refused(view, context):
            return None
        remembered = self._remembered.get(request.key)
        if remembered is None or remembered.uid != view.uid:
            remembered = self._remembered[request.key] = Remembered(view.uid, next(self._arrivals))
        pause = pause_seconds(remembered.looked, context.now(), pods=remembered.pods)
        if pause > 0:
            return Result(pause)
        look = Look(context, job, view, self.options, self._lanes, remembered, leftovers.failures)
        try:
            with timed(context, view, lambda: look.action):
                return await look.run()
        except UnknownOutcomeError:
            # If the status was written, a failure that it counts is not new any more, and in no memory: the Pods tell.
            remembered.memory = Memory()
            raise
        finally:
            remembered.looked, remembered.pods = context.now(), len(look.pods)


def _view(job: Object, context: Context) -> JobView:
    try:
        return job.decode(JobView)
    except DecodeError as error:
        context.event("InvalidJob", str(error), type="Warning")
        raise TerminalError(str(error)) from error


def _is_refused(job: JobView, context: Context) -> bool:
    """A Job that this controller cannot run as it is meant is left alone, with an Event that says why."""
    if job.spec.completion_mode not in ("NonIndexed", "Indexed"):
        message = "Skipped Job sync because completion mode is unknown"
        context.event("UnknownCompletionMode", message, type="Warning")
        return True
    if job.spec.scheduling is not None:
        message = "Skipped Job sync because spec.scheduling is not supported by this controller"
        context.event("UnsupportedField", message, type="Warning")
        return True
    return False
