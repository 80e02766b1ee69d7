"""Traces: a Job, and what users and kubelets do to it and its Pods, step by step.

A Pod is named by its position among the Pods that the action may concern, in the order of their normal form (Indexed:
of their indexes), modulo their number; so a trace means the same on every server, whatever its Pods are called there.
``repr`` of a trace is Python that makes it again.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

Json = dict[str, Any]
Pick: TypeAlias = tuple[int, ...]

ALL: Pick = tuple(range(8))
"""Every Pod; no trace has more at a time."""

JOB_NAME = "j"
LONG_AGO = "2026-01-01T00:00:00Z"
"""When containers end, unless backoff is to be waited for: the longest one is over since then."""


@attrs.frozen
class Run:
    """The Pods get a node, and run there: ready, and with so many restarts of the first container."""

    pods: Pick
    ready: bool = True
    restarts: int = 0


@attrs.frozen
class End:
    """The Pods end. ``code`` is the exit code of ``container``, the others end with 0; ``condition`` is True then."""

    pods: Pick
    phase: Literal["Succeeded", "Failed"]
    code: int = 1
    container: str = "main"
    condition: str = ""
    is_fresh: bool = False


@attrs.frozen
class Delete:
    """Somebody deletes the Pods. Those with a node stay, terminating, until it says that they have stopped."""

    pods: Pick


@attrs.frozen
class Vanish:
    """The node says that the terminating Pods have stopped: they are deleted without grace."""

    pods: Pick


@attrs.frozen
class Disown:
    """Somebody takes the owner references off the Pods."""

    pods: Pick


@attrs.frozen
class Relabel:
    """Somebody changes the label by which the Job selects the Pods."""

    pods: Pick


@attrs.frozen
class Stray:
    """Somebody makes a Pod that the Job's selector selects."""

    phase: Literal["Pending", "Succeeded", "Failed"] = "Pending"
    index: int | None = None


@attrs.frozen
class EditStatus:
    """Somebody else changes the Job's status (a merge patch)."""

    status: Json


@attrs.frozen
class DeleteNamespace:
    """Somebody deletes the namespace. Nothing empties it, but nothing can be created in it any more."""


@attrs.frozen
class Edit:
    """Somebody changes the Job's spec (a merge patch)."""

    spec: Json


@attrs.frozen
class DeleteJob:
    """Somebody deletes the Job."""

    propagation: Literal["Background", "Foreground", "Orphan"] = "Background"


@attrs.frozen
class CreateAgain:
    """The Job is created again, under the same name."""


@attrs.frozen
class Wait:
    """So many seconds pass."""

    seconds: float


PodAction: TypeAlias = Run | End | Delete | Vanish | Disown | Relabel
Action: TypeAlias = PodAction | Stray | Edit | EditStatus | DeleteJob | DeleteNamespace | CreateAgain | Wait
Step: TypeAlias = tuple[Action, ...]
"""What happens at once, as far as the controllers can tell."""


@attrs.frozen
class Trace:
    """A Job (its spec; the template may be left out) and steps. ``name`` says which one it is, and is not compared."""

    spec: Json
    steps: tuple[Step, ...]
    name: str = attrs.field(default="", eq=False)

    def __str__(self) -> str:
        steps = "".join(f"\n        {step!r}," for step in self.steps)
        return f"Trace(\n    {self.spec!r},\n    ({steps}\n    ),\n    name={self.name!r},\n)"

    def without_step(self, position: int) -> Trace:
        """The same without one step."""
        return attrs.evolve(self, steps=self.steps[:position] + self.steps[position + 1 :])

    @property
    def manifest(self) -> Json:
        """The Job to create."""
        spec = {"template": template(), **self.spec}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": JOB_NAME}, "spec": spec}


def template(restart: str = "Never", labels: Json | None = None, metadata: Json | None = None, **spec: Any) -> Json:
    """A Pod template with one container, unless told otherwise."""
    containers = [{"name": "main", "image": "local/none"}]
    return {
        "metadata": {"labels": labels or {}, **(metadata or {})},
        "spec": {"restartPolicy": restart, "containers": containers, **spec},
    }


def is_eligible(action: PodAction, pod: Json) -> bool:
    """Whether the action may happen to the Pod."""
    meta, has_ended = pod["metadata"], pod["status"].get("phase") in ("Succeeded", "Failed")
    is_deleting, references = "deletionTimestamp" in meta, meta.get("ownerReferences") or ()
    match action:
        case Run():
            return not has_ended and not is_deleting
        case End():
            return not has_ended
        case Delete():
            return not is_deleting
        case Vanish():
            return is_deleting and meta.get("deletionGracePeriodSeconds") != 0
        case Disown() | Relabel():
            return bool(references) and not is_deleting
