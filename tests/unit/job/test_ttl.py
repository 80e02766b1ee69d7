"""``job-ttl``: which Jobs it deletes, when, and what it asks for before it does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from reconcile import Object, ObjectKey, Result, TerminalError
from reconcile.model.delta import Delta
from reconcile.model.object import from_plain
from reconcile.testing.context import NOW, RecordingContext
from reconcile_job.ttl import app
from reconcile_job.ttl.plan import Due, TTLView, Unknown, due
from reconcile_job.ttl.reconciler import DELETION_SECONDS, WAIT_SECONDS_MAX, TTLReconciler, concerns_finished

NEVER: Any = object()


def job(ttl: int | None = 100, *, ended: Any = NOW, type: str = "Complete", **metadata: Any) -> Object:
    """A Job that ended at ``ended``; NEVER for one that runs, None for one whose condition has no time."""
    conditions = [] if ended is NEVER else [{"type": type, "status": "True", "lastTransitionTime": stamp(ended)}]
    return from_plain(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "one", "namespace": "here", "uid": "u1", "resourceVersion": "7", **metadata},
            "spec": {} if ttl is None else {"ttlSecondsAfterFinished": ttl},
            "status": {"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, *conditions]},
        }
    )


def stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


class DeletingContext(RecordingContext):
    """Keeps the preconditions of a delete."""

    preconditions: dict[str, Any]

    async def delete(self, obj: Object, **options: Any) -> None:  # type: ignore[override]  # it keeps them all
        self.preconditions = {"uid": obj.uid, "version": obj.resource_version, **options}
        await super().delete(obj)


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (job(100, ended=at(-30)), 70),
        (job(100, ended=at(-130)), -30),
        (job(0), 0),
        (job(0, type="Failed"), 0),
        (job(60, ended=at(30)), 90),
        (job(2**31 - 1), 2**31 - 1),
    ],
)
def test_a_finished_job_stays_its_ttl_after_its_end(one: Object, seconds: float) -> None:
    """Counted from the terminal condition's time, be it Complete or Failed, past or in the future."""
    found = due(one.decode(TTLView), NOW)
    assert isinstance(found, Due)
    assert found.seconds == seconds


@pytest.mark.parametrize(
    "one",
    [
        job(None),
        job(0, ended=NEVER),
        job(0, deletionTimestamp="2026-01-01T00:00:00Z"),
        job(0, type="Suspended"),
        job(0, type="FailureTarget"),
    ],
)
def test_other_jobs_stay(one: Object) -> None:
    """Without a TTL, still running, about to fail, or on its way out: nothing is to be done, and nothing wakes."""
    assert due(one.decode(TTLView), NOW) is None
    assert not concerns_finished(Delta(one.key, None, one))


def test_a_condition_that_was_taken_back_is_no_end() -> None:
    """A condition counts while its status is True."""
    one = job(0).to_dict()
    one["status"]["conditions"][1]["status"] = "False"
    assert due(from_plain(one).decode(TTLView), NOW) is None


def test_the_end_of_a_job_wakes() -> None:
    """The first sight of a finished one and the change that finishes it; its departure does not."""
    running, finished = job(5, ended=NEVER), job(5)
    assert concerns_finished(Delta(finished.key, running, finished))
    assert concerns_finished(Delta(finished.key, None, finished))
    assert not concerns_finished(Delta(finished.key, finished, None))


@pytest.mark.asyncio
async def test_it_waits_until_the_time_has_come() -> None:
    """Nothing is asked or written before."""
    context = RecordingContext(job(100), now=at(40), live=[])
    assert await TTLReconciler()(context.request, context) == Result(60)
    assert context.writes == []


@pytest.mark.asyncio
async def test_a_long_wait_is_cut() -> None:
    """So that a wall clock that is set meanwhile is noticed within the hour."""
    context = RecordingContext(job(10**9))
    assert await TTLReconciler()(context.request, context) == Result(WAIT_SECONDS_MAX)


@pytest.mark.asyncio
async def test_a_due_job_is_deleted_as_the_server_shows_it() -> None:
    """Foreground, with the uid and the version of the live object, not of the cached one."""
    live = job(100, resourceVersion="9")
    context = DeletingContext(job(100), now=at(103), live=[live])
    assert await TTLReconciler()(context.request, context) is None
    assert [(one.verb, one.object.name) for one in context.writes] == [("delete", "one")]
    assert [(one.metric, one.value) for one in context.measurements] == [(DELETION_SECONDS, 3.0)]
    assert context.preconditions == {
        "uid": "u1",
        "version": "9",
        "propagation": "Foreground",
        "resource_version": True,
    }


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("live", "returned"),
    [
        (job(150), Result(50)),
        (job(None), None),
        (job(100, deletionTimestamp="2026-01-01T00:00:00Z"), None),
        (job(100, ended=NEVER, uid="u2"), None),
        (None, None),
    ],
    ids=["raised", "taken away", "deleted already", "namesake", "gone"],
)
async def test_what_the_server_shows_counts(live: Object | None, returned: Result | None) -> None:
    """A cache that is behind deletes nothing."""
    context = RecordingContext(job(100), now=at(100), live=[] if live is None else [live])
    assert await TTLReconciler()(context.request, context) == returned
    assert context.writes == []


@pytest.mark.asyncio
async def test_a_job_that_is_gone_needs_nothing() -> None:
    """Its waiting key runs, and finds nothing."""
    context = RecordingContext(key=ObjectKey("here", "one"))
    assert await TTLReconciler()(context.request, context) is None


@pytest.mark.asyncio
async def test_an_end_without_a_time_is_told_and_not_tried_again() -> None:
    """The error names the Job, the condition and the way out; an Event tells the Job's owner."""
    one = job(0, ended=None)
    assert due(one.decode(TTLView), NOW) == Unknown("Complete")
    context = RecordingContext(one)
    with pytest.raises(
        TerminalError, match=r"here/one: .*condition Complete has no lastTransitionTime; set it, or dele"
    ):
        await TTLReconciler()(context.request, context)
    assert [(event.type, event.reason) for event in context.events] == [("Warning", "UnknownFinishTime")]


@pytest.mark.asyncio
async def test_clocks_that_disagree_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A finish in the future is taken as written, and somebody hears of it."""
    context = RecordingContext(job(5, ended=at(30)), now=NOW)
    assert await TTLReconciler()(context.request, context) == Result(35)
    assert "finished 30 s in the future" in caplog.text


def test_the_program_may_delete_jobs_and_write_nothing_else() -> None:
    """Least privilege: what the manifest is made from."""
    rights = {(right.kind.kind, right.subresource): set(right.verbs) for right in app.rights}
    assert rights == {("Job", ""): {"get", "list", "watch", "delete"}, ("Event", ""): {"create", "patch"}}
