"""The checkers of the invariants: good histories pass all of them, and each finds the history that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from audit import Audited
from job_history import INDEX, History, Seen, outcome
from job_invariants import CHECKS, broken, extra_pods

UID, FINALIZER = "job-uid", "example.com/tracking"
START = "2026-01-01T00:00:00Z"


class Story:
    """Tells a history, event by event. Pods are named and known by ``j-a``, ``j-b``, …; their uid is the name too."""

    def __init__(self, **spec: Any) -> None:
        template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main", "image": "i"}]}}
        defaults = {"parallelism": 2, "completions": 2, "backoffLimit": 6, "managedBy": "ours", "template": template}
        self.object: dict[str, Any] = {
            "metadata": {"name": "j", "uid": UID},
            "spec": {**defaults, "selector": {"matchLabels": {"app": "x"}}, **spec},
            "status": {},
        }
        self.pods: dict[str, dict[str, Any]] = {}
        self.seen: list[Seen] = []
        self.writes: list[Audited] = []
        self.tell("Job", "ADDED", self.object)
        self.status(startTime=None if spec.get("suspend") else START)

    def tell(self, kind: str, event: str, obj: dict[str, Any]) -> None:
        self.seen.append(Seen(len(self.seen) + 1, kind, event, copy.deepcopy(obj)))

    def status(self, **fields: Any) -> None:
        """The Job's status changes; None takes a field away."""
        status = {**self.object["status"], **fields}
        self.object["status"] = {name: value for name, value in status.items() if value is not None}
        self.tell("Job", "MODIFIED", self.object)

    def edit(self, **spec: Any) -> None:
        self.object["spec"].update(spec)
        self.tell("Job", "MODIFIED", self.object)

    def condition(self, type: str, status: str = "True", *, reason: str = "", at: str = START, **fields: Any) -> None:
        kept = [one for one in self.object["status"].get("conditions", ()) if one["type"] != type]
        told = {"type": type, "status": status, "reason": reason, "lastTransitionTime": at}
        self.status(conditions=[*kept, told], **fields)

    def make(self, letter: str, *, index: int | None = None, owner: str = UID, **metadata: Any) -> str:
        name = f"j-{letter}" if index is None else f"j-{index}-{letter}"
        meta: dict[str, Any] = {"name": name, "uid": name, "labels": {"app": "x"}, "finalizers": [FINALIZER]}
        spec: dict[str, Any] = {"containers": [{"name": "main", "image": "i"}]}
        if index is not None:
            meta["labels"][INDEX], meta["annotations"], spec["hostname"] = str(index), {INDEX: str(index)}, f"j-{index}"
        if owner:
            meta["ownerReferences"] = [{"uid": owner, "controller": True}]
        self.pods[name] = {"metadata": {**meta, **metadata}, "spec": spec, "status": {"phase": "Pending"}}
        self.tell("Pod", "ADDED", self.pods[name])
        return name

    def pod(self, name: str, phase: str = "", **metadata: Any) -> None:
        """The Pod changes."""
        if phase:
            self.pods[name]["status"]["phase"] = phase
        self.pods[name]["metadata"].update(metadata)
        self.tell("Pod", "MODIFIED", self.pods[name])

    def gone(self, name: str) -> None:
        self.tell("Pod", "DELETED", self.pods.pop(name))

    def count(self, name: str, phase: str = "Succeeded") -> None:
        """The Pod ends, and is counted as it should be."""
        which = phase.lower()
        index = self.pods[name]["metadata"].get("annotations", {}).get(INDEX)
        self.pod(name, phase)
        done = self.object["status"].get(which, 0) + 1
        if index is not None and phase == "Succeeded":
            before = self.object["status"].get("completedIndexes")
            self.status(succeeded=done, completedIndexes=index if before is None else f"{before},{index}")
            self.pod(name, finalizers=[])
            return
        self.status(uncountedTerminatedPods={which: [name]})
        self.pod(name, finalizers=[])
        self.status(uncountedTerminatedPods={}, **{which: done})

    def finish(self, type: str = "Complete", **fields: Any) -> None:
        if type == "Complete":
            fields = {"completionTime": START, **fields}
        self.condition(type, **fields)

    def wrote(self, verb: str, resource: str, name: str, code: int = 200, subresource: str = "") -> None:
        when = datetime(2026, 1, 1, tzinfo=UTC)
        self.writes.append(Audited("c", verb, resource, subresource, "n", name, code, when))

    def history(self) -> History:
        return History("j", UID, FINALIZER, "ours", tuple(self.seen), tuple(self.writes))


