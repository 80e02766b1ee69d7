"""Which Pods are a Job's own: adoption and release by controller reference.

Labels alone prove nothing: a Pod that another controller owns is never touched, whatever its labels say.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

from reconcile.model.meta import OwnerReference
from reconcile.model.object import Object
from reconcile.model.owner import controller_of
from reconcile.model.selector import LabelSelector
from reconcile_job.plan.pods import owner_reference
from reconcile_job.plan.view import JobView

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"


class Claim(Enum):
    """What a Pod is to a Job."""

    OWNED = auto()
    TO_ADOPT = auto()
    TO_RELEASE = auto()
    FOREIGN = auto()


def claim(job: JobView, selector: LabelSelector, pod: Object) -> Claim:
    """What ``pod`` is to ``job``.

    A Job that is being deleted keeps the Pods it has, adopts none and releases none.
    """
    reference = controller_of(pod)
    matches = selector.matches(pod.labels)
    if reference is not None:
        if reference.uid != job.uid:
            return Claim.FOREIGN
        return Claim.OWNED if matches or job.is_deleting else Claim.TO_RELEASE
    if job.is_deleting or job.status.is_finished or pod.is_deleting or not matches:
        return Claim.FOREIGN
    return Claim.TO_ADOPT


def selector_of(job: JobView) -> LabelSelector | None:
    """The Job's selector, or None where it has none (nothing is selected then). Raises DecodeError."""
    return None if job.spec.selector is None else LabelSelector.from_plain(job.spec.selector)


def adoption(job: JobView, finalizer: str) -> dict[str, object]:
    """The strategic merge patch that makes a Pod the Job's own. Sent with the Pod's uid as precondition."""
    return {"metadata": {"ownerReferences": [owner_reference(job)], "finalizers": [finalizer]}}


def release(job: JobView, finalizer: str) -> dict[str, object]:
    """The strategic merge patch that lets a Pod go. Sent with the Pod's uid as precondition."""
    return {
        "metadata": {
            "ownerReferences": [{"$patch": "delete", "uid": job.uid}],
            "$deleteFromPrimitiveList/finalizers": [finalizer],
        }
    }


def tracking(finalizer: str) -> dict[str, object]:
    """The strategic merge patch that puts the finalizer on a Pod."""
    return {"metadata": {"finalizers": [finalizer]}}


def untracking(finalizer: str) -> dict[str, object]:
    """The strategic merge patch that takes the finalizer off a Pod, and leaves the others."""
    return {"metadata": {"$deleteFromPrimitiveList/finalizers": [finalizer]}}


# -- the indexes under which Pods and Jobs are found without scanning a namespace ---------------------------------


def job_reference(pod: Object) -> OwnerReference | None:
    """The controller reference, if it is to a Job of batch/v1."""
    reference = controller_of(pod)
    if reference is None or reference.kind != "Job" or reference.api_version != "batch/v1":
        return None
    return reference


def unowned_under(pod: Object) -> Iterable[str]:
    """A Pod without controller: under its namespace, and under the uid that a generated selector would match."""
    if controller_of(pod) is None:
        yield pod.namespace
        uid = pod.labels.get(CONTROLLER_UID)
        if uid:
            yield f"{pod.namespace}/{uid}"


def unowned_value(job: JobView) -> str:
    """Where ``unowned_under`` has the Pods that this Job might adopt."""
    return job.metadata.namespace if job.spec.manual_selector else f"{job.metadata.namespace}/{job.uid}"
