"""Pods without a Job: their finalizers go, and Jobs adopt those that match.

A Pod keeps the tracking finalizer until somebody has counted it. Where its Job is gone or finished, or it has lost its
controller reference, nobody will, and the Pod would stay for ever (kubernetes/kubernetes#109485). Pods of other
controllers, and of Jobs that others manage, are left alone (kubernetes/kubernetes#124798).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from reconcile import (
    ConflictError,
    Context,
    InvalidError,
    NotFoundError,
    Object,
    ObjectKey,
    Request,
    StrategicMergePatch,
    controller_of,
)
from reconcile_job.lanes import Failure, Lanes, Urgency
from reconcile_job.plan.claims import Claim, adoption, claim, job_reference, selector_of, unowned_under, untracking
from reconcile_job.plan.options import Options
from reconcile_job.plan.view import JobView


async def adopt(
    context: Context, job: JobView, pods: Sequence[Object], finalizer: str, lanes: Lanes
) -> list[Object | Failure | None]:
    """Make these Pods the Job's own, after asking the server whether the Job is still the one that the cache shows.

    Gives each Pod as it is afterwards, or None for one that is gone or another controller's by now.
    """
    name, namespace = job.metadata.name, job.metadata.namespace
    try:
        live = await context.read("batch/v1/Job", name, namespace=namespace)
    except NotFoundError:
        return []
    if live.uid != job.uid or live.is_deleting:
        return []

    async def one(pod: Object) -> Object | None:
        try:
            return await context.patch(pod, StrategicMergePatch(adoption(job, finalizer)))
        except (NotFoundError, InvalidError) as error:
            # Invalid: it has got another controller meanwhile, and there can be only one.
            context.log.debug("%s could not be adopted: %s", pod, error)
            return None

    return await lanes.each(pods, one, Urgency.DELETE, live.metadata.creation_timestamp or "")


@attrs.define
class Leftovers:
    """What became of the finalizers that nobody needs.

    Attributes:
        has_asked: whether the server was asked, so that time has passed.
        failures: of those that could not be taken off.
    """

    has_asked: bool = False
    failures: list[Failure] = attrs.field(factory=list)


async def strip_leftovers(
    context: Context, key: ObjectKey, job: JobView | None, options: Options, lanes: Lanes
) -> Leftovers:
    """Take the finalizer off Pods whose Job, of this name, is gone, was replaced by a namesake, or is finished."""
    uid = "" if job is None else job.uid
    found: list[Object] = []
    strangers: list[Object] = []
    for pod in context.indexed("v1/Pod", "tracked", str(key)):
        if _controller_uid(pod) != uid:
            strangers.append(pod)
        elif job is not None and job.status.is_finished and options.serves(job.spec.managed_by):
            found.append(pod)
    if strangers:
        # The cache of Jobs may be behind that of Pods: a Job that it does not show yet still has to count its Pods.
        try:
            live = (await context.read("batch/v1/Job", key.name, namespace=key.namespace)).uid
        except NotFoundError:
            live = ""
        found.extend(pod for pod in strangers if _controller_uid(pod) != live)

    async def one(pod: Object) -> None:
        try:
            await context.patch(pod, StrategicMergePatch(untracking(options.finalizer)))
        except NotFoundError:
            context.log.debug("%s is gone already", pod)

    results = await lanes.each(found, one, Urgency.COUNT, "")
    return Leftovers(bool(found or strangers), [result for result in results if result is not None])


def _controller_uid(pod: Object) -> str:
    reference = job_reference(pod)
    return "" if reference is None else reference.uid


@attrs.define
class UnownedPodReconciler:
    """Reconciles Pods that have no controller: takes the finalizer off, or finds the Job that adopts them."""

    options: Options
    _lanes: Lanes = attrs.field(factory=Lanes)

    async def __call__(self, request: Request, context: Context, /) -> None:
        pod = context.get("v1/Pod", request.name)
        if pod is None or controller_of(pod) is not None:
            return
        if self.options.finalizer in pod.finalizers:
            # Only as the cache shows it: a Job that adopts it at this moment puts the finalizer on as well.
            try:
                patch = StrategicMergePatch(untracking(self.options.finalizer))
                await context.patch(pod, patch, resource_version=True)
            except (NotFoundError, ConflictError) as error:
                context.log.debug("%s changed meanwhile, and comes again if need be: %s", pod, error)
            return
        for job in self._candidates(pod, context):
            selector = selector_of(job)
            if selector is None or not self.options.serves(job.spec.managed_by):
                continue
            if claim(job, selector, pod) is Claim.TO_ADOPT:
                for result in await adopt(context, job, [pod], self.options.finalizer, self._lanes):
                    if isinstance(result, Exception):
                        raise result
                return

    def _candidates(self, pod: Object, context: Context) -> list[JobView]:
        """The Jobs that may select the Pod: the one whose uid its label says, and those whose selector a user wrote."""
        jobs = [job for value in unowned_under(pod) for job in context.indexed("batch/v1/Job", "selecting", value)]
        found = {job.uid: job.decode(JobView) for job in jobs}
        return sorted(found.values(), key=lambda job: (str(job.metadata.creation_timestamp), job.uid))