def plain() -> Story:
    """One failure, two successes, complete."""
    story = Story()
    a, b = story.make("a"), story.make("b")
    story.wrote("create", "pods", "")
    story.count(a, "Failed")
    c = story.make("c")
    story.count(b)
    story.count(c)
    story.wrote("patch", "pods", c)
    story.condition("SuccessCriteriaMet")
    story.finish()
    return story


def indexed() -> Story:
    """Two indexes, one of which fails once."""
    story = Story(completionMode="Indexed")
    story.make("a", index=0)
    story.make("b", index=1)
    story.count("j-1-b", "Failed")
    story.make("c", index=1)
    story.count("j-0-a")
    story.count("j-1-c")
    story.finish()
    return story


def suspended() -> Story:
    """Suspended with a Pod that runs, and resumed."""
    story = Story(completions=1)
    a = story.make("a")
    story.edit(suspend=True)
    story.pod(a, finalizers=[])
    story.wrote("delete", "pods", a)
    story.gone(a)
    story.condition("Suspended", startTime=None)
    story.edit(suspend=False)
    story.condition("Suspended", "False", at="2026-01-01T00:01:00Z", startTime="2026-01-01T00:01:00Z")
    story.count(story.make("b"))
    story.finish()
    return story


def adopted() -> Story:
    """A bare Pod is adopted; a Pod of somebody else stays."""
    story = Story(completions=1)
    bare = story.make("bare", owner="", finalizers=[])
    story.make("theirs", owner="other-uid")
    story.pod(bare, ownerReferences=[{"uid": UID, "controller": True}], finalizers=[FINALIZER])
    story.wrote("patch", "pods", bare)
    story.count(bare)
    story.finish()
    return story


def late() -> Story:
    """Failed by its deadline."""
    story = Story(activeDeadlineSeconds=10)
    a = story.make("a")
    story.condition("FailureTarget", reason="DeadlineExceeded", at="2026-01-01T00:00:11Z")
    story.pod(a, deletionTimestamp="2026-01-01T00:00:11Z")
    story.status(uncountedTerminatedPods={"failed": [a]})
    story.gone(a)
    story.status(uncountedTerminatedPods={}, failed=1)
    story.finish("Failed")
    return story


def deleted() -> Story:
    """The Job goes; its Pods are let go uncounted."""
    story = Story(ttlSecondsAfterFinished=None)
    a, b = story.make("a"), story.make("b")
    story.pod(a, "Succeeded")
    story.tell("Job", "DELETED", story.object)
    for pod in (a, b):
        story.pod(pod, finalizers=[])
    return story


GOOD = {tale.__name__: tale for tale in (plain, indexed, suspended, adopted, late, deleted)}


@pytest.mark.parametrize("tale", GOOD)
def test_a_good_history_breaks_nothing(tale: str) -> None:
    """All checkers pass it."""
    assert broken(GOOD[tale]().history()) == []


BAD: dict[str, tuple[str, Callable[[], Story]]] = {}


def breaks(name: str) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    def note(tale: Callable[[], Story]) -> Callable[[], Story]:
        BAD[tale.__name__] = (name, tale)
        return tale

    return note


@breaks("J1")
def more_active_than_parallelism() -> Story:
    story = Story(completions=9)
    for letter in "abc":
        story.make(letter)
    return story


@breaks("J1")
def a_replacement_beside_a_terminating_pod() -> Story:
    story = Story(parallelism=1, podReplacementPolicy="Failed")
    story.pod(story.make("a"), deletionTimestamp=START)
    story.make("b")
    return story


@breaks("J2")
def work_beyond_completions() -> Story:
    story = Story(completions=2)
    story.count(story.make("a"))
    story.make("b")
    story.make("c")
    return story


@breaks("J2")
def work_beyond_completions_of_indexes() -> Story:
    story = Story(completions=1, completionMode="Indexed")
    story.count(story.make("a", index=0))
    story.make("b", index=0)
    return story


@breaks("J3")
def a_uid_comes_back() -> Story:
    story = Story()
    a = story.make("a")
    story.count(a)
    story.status(uncountedTerminatedPods={"succeeded": [a]})
    return story


@breaks("J3")
def a_uid_in_both_lists() -> Story:
    story = Story()
    a = story.make("a")
    story.pod(a, "Failed")
    story.status(uncountedTerminatedPods={"succeeded": [a], "failed": [a]})
    return story


@breaks("J3")
def a_success_counted_twice() -> Story:
    story = Story()
    story.count(story.make("a"))
    story.status(succeeded=2)
    return story


@breaks("J3")
def a_failure_that_was_none() -> Story:
    story = Story()
    story.make("a")
    story.status(failed=1)
    return story


@breaks("J4")
def a_counter_falls() -> Story:
    story = Story()
    story.count(story.make("a"), "Failed")
    story.status(failed=0)
    return story


