"""What the Job controller counts: once each, after the write that made it so, whatever fails."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from job_world import JobWorld

from reconcile import Object
from reconcile.model.delta import Delta
from reconcile.model.object import from_plain
from reconcile_job import metrics
from reconcile_job.plan.options import FINALIZER, Options

PREFIX = "job_controller_"
LOOKS = {metrics.SYNCS, metrics.SYNC_SECONDS}


def counts(world: JobWorld) -> dict[tuple[str, ...], float]:
    """Name without prefix and suffix, and the labels' values; without the looks."""
    found: Counter[tuple[str, ...]] = Counter()
    for one in world.measurements:
        if one.metric not in LOOKS:
            name = one.metric.name.removeprefix(PREFIX).removesuffix("_total")
            found[name, *one.labels] += one.value  # type: ignore[assignment]  # counts are whole numbers
    return dict(found)


def looks(world: JobWorld) -> list[tuple[str, ...]]:
    return [one.labels for one in world.measurements if one.metric is metrics.SYNCS]


def succeed(_pod: dict[str, Any]) -> str:
    return "Succeeded"


def running(world: JobWorld) -> None:
    for name in list(world.pods):
        world.run_pod(name)


DONE_ONCE = {
    ("job_pods_creation", "new", "succeeded"): 3,
    ("job_pods_finished", "NonIndexed", "succeeded"): 3,
    ("jobs_finished", "NonIndexed", "succeeded", "CompletionsReached"): 1,
}


def test_a_job_that_completes_counts_its_pods_and_itself() -> None:
    """The looks are counted too, by what they did about Pods."""
    world = JobWorld({"completions": 3, "parallelism": 3})
    world.settle(succeed)
    assert counts(world) == DONE_ONCE
    assert looks(world)[0] == ("NonIndexed", "success", "pods_created")
    assert {labels[1] for labels in looks(world)} == {"success"}
    durations = [one for one in world.measurements if one.metric is metrics.SYNC_SECONDS]
    assert [one.labels for one in durations] == looks(world)


@pytest.mark.parametrize("refused", range(1, 8))
def test_a_write_that_is_refused_counts_nothing_and_once_it_succeeds_counts_once(refused: int) -> None:
    """Whichever write of the Job's life fails first, the sums are the same in the end; only refusals to create add."""
    world = JobWorld({"completions": 3, "parallelism": 3})
    seen: list[str] = []

    def refuse(what: str) -> bool:
        seen.append(what)
        return len(seen) == refused

    world.refuse = refuse
    world.settle(succeed)
    found = counts(world)
    failed = found.pop(("job_pods_creation", "new", "failed"), 0)
    assert found == DONE_ONCE
    assert failed == (1 if seen[refused - 1].startswith("create") else 0)
    assert ("NonIndexed", "error") in {labels[:2] for labels in looks(world)}


def test_a_refused_create_is_no_created_pod() -> None:
    """The built-in controller adds to ``succeeded`` for those too."""
    world = JobWorld({"completions": 1})
    world.refuse = lambda what: what.startswith("create")
    world.look()
    world.look()
    assert counts(world) == {("job_pods_creation", "new", "failed"): 2}
    assert looks(world) == [("NonIndexed", "error", "pods_created")] * 2


def test_a_replacement_says_what_it_replaces() -> None:
    """By what ``podReplacementPolicy`` lets be replaced."""
    for policy, reason in (("TerminatingOrFailed", "recreate_terminating_or_failed"), ("Failed", "recreate_failed")):
        world = JobWorld({"completions": 1, "podReplacementPolicy": policy})
        world.look()
        running(world)
        [first] = world.pods
        world.end_pod(first, "Failed")
        for _ in range(4):
            world.look()
            world.advance(10)
        assert counts(world)["job_pods_creation", reason, "succeeded"] == 1
        assert counts(world)["job_pods_finished", "NonIndexed", "failed"] == 1


def test_an_ignored_failure_is_handled_once_though_its_finalizer_goes_late() -> None:
    """Nothing in the status remembers it; the finalizer, which goes once, does."""
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [43]}}
    world = JobWorld({"completions": 1, "podFailurePolicy": {"rules": [rule]}})
    world.look()
    running(world)
    [first] = world.pods
    world.end_pod(first, "Failed", code=43)
    world.refuse = lambda what: what.startswith("patch")
    for _ in range(3):
        world.advance(20)
        world.look()
    assert ("pod_failures_handled_by_failure_policy", "Ignore") not in counts(world)
    world.refuse = lambda _what: False
    world.settle(succeed)
    assert counts(world)["pod_failures_handled_by_failure_policy", "Ignore"] == 1
    assert ("job_pods_finished", "NonIndexed", "failed") not in counts(world)


