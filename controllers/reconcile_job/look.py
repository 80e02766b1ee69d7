"""One look at one Job: claim its Pods, ask ``plan.sync`` what to do, do it, and write what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import attrs

from reconcile import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    Context,
    InvalidError,
    NotFoundError,
    Object,
    Result,
    StrategicMergePatch,
    TerminalError,
    TransportError,
    UnknownOutcomeError,
    controller_of,
)
from reconcile_job import metrics
from reconcile_job.lanes import Failure, Lanes, Urgency
from reconcile_job.orphans import adopt
from reconcile_job.plan.batch import report_hold_seconds
from reconcile_job.plan.claims import Claim, claim, release, selector_of, tracking, unowned_value, untracking
from reconcile_job.plan.manage import Deletion
from reconcile_job.plan.options import RETRY_SECONDS_MAX, RETRY_SECONDS_MIN, Options
from reconcile_job.plan.pods import PodOrder
from reconcile_job.plan.status import render
from reconcile_job.plan.sync import Accounting, Done, Event, Memory, Plan, decide
from reconcile_job.plan.view import JobStatus, JobView, PodView
from reconcile_job.refusals import raise_first, refusal_events, says_namespace_terminating, untrack_events

T = TypeVar("T")

NAMED_IN_EVENT_MAX = 10
"""Pods named in one Event; a message may have 1 024 characters."""

CONFLICT_SECONDS = 1.0
"""When to look again at a Pod that changed while it was to be deleted, should its own event be late."""


@attrs.define
class Remembered:
    """What is kept of one Job between looks.

    Attributes:
        arrival: a number that is higher for Jobs that were first looked at later.
        memory: the plan's.
        released: uids of Pods whose finalizers are away.
        looked, pods: when the last look ended, and how many Pods it saw.
        report_wanted: since when a status that counts nothing is held.
        failed_looks: how many in a row have had a write refused.
    """

    uid: str
    arrival: int
    memory: Memory = attrs.field(factory=Memory)
    released: set[str] = attrs.field(factory=set)
    looked: datetime | None = None
    pods: int = 0
    report_wanted: datetime | None = None
    failed_looks: int = 0


@attrs.define
class Look:
    """One look at one Job. The order of its writes is explained in ``plan.sync``.

    Attributes:
        leftovers: what could not be done before it, and is no reason not to look.
    """

    context: Context
    job: Object
    view: JobView
    options: Options
    lanes: Lanes
    remembered: Remembered
    leftovers: Sequence[Failure] = ()
    pods: dict[str, Object] = attrs.field(factory=dict)
    failures: list[Failure] = attrs.field(factory=list)
    deleted: set[str] = attrs.field(factory=set)
    conflicts: bool = False
    action: str = metrics.RECONCILING

    async def run(self) -> Result | None:
        await self._claim()
        plan = decide(
            self.view,
            self._views(),
            now=self.context.now(),
            memory=self.remembered.memory,
            options=self.options,
            is_taken=lambda name: self.context.get("v1/Pod", name) is not None,
        )
        self.action = metrics.action_of(plan)
        done = await self._change_pods(plan)
        accounting = plan.account(done, self.context.now())
        hold_seconds = accounting.hold_seconds or self._report_hold_seconds(accounting)
        if hold_seconds <= 0:
            try:
                await self._count(accounting)
            except NotFoundError:
                # The Job went meanwhile; its deletion brings the key again, and the Pods are let go then.
                return None
        self.failures.extend(self.leftovers)
        return self._fail_or_wait(self._look_again(plan, hold_seconds))

    def _views(self) -> list[PodView]:
        """The Pods as the plan shall see them: without the finalizers that are away already."""
        finalizer, released = self.options.finalizer, self.remembered.released
        released &= {uid for uid, pod in self.pods.items() if finalizer in pod.finalizers}
        views = [pod.decode(PodView) for pod in self.pods.values()]
        return [view.without_finalizer(finalizer) if view.uid in released else view for view in views]

    def _report_hold_seconds(self, accounting: Accounting) -> float:
        now = self.context.now()
        if not accounting.is_report or not self.lanes.is_busy or accounting.status == self.view.status:
            return 0.0
        hold_seconds = report_hold_seconds(self.remembered.report_wanted, now)
        self.remembered.report_wanted = self.remembered.report_wanted or now
        return hold_seconds

    def _look_again(self, plan: Plan, hold_seconds: float) -> Result | None:
        waits = [
            plan.look_again_seconds,
            hold_seconds or None,
            CONFLICT_SECONDS if self.conflicts else None,
        ]
        known = [wait for wait in waits if wait is not None]
        return Result(max(0.0, min(known))) if known else None

    def _fail_or_wait(self, due: Result | None) -> Result | None:
        """Raise what failed, so that it is retried; but what falls due before that (a deadline) must not be late."""
        remembered = self.remembered
        remembered.failed_looks = remembered.failed_looks + 1 if self.failures else 0
        if not self.failures:
            return due
        retry_seconds = min(RETRY_SECONDS_MIN * 2 ** min(remembered.failed_looks - 1, 10), RETRY_SECONDS_MAX)
        seconds = None if due is None else due.requeue_after_seconds
        if seconds is not None and seconds < retry_seconds and all(isinstance(one, ApiError) for one in self.failures):
            self.context.log.error("a write was refused, and something is due in %.3f s: %s", seconds, self.failures[0])
            return due
        raise_first(self.failures)
        return None

    # -- claiming -------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        """Fill ``pods`` with the Job's own. A claim that fails fails the look: it would count wrongly."""
        selector = selector_of(self.view)
        if selector is None:
            raise TerminalError(
                f"{self.job} has no spec.selector, which the API server generates or demands: delete the Job, and "
                f"create it again"
            )
        unowned = self.context.indexed("v1/Pod", "unowned", unowned_value(self.view))
        verdicts = [(pod, claim(self.view, selector, pod)) for pod in (*self.context.owned("v1/Pod"), *unowned)]
        self.pods = {pod.uid: pod for pod, verdict in verdicts if verdict is Claim.OWNED}
        to_release = [pod for pod, verdict in verdicts if verdict is Claim.TO_RELEASE]
        to_adopt = [pod for pod, verdict in verdicts if verdict is Claim.TO_ADOPT]
        if to_release:
            self._note(await self.lanes.each(to_release, self._release, Urgency.DELETE, self._age))
        if to_adopt:
            adopted = await adopt(self.context, self.view, to_adopt, self.options.finalizer, self.lanes)
            self.pods |= {pod.uid: pod for pod in self._note(adopted) if pod is not None}
        if self.failures:
            raise self.failures[0]

    async def _release(self, pod: Object) -> None:
        try:
            await self.context.patch(pod, StrategicMergePatch(release(self.view, self.options.finalizer)))
        except (NotFoundError, InvalidError):
            self.context.log.debug("%s went before it could be released", pod)

    # -- Pods -----------------------------------------------------------------------------------------------------

    async def _change_pods(self, plan: Plan) -> Done:
        if plan.retracked:
            pods = [self.pods[pod.uid] for pod in plan.retracked]
            self._note(await self.lanes.each(pods, self._track, Urgency.DELETE, self._age))
        deleted = await self._delete(plan.deletions)
        created = await self._create(plan)
        return Done(frozenset(deleted), len(created))

    async def _track(self, pod: Object) -> None:
        try:
            await self.context.patch(pod, StrategicMergePatch(tracking(self.options.finalizer)), resource_version=True)
            self.remembered.released.discard(pod.uid)
        except (ConflictError, NotFoundError):
            self.conflicts = True

    async def _delete(self, deletions: Sequence[Deletion]) -> list[str]:
        if not deletions:
            return []
        results = await self.lanes.each(deletions, self._delete_one, Urgency.DELETE, self._age)
        deleted = self._note(results)
        self._tell(_batch("SuccessfulDelete", "Deleted", [pod.name for pod in deleted if pod is not None]))
        self._tell(refusal_events("FailedDelete", "Error deleting", results))
        return [pod.uid for pod in deleted if pod is not None]

    async def _delete_one(self, deletion: Deletion) -> PodView | None:
        """The Pod if it is deleted; None if it changed meanwhile, so that it must be looked at again."""
        pod = self.pods[deletion.pod.uid]
        if deletion.uncounted:
            # Only as the cache shows it: a Pod that has ended since must be counted after all.
            try:
                if self.options.finalizer in pod.finalizers:
                    patch = StrategicMergePatch(untracking(self.options.finalizer))
                    pod = await self.context.patch(pod, patch, resource_version=True)
            except NotFoundError:
                return deletion.pod
            except ConflictError:
                self.conflicts = True
                return None
            await self.context.delete(pod)
            return deletion.pod
        try:
            await self.context.delete(pod, resource_version=True)
        except ConflictError:
            self.conflicts = True
            return None
        self.deleted.add(pod.uid)
        return deletion.pod

    async def _create(self, plan: Plan) -> list[str]:
        """In batches of 1, 2, 4, …: what refuses one Pod (a quota, a webhook) refuses all; do not ask it 500 times."""
        created: list[str] = []
        for batch in _slow_start(plan.orders):
            results = await self.lanes.each(batch, self._create_one, Urgency.CREATE, self._age)
            failed = [result for result in results if not isinstance(result, str)]
            created.extend(result for result in results if isinstance(result, str))
            told = [failure for failure in failed if not isinstance(failure, AlreadyExistsError)]
            is_hopeless = any(map(says_namespace_terminating, told))
            refused = 0 if is_hopeless else sum(not isinstance(one, UnknownOutcomeError) for one in told)
            metrics.report_created(
                self.context, self.view, plan.tally, created=len(results) - len(failed), refused=refused
            )
            if failed:
                if not is_hopeless:
                    self.failures.extend(failed)
                    self._tell(refusal_events("FailedCreate", "Error creating", told))
                break
        self._tell(_batch("SuccessfulCreate", "Created", created))
        return created

    async def _create_one(self, order: PodOrder) -> str:
        try:
            await self.context.create(order.pod, owned=False)
        except AlreadyExistsError:
            # Ours, from a create whose answer was lost? Else its holder is not in the cache yet: look again.
            present = self.context.get("v1/Pod", order.name)
            reference = None if present is None else controller_of(present)
            if reference is None or reference.uid != self.view.uid:
                raise
        return order.name

    # -- counting -------------------------------------------------------------------------------------------------

    async def _count(self, accounting: Accounting) -> None:
        self._tell(accounting.events)
        last = accounting.at_once(self.context.now())
        if last is not None:
            await self._write_status(last.status)
            self._tell(last.events)
            await self._let_go(accounting)
            return
        wrote = await self._write_status(accounting.status)
        if wrote or accounting.release:
            self.remembered.memory = accounting.memory
        gone = await self._let_go(accounting)
        settlement = accounting.settle(gone, self.context.now())
        await self._write_status(settlement.status)
        self._tell(settlement.events)

    async def _let_go(self, accounting: Accounting) -> frozenset[str]:
        """Take the finalizer off the Pods that the status names; the uids of those that have none any more."""
        if not accounting.release:
            return frozenset()
        pods = [self.pods[pod.uid] for pod in accounting.release]
        results = await self.lanes.each(pods, self._untrack, Urgency.COUNT, self._age)
        # What refuses that (a webhook, mostly) would keep the Pods for ever: it is told where users look.
        self._tell(untrack_events(results))
        gone = frozenset(uid for uid in self._note(results) if uid is not None)
        metrics.report_handled(self.context, accounting.actions, gone)
        self.remembered.released |= gone
        return gone

    async def _untrack(self, pod: Object) -> str | None:
        """The uid once the finalizer is away; None for a Pod that has changed, so that its end may count after all."""
        patch = StrategicMergePatch(untracking(self.options.finalizer))
        may_end = not pod.decode(PodView).has_finished and pod.uid not in self.deleted
        try:
            await self.context.patch(pod, patch, resource_version=may_end)
        except NotFoundError:
            self.context.log.debug("%s went before its finalizer was taken away", pod)
        except ConflictError:
            if not may_end:
                raise
            self.conflicts = True
            return None
        return pod.uid

    async def _write_status(self, status: JobStatus) -> bool:
        """PUT the status, if it differs from the last one read or written, with all the metadata that came with that.

        A PUT on ``jobs/status`` replaces labels, annotations, finalizers and owner references too.
        """
        before = self.job.decode(JobView).status
        if status == before:
            return False
        body: dict[str, Any] = self.job.to_dict()
        body["status"] = render(status, body.get("status"))
        async with self.lanes.lane(Urgency.COUNT, self._age):
            self.job = await self.context.update(body, subresource="status")
        self.remembered.report_wanted = None
        metrics.report_written(self.context, self.view, before, status)
        return True

    # -- reporting ------------------------------------------------------------------------------------------------

    @property
    def _age(self) -> str:
        """Orders Jobs by when they were created, and those of one second (times have no fractions) by arrival."""
        return f"{self.job.metadata.creation_timestamp or ''} {self.remembered.arrival:012}"

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            # On the Job as it was read: it may be gone from the cache by now.
            self.context.event(event.reason, event.message, type=event.type, on=self.job)

    def _note(self, results: Sequence[T | Failure]) -> list[T]:
        """What succeeded; what failed is remembered, and raised at the end of the look."""
        succeeded: list[T] = []
        for result in results:
            if isinstance(result, (ApiError, UnknownOutcomeError, TransportError)):
                self.failures.append(result)
            else:
                succeeded.append(result)
        return succeeded


def _slow_start(orders: Sequence[PodOrder]) -> Iterator[Sequence[PodOrder]]:
    rest, size = iter(orders), 1
    while batch := tuple(islice(rest, size)):
        yield batch
        size *= 2


def _batch(reason: str, done: str, names: Sequence[str]) -> list[Event]:
    """One Event for all: a quarter of the built-in controller's requests are its one Event a Pod."""
    if not names:
        return []
    if len(names) == 1:
        return [Event(reason, f"{done} pod: {names[0]}")]
    more = ", …" if len(names) > NAMED_IN_EVENT_MAX else ""
    return [Event(reason, f"{done} pods: {', '.join(names[:NAMED_IN_EVENT_MAX])}{more} ({len(names)})")]