@breaks("J4")
def a_completed_index_is_lost() -> Story:
    story = indexed()
    story.status(completedIndexes="0")
    return story


@breaks("J5")
def a_finished_pod_is_let_go_uncounted() -> Story:
    story = Story()
    a = story.make("a")
    story.pod(a, "Succeeded")
    story.pod(a, finalizers=[])
    story.status(succeeded=1)
    return story


@breaks("J5")
def a_finished_pod_vanishes_uncounted() -> Story:
    story = Story()
    a = story.make("a")
    story.pod(a, "Failed")
    story.gone(a)
    return story


@breaks("J5")
def an_index_is_let_go_uncounted() -> Story:
    story = Story(completionMode="Indexed")
    a = story.make("a", index=0)
    story.pod(a, "Succeeded")
    story.pod(a, finalizers=[])
    return story


@breaks("J5")
def too_many_uids_wait() -> Story:
    story = Story()
    story.status(uncountedTerminatedPods={"failed": [str(number) for number in range(501)]})
    return story


@breaks("J6")
def both_ends() -> Story:
    story = plain()
    story.condition("Failed")
    return story


@breaks("J6")
def an_end_taken_back() -> Story:
    story = plain()
    story.status(conditions=[], completionTime=None)
    return story


@breaks("J6")
def an_end_while_a_pod_runs() -> Story:
    story = Story()
    story.make("a")
    story.finish("Failed")
    return story


@breaks("J6")
def an_end_with_uids_waiting() -> Story:
    story = Story()
    story.pod(story.make("a"), "Failed")
    story.finish("Failed", uncountedTerminatedPods={"failed": ["j-a"]})
    return story


@breaks("J6")
def a_completion_time_of_a_failure() -> Story:
    story = Story()
    story.finish("Failed", completionTime=START)
    return story


@breaks("J7")
def a_pod_after_the_end() -> Story:
    story = plain()
    story.make("d")
    return story


@breaks("J7")
def a_count_after_the_end() -> Story:
    story = plain()
    story.status(failed=2)
    return story


@breaks("J8")
def two_pods_of_an_index() -> Story:
    story = Story(completionMode="Indexed")
    story.make("a", index=0)
    story.make("b", index=0)
    return story


@breaks("J8")
def a_label_of_another_index() -> Story:
    story = Story(completionMode="Indexed")
    story.make("a", index=0, annotations={INDEX: "1"})
    return story


@breaks("J8")
def more_successes_than_indexes() -> Story:
    story = indexed()
    story.status(succeeded=3)
    return story


@breaks("J9")
def failed_below_the_limit() -> Story:
    story = Story()
    story.count(story.make("a"), "Failed")
    story.finish("Failed")
    return story


@breaks("J9")
def complete_above_the_limit() -> Story:
    story = Story(backoffLimit=0, completions=1)
    story.count(story.make("a"), "Failed")
    story.count(story.make("b"))
    story.finish()
    return story


@breaks("J9")
def more_pods_than_asked_for() -> Story:
    story = Story(completions=1)
    story.pod(story.make("a"), finalizers=[])
    story.gone("j-a")
    story.count(story.make("b"))
    story.finish()
    return story


@breaks("J10")
def a_pod_while_suspended() -> Story:
    story = Story(suspend=True)
    story.make("a")
    return story


@breaks("J10")
def a_suspended_pod_counts_as_failed() -> Story:
    story = Story()
    a = story.make("a")
    story.edit(suspend=True)
    story.pod(a, deletionTimestamp=START)
    story.gone(a)
    story.status(uncountedTerminatedPods={"failed": [a]})
    return story


@breaks("J10")
def suspended_with_a_start() -> Story:
    story = Story()
    story.edit(suspend=True)
    story.condition("Suspended")
    return story


@breaks("J10")
def resumed_with_the_old_start() -> Story:
    story = Story(suspend=True)
    story.condition("Suspended")
    story.condition("Suspended", "False", at="2026-01-01T00:01:00Z", startTime=START)
    return story


@breaks("J11")
def somebody_elses_pod_is_deleted() -> Story:
    story = adopted()
    story.wrote("delete", "pods", "j-theirs")
    return story


@breaks("J11")
def somebody_elses_pod_is_taken() -> Story:
    story = adopted()
    story.pod("j-theirs", ownerReferences=[{"uid": UID, "controller": True}])
    return story


@breaks("J11")
def a_pod_that_does_not_match_is_adopted() -> Story:
    story = Story()
    story.make("bare", owner="", labels={"app": "y"})
    story.pod("j-bare", ownerReferences=[{"uid": UID, "controller": True}])
    return story


