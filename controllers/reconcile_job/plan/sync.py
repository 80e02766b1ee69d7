"""One look at a Job: what to do, in which order, and what to write afterwards. Pure; ``reconciler`` carries it out.

The order, and why a crash between any two writes does no harm:

    1. ``decide``: Pods to delete or to create (never both). A delete is repeatable. A create has a name that depends
       only on the Job's uid and the Pod's place, so a repeated one finds the first.
    2. ``Plan.account(done)``: the status before any finalizer goes. It is computed from what step 1 really achieved.
       It is written with the resourceVersion that was read: somebody else's change makes it fail, and nothing is lost,
       because everything in it is derived again from the Pods.
    3. The finalizers of the Pods that this status names go. They could not vanish before.
    4. ``Accounting.settle(gone)``: the status in which they are counted, and with it the terminal condition when
       nothing is left to count and no Pod is active or terminating.

Where the status of step 4 would end the Job, it is written at once, in place of that of step 2, and the finalizers go
after it (``Accounting.at_once``): a Pod could be counted twice only by a Job that still counts. What a crash leaves of
the finalizers then is taken off as a finished Job's leftovers.

A Job that is over gets its interim condition (SuccessCriteriaMet, FailureTarget) in step 2, so the decision outlives a
crash and is never taken twice. Its Pods are deleted in step 1: of the same look if it has failed, of the next one if it
has succeeded. A Pod that could not be deleted keeps its finalizer. The terminal condition follows in the look that
finds them gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Literal

import attrs
import msgspec

from reconcile_job.plan import finish
from reconcile_job.plan.backoff import BackoffRecord
from reconcile_job.plan.batch import hold_seconds
from reconcile_job.plan.manage import Change, Deletion, manage
from reconcile_job.plan.options import Options
from reconcile_job.plan.pods import PodOrder
from reconcile_job.plan.status import condition, terminal_of, with_condition
from reconcile_job.plan.tally import Tally, tally
from reconcile_job.plan.tracking import Count, count, released
from reconcile_job.plan.view import Condition, JobStatus, JobView, PodView, Uncounted


@attrs.frozen
class Event:
    """An Event on the Job."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@attrs.frozen
class Memory:
    """What is remembered of a Job between looks. Losing it costs one early status write.

    Attributes:
        backoff: consecutive failures; committed only once the status that counts them is written. None where nothing
            is remembered: then the Pods that are counted already, and still there, tell.
        written: when the status was last written.
    """

    backoff: BackoffRecord | None = None
    written: datetime | None = None


@attrs.frozen
class Done:
    """What became of a plan's deletions and orders: the uids that are deleted, the number of Pods created."""

    deleted: AbstractSet[str] = frozenset()
    created: int = 0


@attrs.frozen
class Settlement:
    """The last status of this look, and what to say once it is written."""

    status: JobStatus
    events: tuple[Event, ...]


@attrs.frozen
class Accounting:
    """What to write once the Pods have been dealt with.

    Attributes:
        status: to be written before any finalizer goes (if it differs from what stands there).
        release: the Pods whose finalizer may go once that is written.
        actions: those of the Job's podFailurePolicy that apply to some of them, by uid.
        events: to send before the write.
        memory: to remember once it is written.
        hold_seconds: where above 0, write nothing now and look again after so long.
        is_report: it counts and decides nothing; it says what is active or ready, and since when.
    """

    status: JobStatus
    release: tuple[PodView, ...]
    actions: Mapping[str, str]
    events: tuple[Event, ...]
    memory: Memory
    hold_seconds: float
    is_report: bool
    tally: Tally
    interim: Condition | None
    is_full: bool
    completions: int | None
    completed_at: datetime

    def at_once(self, now: datetime) -> Settlement | None:
        """The last status, where it can be written before any finalizer goes: it ends the Job; else None."""
        if not all(pod.has_finished for pod in self.release):
            return None
        settlement = self.settle(frozenset(pod.uid for pod in self.release), now)
        return settlement if settlement.status.is_finished else None

    def settle(self, gone: AbstractSet[str], now: datetime) -> Settlement:
        """The status once the finalizers of the Pods ``gone`` (by uid) are away.

        The terminal condition comes with it only if the finalizer of every Pod in ``release`` is.
        """
        status = released(self.status, self.tally, gone)
        uncounted = status.uncounted_terminated_pods or Uncounted()
        if (
            self.interim is None
            or self.is_full
            or uncounted.succeeded
            or uncounted.failed
            or status.active
            or status.terminating
            or any(pod.uid not in gone for pod in self.release)
        ):
            return Settlement(status, ())
        terminal = terminal_of(self.interim, now)
        status = msgspec.structs.replace(status, conditions=with_condition(status.conditions, terminal))
        if terminal.type == "Failed":
            return Settlement(status, (Event(terminal.reason, terminal.message, "Warning"),))
        status = msgspec.structs.replace(status, completion_time=self.completed_at)
        completed = Event("Completed", "Job completed")
        if self.completions is not None and status.succeeded > self.completions:
            message = "Too many succeeded pods running after completion count reached"
            return Settlement(status, (Event("TooManySucceededPods", message, "Warning"), completed))
        return Settlement(status, (completed,))


