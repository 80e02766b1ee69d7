"""Which Pods go, what new ones are called and hold, and whose a Pod is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from job_builders import NOW, job, pod

from reconcile import Object, UsageError
from reconcile.model.object import from_plain
from reconcile_job.plan.backoff import BackoffRecord
from reconcile_job.plan.batch import hold_seconds, pause_seconds
from reconcile_job.plan.claims import Claim, claim, selector_of
from reconcile_job.plan.manage import manage, wanted_active
from reconcile_job.plan.options import FINALIZER, Options
from reconcile_job.plan.pods import Naming, PodMaker
from reconcile_job.plan.selection import rank, to_remove
from reconcile_job.plan.tally import tally


def test_what_has_come_least_far_goes_first():
    """Unscheduled, pending, not ready, ready shortest, restarted most, youngest."""
    ordered = [
        pod("unscheduled", created=0),
        pod("pending", node="n"),
        pod("unknown", "Unknown", node="n"),
        pod("restarted", "Running", node="n", restarts=3),
        pod("young", "Running", node="n", created=9),
        pod("old", "Running", node="n", created=1),
        pod("ready just now", "Running", node="n", ready=50),
        pod("ready long", "Running", node="n", ready=5),
    ]
    backwards = list(reversed(ordered))
    assert [one.uid for one in sorted(backwards, key=rank)] == [one.uid for one in ordered]


def test_pods_without_a_place_go_even_where_none_is_too_many():
    """No index, an index outside, and the second Pod of an index: the better one stays."""
    pods = [
        pod("none", "Running", node="n"),
        pod("outside", "Running", node="n", index=3),
        pod("bad", "Running", node="n", index="x"),
        pod("new", "Pending", index=0),
        pod("good", "Running", node="n", index=0, ready=0),
        pod("only", "Pending", index=1),
    ]
    assert {one.uid for one in to_remove(pods, at_least=0, completions=3)} == {"none", "outside", "bad", "new"}
    assert {one.uid for one in to_remove(pods, at_least=5, completions=3)} >= {"only"}
    assert to_remove(pods[:1], at_least=0, completions=None) == []


def test_names_depend_on_the_purpose_alone():
    """The same Job and place give the same name; a taken one gives the next; long names are cut, the index never."""
    naming = Naming(job(), lambda _name: False)
    first = naming.of_index(7)
    assert first == naming.of_index(7)
    assert first.startswith("j-7-")
    assert len(first.rpartition("-")[2]) >= 10
    ordinals = naming.of_ordinals(3)
    assert len({next(ordinals) for _ in range(50)}) == 50
    assert Naming(job(), lambda name: name == first).of_index(7) != first
    assert Naming(job(metadata={"uid": "other"}), lambda _name: False).of_index(7) != first
    long = Naming(job(metadata={"name": "x" * 80}), lambda _name: False).of_index(12345)
    assert len(long) == 63
    assert "-12345-" in long
    dotted = Naming(job(metadata={"name": "a." * 40}), lambda _name: False)
    assert ".-" not in next(dotted.of_ordinals(0))


def test_what_is_in_a_pod():
    """The template's own labels, annotations and finalizers; ours added; the environment of every container once."""
    spec = {
        "initContainers": [{"name": "i"}],
        "containers": [{"name": "a"}, {"name": "b", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "mine"}]}],
        "hostname": "theirs",
    }
    owner = job(completionMode="Indexed", completions=3, backoffLimitPerIndex=4, pod=spec)
    failed = pod("old", "Failed", index=2, counts=(1, 2), codes={"main": 1})
    maker = PodMaker.of(owner, FINALIZER)
    body = maker.order("name", 2, failed).pod.to_dict()
    assert body["metadata"]["labels"] == {"a": "b", "batch.kubernetes.io/job-completion-index": "2"}
    assert body["metadata"]["annotations"] == {
        "batch.kubernetes.io/job-completion-index": "2",
        "batch.kubernetes.io/job-index-failure-count": "2",
        "batch.kubernetes.io/job-index-ignored-failure-count": "2",
    }
    assert body["metadata"]["finalizers"] == [FINALIZER]
    [reference] = body["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "j",
        "uid": "u",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert body["spec"]["hostname"] == "j-2"
    env = [one["env"] for one in (*body["spec"]["initContainers"], *body["spec"]["containers"])]
    path = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}
    assert env == [
        [{"name": "JOB_COMPLETION_INDEX", "valueFrom": path}],
        [{"name": "JOB_COMPLETION_INDEX", "valueFrom": path}],
        [{"name": "JOB_COMPLETION_INDEX", "value": "mine"}],
    ]
    other = maker.order("other", 1).pod.to_dict()
    assert other["spec"]["hostname"] == "j-1"
    assert other["metadata"]["labels"] == {"a": "b", "batch.kubernetes.io/job-completion-index": "1"}
    assert other["spec"]["containers"] == body["spec"]["containers"]