def test_indexes_are_counted_by_the_limit_that_they_fail_under() -> None:
    """Succeeded and failed indexes, and the Job that fails for them."""
    world = JobWorld({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0})
    place = "batch.kubernetes.io/job-completion-index"
    world.settle(lambda pod: "Failed" if pod["metadata"]["annotations"][place] == "0" else "Succeeded")
    found = counts(world)
    assert found["job_finished_indexes", "succeeded", "perIndex"] == 1
    assert found["job_finished_indexes", "failed", "perIndex"] == 1
    assert found["jobs_finished", "Indexed", "failed", "FailedIndexes"] == 1


def test_a_reason_that_somebody_made_up_is_no_label() -> None:
    """An interim condition is carried on, but whoever may write a status must not make series."""
    world = JobWorld({"completions": 1})
    assert world.job is not None
    condition = {"type": "FailureTarget", "status": "True", "reason": "MadeUp", "message": "by hand"}
    world.job["status"] = {"conditions": [condition], "startTime": "2026-01-01T00:00:00Z"}
    world.settle(succeed)
    assert counts(world)["jobs_finished", "NonIndexed", "failed", "other"] == 1


def job(managed_by: str | None, **spec: Any) -> Object:
    plain = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "n", "uid": "u"},
        "spec": {"managedBy": managed_by, **spec},
    }
    return from_plain(plain)


@pytest.mark.parametrize(
    ("options", "managed_by", "counted"),
    [
        (Options(), "example.com/other", "example.com/other"),
        (Options(), "kubernetes.io/job-controller", "kubernetes.io/job-controller"),
        (Options(), "reconcile.dev/job-controller", None),
        (Options(), None, None),
        (Options(replace=True), "reconcile.dev/job-controller", "reconcile.dev/job-controller"),
        (Options(replace=True), "kubernetes.io/job-controller", None),
        (Options(replace=True), None, None),
    ],
)
def test_a_new_job_that_names_another_controller_is_counted_once(
    options: Options, managed_by: str | None, counted: str | None
) -> None:
    """When it is first seen; not when it changes or goes, nor at a resync."""
    measure, seen = metrics.foreign_jobs(options), job(managed_by)
    wanted = [] if counted is None else [(counted,)]
    assert [one.labels for one in measure(Delta(seen.key, None, seen))] == wanted
    for old, new in ((seen, job(managed_by, parallelism=2)), (seen, seen), (seen, None)):
        assert list(measure(Delta(seen.key, old, new))) == []


def test_a_job_that_cannot_be_read_measures_nothing() -> None:
    """Its reconcile says so, with an Event; the metrics stay quiet."""
    broken = job(None, parallelism="many")
    assert list(metrics.foreign_jobs(Options())(Delta(broken.key, None, broken))) == []


def pod(phase: str, *, tracked: bool) -> Object:
    metadata = {"name": "p", "namespace": "n", "uid": "u", "finalizers": [FINALIZER] if tracked else []}
    return from_plain({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}})


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, ("Running", True), None),
        (None, ("Failed", True), "add"),
        (("Running", True), ("Succeeded", True), "add"),
        (("Running", True), ("Running", False), None),
        (("Succeeded", True), ("Succeeded", False), "delete"),
        (("Succeeded", True), None, "delete"),
        (("Succeeded", False), None, None),
        (("Running", True), None, None),
    ],
)
def test_a_finished_pod_is_counted_when_it_waits_to_be_counted_and_when_it_does_not_any_more(
    before: tuple[str, bool] | None, after: tuple[str, bool] | None, event: str | None
) -> None:
    """The difference of the two is how many wait."""
    old, new = (None if one is None else pod(one[0], tracked=one[1]) for one in (before, after))
    key = pod("Running", tracked=True).key
    found = [one.labels for one in metrics.tracked_ends(FINALIZER)(Delta(key, old, new))]
    assert found == ([] if event is None else [(event,)])


def test_a_resync_counts_no_pod_again() -> None:
    """The same object on both sides is no change."""
    same = pod("Failed", tracked=True)
    assert list(metrics.tracked_ends(FINALIZER)(Delta(same.key, same, same))) == []