@attrs.frozen
class Plan:
    """What to do about the Pods now, and (through ``account``) what to write then.

    Attributes:
        deletions, orders: at most one of them is not empty.
        retracked: active Pods without the finalizer that stay: a crash came between taking it away and deleting them.
            They get it back, or their end would count as nothing.
        look_again_seconds: when something falls due by itself (a deadline, a backoff), or None.
    """

    deletions: tuple[Deletion, ...]
    orders: tuple[PodOrder, ...]
    retracked: tuple[PodView, ...]
    look_again_seconds: float | None
    job: JobView
    tally: Tally
    interim: Condition | None
    is_announcement: bool
    is_managed: bool
    start_time: datetime | None
    backoff: BackoffRecord
    memory: Memory
    options: Options

    def account(self, done: Done, now: datetime) -> Accounting:
        """What to write, given what was really done."""
        job, tally_ = self.job, self.tally
        deleted = [item.pod for item in self.deletions if item.pod.uid in done.deleted]
        active = len(tally_.active) - len(deleted) + done.created
        interim, conditions, events = self.interim, job.status.conditions, list[Event]()
        start_time = self.start_time
        if interim is None:
            interim = finish.completion(job, tally_, active, now)
            if interim is None and self.is_managed:
                conditions, start_time, events = _suspension(job, start_time, now, self.options)
        if interim is not None and start_time is None and not (job.spec.suspend and job.spec.completions == 0):
            # A suspended Job has none, and may still be decided by Pods that had ended; a finished one must have one.
            start_time = now.replace(microsecond=0)
        status = msgspec.structs.replace(
            job.status,
            conditions=conditions,
            start_time=start_time,
            active=active,
            ready=tally_.ready - sum(pod.is_ready for pod in deleted),
            terminating=len(tally_.terminating) + len(deleted),
            uncounted_terminated_pods=job.status.uncounted_terminated_pods or Uncounted(),
        )
        is_failure = interim is not None and interim.type == finish.FAILURE
        counted = count(
            job,
            tally_,
            status,
            self.options.finalizer,
            over=interim is not None and not self.is_announcement,
            failed=is_failure,
            kept={item.pod.uid for item in self.deletions if item.pod.uid not in done.deleted},
        )
        status = counted.status
        if interim is not None:
            status = msgspec.structs.replace(status, conditions=with_condition(status.conditions, interim))
        completed_at = now.replace(microsecond=0)
        return Accounting(
            status=status,
            release=counted.release,
            actions=counted.actions,
            events=tuple(events),
            memory=Memory(self.backoff, now),
            hold_seconds=self._hold_seconds(status, counted, interim, now),
            is_report=self._is_report(status, counted, interim),
            tally=tally_,
            interim=interim,
            is_full=counted.is_full,
            completions=job.spec.completions,
            completed_at=completed_at if status.start_time is None else max(completed_at, status.start_time),
        )

    def _is_report(self, status: JobStatus, counted: Count, interim: Condition | None) -> bool:
        before = self.job.status
        said = msgspec.structs.replace(
            before,
            start_time=status.start_time,
            active=status.active,
            ready=status.ready,
            terminating=status.terminating,
            uncounted_terminated_pods=status.uncounted_terminated_pods,
        )
        is_new = not before.uncounted_terminated_pods or before.uncounted_terminated_pods == Uncounted()
        return (
            interim is None
            and not self.job.is_deleting
            and not counted.release
            and is_new
            and status.uncounted_terminated_pods == Uncounted()
            and status == said
        )

    def _hold_seconds(self, status: JobStatus, counted: Count, interim: Condition | None, now: datetime) -> float:
        before = self.job.status
        is_urgent = (
            interim is not None
            or self.job.is_deleting
            or status.conditions != before.conditions
            or status.start_time != before.start_time
            or status.failed_indexes != before.failed_indexes
        )
        if is_urgent or (status == before and not counted.release):
            return 0.0
        under_way = status.active + (status.terminating or 0)
        return hold_seconds(self.memory.written, now, under_way=under_way, waiting=len(counted.release))