@pytest.mark.parametrize(
    ("spec", "pods", "wanted"),
    [
        ({"parallelism": 3}, [], 3),
        ({"parallelism": 3}, [pod("a"), pod("b", "Succeeded")], 1),
        ({"parallelism": 3, "completions": 2}, [], 2),
        ({"parallelism": 3, "completions": 2}, [pod("a", "Succeeded")], 1),
        ({"parallelism": 1, "completions": 2}, [pod(str(n), "Succeeded") for n in range(3)], 0),
    ],
)
def test_how_many_should_be_active(spec, pods, wanted):
    """A work queue makes no new Pods once one has succeeded; else no more than is still to be done."""
    owner = job(**spec)
    assert wanted_active(owner, tally(owner, pods, FINALIZER)) == wanted


def change(owner: Any, pods: list[Any], backoff: BackoffRecord | None = None) -> Any:
    counted = tally(owner, pods, FINALIZER)
    return manage(
        owner, counted, backoff=backoff or BackoffRecord(), finalizer=FINALIZER, is_taken=lambda _name: False, now=NOW
    )


def test_at_most_500_pods_in_one_look():
    """A big Job does not starve the others."""
    assert len(change(job(parallelism=2000, completions=2000), []).orders) == 500
    surplus = [pod(str(number)) for number in range(700)]
    assert len(change(job(parallelism=0), surplus).deletions) == 500
    assert len(change(job(parallelism=9, suspend=True), surplus).deletions) == 700


def test_an_indexed_job_fills_the_lowest_free_indexes():
    """Not those that are active, have succeeded, or have failed for good."""
    owner = job(
        {"completedIndexes": "0", "failedIndexes": "2"},
        completionMode="Indexed",
        completions=7,
        parallelism=4,
        backoffLimitPerIndex=0,
    )
    pods = [pod("a", index=1), pod("b", "Succeeded", index=3)]
    assert [one.index for one in change(owner, pods).orders] == [4, 5, 6]


def test_a_terminating_pod_keeps_its_place_where_only_failed_ones_are_replaced():
    """podReplacementPolicy Failed: neither its index nor its number is filled."""
    leaving = pod("a", "Running", index=0, deleting=True, node="n")
    waits = job(completionMode="Indexed", completions=2, parallelism=2, podReplacementPolicy="Failed")
    assert [one.index for one in change(waits, [leaving]).orders] == [1]
    hurries = job(completionMode="Indexed", completions=2, parallelism=2)
    assert [one.index for one in change(hurries, [leaving]).orders] == [0, 1]


def test_a_replacement_waits():
    """The whole Job for its backoff; with limits per index only the index that failed."""
    assert change(job(), [], BackoffRecord(1, NOW)).look_again_seconds == 10
    owner = job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=3)
    failed = pod("a", "Failed", index=0, counts=(1, 0), codes={"main": 1})
    found = change(owner, [failed])
    assert [one.index for one in found.orders] == [1]
    assert found.look_again_seconds == 20