@breaks("J11")
def a_job_on_its_way_out_adopts() -> Story:
    story = Story()
    story.make("bare", owner="")
    story.object["metadata"]["deletionTimestamp"] = START
    story.status()
    story.pod("j-bare", ownerReferences=[{"uid": UID, "controller": True}])
    return story


@breaks("J12")
def the_deadline_is_early() -> Story:
    story = Story(activeDeadlineSeconds=10)
    story.condition("FailureTarget", reason="DeadlineExceeded", at="2026-01-01T00:00:08Z")
    return story


@breaks("J12")
def the_deadline_is_late() -> Story:
    story = Story(activeDeadlineSeconds=10)
    story.condition("FailureTarget", reason="DeadlineExceeded", at="2026-01-01T00:00:14Z")
    return story


@breaks("J13")
def somebody_elses_job_is_written() -> Story:
    story = Story()
    story.tell("Job", "ADDED", {"metadata": {"name": "k", "uid": "k"}, "spec": {"managedBy": "theirs"}})
    story.wrote("update", "jobs", "k", subresource="status")
    return story


@breaks("J13")
def a_pod_of_somebody_elses_job_is_written() -> Story:
    story = Story()
    story.tell("Job", "ADDED", {"metadata": {"name": "k", "uid": "k"}, "spec": {"managedBy": "theirs"}})
    story.make("z", owner="k")
    story.wrote("patch", "pods", "j-z")
    return story


@breaks("J14")
def a_pod_without_the_finalizer() -> Story:
    story = Story()
    story.make("a", finalizers=[])
    return story


@breaks("J14")
def a_pod_of_another_name() -> Story:
    story = Story()
    story.make("a", name="random")
    return story


@breaks("J14")
def a_pod_without_the_templates_labels() -> Story:
    story = Story()
    story.make("a", labels={})
    return story


@breaks("J14")
def a_template_is_changed() -> Story:
    story = Story()
    story.edit(template={**story.object["spec"]["template"], "metadata": {"labels": {}}})
    return story


@breaks("J-L1")
def no_end() -> Story:
    story = Story()
    story.count(story.make("a"))
    return story


@breaks("J-L2")
def a_finalizer_is_left() -> Story:
    story = Story(completions=1)
    story.pod(story.make("a"), "Failed")
    story.status(uncountedTerminatedPods={"failed": ["j-a"]})
    story.status(uncountedTerminatedPods={}, failed=1)
    story.finish("Failed")
    return story


@breaks("J-L2")
def a_finalizer_is_left_when_the_job_is_gone() -> Story:
    story = Story()
    story.make("a")
    story.tell("Job", "DELETED", story.object)
    return story


@breaks("J-L3")
def a_success_is_lost() -> Story:
    story = Story(completions=1)
    story.pod(story.make("a"), "Succeeded", finalizers=[])
    story.finish()
    return story


@breaks("J-L4")
def a_job_goes_before_its_time() -> Story:
    story = plain()
    story.object["spec"]["ttlSecondsAfterFinished"] = 10
    story.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z"
    story.tell("Job", "MODIFIED", story.object)
    story.tell("Job", "DELETED", story.object)
    return story


@breaks("J-L4")
def the_job_controller_deletes_a_job() -> Story:
    story = plain()
    story.wrote("delete", "jobs", "j")
    return story


@breaks("accepted")
def the_server_finds_a_status_invalid() -> Story:
    story = plain()
    story.wrote("update", "jobs", "j", 422, "status")
    return story


@pytest.mark.parametrize("tale", BAD)
def test_a_bad_history_is_found(tale: str) -> None:
    """The checker of the invariant that it breaks says so."""
    name, tell = BAD[tale]
    assert list(CHECKS[name](tell().history())) != []


def test_each_checker_is_shown_a_bad_history() -> None:
    """Or nobody would know that it can fail."""
    assert {name for name, _tell in BAD.values()} == set(CHECKS)


def test_more_pods_than_without_the_fault_are_found() -> None:
    """J-L5 compares with the run that had no fault."""
    more = plain()
    more.make("d")
    assert extra_pods(plain().history(), plain().history()) == []
    assert extra_pods(more.history(), plain().history()) != []


def test_how_a_job_ended_is_compared_whole() -> None:
    """Counts, indexes and conditions in order; times are no part of it."""
    other = plain()
    other.condition("SuccessCriteriaMet")
    assert outcome(plain().history()) == outcome(plain().history())
    assert outcome(plain().history()) != outcome(other.history())
    assert outcome(deleted().history())["gone"]
    counted = Story()
    counted.count(counted.make("a"))
    counted.tell("Job", "DELETED", counted.object)
    assert outcome(counted.history())["succeeded"] == 1