def decide(
    job: JobView,
    pods: Sequence[PodView],
    *,
    now: datetime,
    memory: Memory,
    options: Options,
    is_taken: Callable[[str], bool],
) -> Plan:
    """What to do about an unfinished Job.

    Args:
        job: the Job.
        pods: the Pods that it has claimed.
        now: the wall clock, in UTC.
        memory: what was remembered of this Job (by uid).
        options: how the controller is set.
        is_taken: whether a Pod of that name exists in the Job's namespace.
    """
    tally_ = tally(job, pods, options.finalizer)
    start_time = job.status.start_time
    if start_time is None and not job.spec.suspend:
        start_time = now.replace(microsecond=0)
    counted = BackoffRecord().updated(*tally_.counted()) if memory.backoff is None else memory.backoff
    backoff = counted.updated(tally_.new_succeeded, tally_.new_failed)
    interim = finish.verdict(job, tally_, start_time, now)
    is_managed = interim is None and not job.is_deleting
    # A success that leaves Pods running is written before they are stopped: should a crash come between, they would
    # look as if they had failed. So is the failure of a Job whose indexes fail: they would fail their indexes too.
    is_announcement = (
        interim is not None
        and (interim.type == finish.SUCCESS or job.spec.backoff_limit_per_index is not None)
        and bool(tally_.active)
        and job.status.condition(interim.type) is None
    )
    if is_announcement:
        change = Change()
    elif interim is not None:
        change = Change(deletions=tuple(Deletion(pod, uncounted=False) for pod in tally_.active))
    elif is_managed:
        change = manage(job, tally_, backoff=backoff, finalizer=options.finalizer, is_taken=is_taken, now=now)
    else:
        change = Change()
    deleted = {item.pod.uid for item in change.deletions}
    deadline = None if interim is not None else finish.deadline_in_seconds(job, start_time, now)
    return Plan(
        deletions=change.deletions,
        orders=change.orders,
        retracked=tuple(pod for pod in tally_.active if pod.uid not in tally_.tracked and pod.uid not in deleted)
        if is_managed
        else (),
        look_again_seconds=min(
            (seconds for seconds in (change.look_again_seconds, deadline) if seconds is not None), default=None
        ),
        job=job,
        tally=tally_,
        interim=interim,
        is_announcement=is_announcement,
        is_managed=is_managed,
        start_time=start_time,
        backoff=backoff,
        memory=memory,
        options=options,
    )


def _suspension(
    job: JobView, start_time: datetime | None, now: datetime, options: Options
) -> tuple[tuple[Condition, ...] | None, datetime | None, list[Event]]:
    """The conditions, start time and events of a Job that goes on, suspended or not."""
    before = job.status.conditions
    if job.spec.suspend:
        wanted = condition("Suspended", "JobSuspended", "Job suspended", now)
        after = with_condition(before, wanted)
        if after == (before or ()):
            return before, start_time, []
        # The time while suspended does not count towards the deadline.
        return after, None, [Event("Suspended", "Job suspended")]
    wanted = condition("Suspended", "JobResumed", "Job resumed", now, status="False")
    after = with_condition(before, wanted)
    if after == (before or ()):
        return before, start_time, []
    if job.status.start_time is None or options.resets_start_time:
        start_time = now.replace(microsecond=0)
    return after, start_time, [Event("Resumed", "Job resumed")]