def bare(labels: dict[str, str], owner: str = "", *, deleting: bool = False) -> Object:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": owner, "controller": True}
    return from_plain(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "p",
                "uid": "p",
                "labels": labels,
                **({"ownerReferences": [reference]} if owner else {}),
                **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {}),
            },
        }
    )


@pytest.mark.parametrize(
    ("found", "leaving", "verdict"),
    [
        (bare({"a": "b"}, "u"), False, Claim.OWNED),
        (bare({"a": "x"}, "u"), False, Claim.TO_RELEASE),
        (bare({"a": "x"}, "u"), True, Claim.OWNED),
        (bare({"a": "b"}, "other"), False, Claim.FOREIGN),
        (bare({"a": "b"}), False, Claim.TO_ADOPT),
        (bare({"a": "b"}), True, Claim.FOREIGN),
        (bare({"a": "x"}), False, Claim.FOREIGN),
        (bare({"a": "b"}, deleting=True), False, Claim.FOREIGN),
    ],
)
def test_whose_a_pod_is(found, leaving, verdict):
    """Labels alone prove nothing; a Job on its way out adopts and releases nothing."""
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {}
    owner = job(selector={"matchLabels": {"a": "b"}}, metadata=meta)
    assert claim(owner, selector_of(owner), found) is verdict


@pytest.mark.parametrize(
    ("options", "managed_by", "serves"),
    [
        (Options(), "reconcile.dev/job-controller", True),
        (Options(), None, False),
        (Options(), "kubernetes.io/job-controller", False),
        (Options(managed_by="a.b/c"), "a.b/c", True),
        (Options(replace=True), None, True),
        (Options(replace=True), "kubernetes.io/job-controller", True),
        (Options(replace=True), "reconcile.dev/job-controller", False),
    ],
)
def test_which_jobs_are_served(options, managed_by, serves):
    """By managedBy; in place of the built-in controller, those that would be its own."""
    assert options.serves(managed_by) is serves


@pytest.mark.parametrize(
    ("managed_by", "text"),
    [
        ("", "no Job can have that"),
        ("mine", "no Job can have that"),
        ("Example.com/mine", "no Job can have that"),
        ("example.com/", "no Job can have that"),
        ("example.com/mine@home", "no Job can have that"),
        (f"example.com/{'x' * 52}", "at most 63 characters"),
        ("kubernetes.io/job-controller", "use --replace"),
    ],
)
def test_a_managed_by_that_can_serve_nothing_or_too_much_is_refused(managed_by, text):
    """Silence would look like a controller at work; the built-in one's Jobs would have two of them."""
    with pytest.raises(UsageError, match=text):
        Options(managed_by=managed_by)


@pytest.mark.parametrize(
    ("written", "under_way", "waiting", "hold"),
    [(None, 3, 1, 0), (-2, 3, 1, 0), (-0.25, 3, 1, 0.75), (-0.25, 0, 1, 0), (-0.25, 3, 100, 0), (5, 3, 1, 0)],
)
def test_a_busy_job_is_written_once_a_second(written, under_way, waiting, hold):
    """At once where nothing was written lately, nothing is under way, much is waiting, or the clock went back."""
    before = None if written is None else NOW + timedelta(seconds=written)
    assert hold_seconds(before, NOW, under_way=under_way, waiting=waiting) == hold


@pytest.mark.parametrize(
    ("looked", "pods", "pause"),
    [(None, 10_000, 0), (0, 999, 0), (0, 10_000, 0.35), (-0.1, 10_000, 0.25), (-1, 10_000, 0), (5, 10_000, 0)],
)
def test_a_big_job_is_not_looked_at_all_the_time(looked, pods, pause):
    """A tenth of a core for one Job at most; small ones are never put off."""
    before = None if looked is None else NOW + timedelta(seconds=looked)
    assert pause_seconds(before, NOW, pods=pods) == pytest.approx(pause)
