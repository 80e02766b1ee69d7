"""Histories told by hand, for the checkers: good ones, and what the bad ones are told with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from audit import Audited
from job_history import INDEX, History, Seen

UID, FINALIZER = "job-uid", "example.com/tracking"
START = "2026-01-01T00:00:00Z"
LONG_AGO = "2025-01-01T00:00:00Z"


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
        meta["creationTimestamp"] = START
        spec: dict[str, Any] = {"containers": [{"name": "main", "image": "i"}]}
        if index is not None:
            meta["labels"][INDEX], meta["annotations"], spec["hostname"] = str(index), {INDEX: str(index)}, f"j-{index}"
        if owner:
            meta["ownerReferences"] = [{"uid": owner, "controller": True}]
        self.pods[name] = {"metadata": {**meta, **metadata}, "spec": spec, "status": {"phase": "Pending"}}
        self.tell("Pod", "ADDED", self.pods[name])
        return name

    def pod(self, name: str, phase: str = "", *, ended: str = LONG_AGO, **metadata: Any) -> None:
        """The Pod changes; one that ends did so at ``ended``."""
        if phase:
            done = {"name": "main", "state": {"terminated": {"exitCode": int(phase == "Failed"), "finishedAt": ended}}}
            self.pods[name]["status"] = {"phase": phase, "containerStatuses": [done]}
        self.pods[name]["metadata"].update(metadata)
        self.tell("Pod", "MODIFIED", self.pods[name])

    def gone(self, name: str) -> None:
        self.tell("Pod", "DELETED", self.pods.pop(name))

    def count(self, name: str, phase: str = "Succeeded", ended: str = LONG_AGO) -> None:
        """The Pod ends, and is counted as it should be."""
        which = phase.lower()
        index = self.pods[name]["metadata"].get("annotations", {}).get(INDEX)
        self.pod(name, phase, ended=ended)
        done = self.object["status"].get(which, 0) + 1
        if index is not None and phase == "Succeeded":
            before = self.object["status"].get("completedIndexes")
            self.status(succeeded=done, completedIndexes=index if not before else f"{before},{index}")
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


def rule(action: str) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"operator": "In", "values": [1]}}


def backing_off(made: str) -> Story:
    """Two failures in a row, the second at the start; the third Pod is made then."""
    story = Story(completions=1)
    story.count(story.make("a"), "Failed")
    story.count(story.make("b"), "Failed", START)
    story.make("c", creationTimestamp=made)
    return story


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


def ignored() -> Story:
    """A failure that policy ignores is let go uncounted, and made up for."""
    story = Story(completions=1, podFailurePolicy={"rules": [rule("Ignore")]})
    a = story.make("a")
    story.pod(a, "Failed")
    story.pod(a, finalizers=[])
    story.count(story.make("b"))
    story.finish()
    return story


def elastic() -> Story:
    """Index 1 is forgotten when the Job shrinks, and runs again when it grows."""
    story = Story(completionMode="Indexed")
    story.count(story.make("a", index=1))
    story.edit(completions=1, parallelism=1)
    story.make("b", index=0)
    story.status(succeeded=0, completedIndexes="")
    story.edit(completions=2, parallelism=2)
    story.count(story.make("c", index=1))
    story.count("j-0-b")
    story.finish()
    return story


def patient() -> Story:
    """The third Pod comes when the backoff after two failures is over."""
    story = backing_off("2026-01-01T00:00:20Z")
    story.count("j-c")
    story.finish()
    return story


def taken_for_a_failure() -> Story:
    """A Pod on its way out counts as failed, and ends well after that."""
    story = Story(completions=1)
    a = story.make("a")
    story.pod(a, deletionTimestamp=START)
    story.status(uncountedTerminatedPods={"failed": [a]})
    story.pod(a, "Succeeded")
    story.pod(a, finalizers=[])
    story.status(uncountedTerminatedPods={}, failed=1)
    story.count(story.make("b"))
    story.finish()
    return story


GOOD = {
    tale.__name__: tale
    for tale in (plain, indexed, suspended, adopted, late, deleted, ignored, elastic, patient, taken_for_a_failure)
}


BAD: dict[str, tuple[str, Callable[[], Story]]] = {}


def breaks(name: str) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    def note(tale: Callable[[], Story]) -> Callable[[], Story]:
        BAD[tale.__name__] = (name, tale)
        return tale

    return note
