"""The differences from kube-controller-manager's Job controller that are meant, each with its reason.

``docs/explanation/job-controller.md`` tells users of each. An entry accepts no more than its own case, and the long run
fails if one is not met any more: then it must go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
from job_differential import Finding
from job_history import INDEX

from reconcile_job.plan.indexes import Indexes
from reconcile_job.plan.options import FINALIZER_RESERVED

Json = dict[str, Any]


@attrs.frozen
class Decided:
    """A difference that is meant.

    Attributes:
        name: what is different.
        reason: why.
        accepts: whether a finding is this difference.
        is_by_chance: whether it depends on more than the trace, so that a run may go without it.
    """

    name: str
    reason: str
    accepts: Callable[[Finding], bool] = attrs.field(repr=False)
    is_by_chance: bool = False


def _status(side: Json) -> Json:
    return (side["job"] or {}).get("status") or {}


def _spec(side: Json) -> Json:
    return (side["job"] or {}).get("spec") or {}


def _true(status: Json) -> list[str]:
    return [one["type"] for one in status.get("conditions") or () if one["status"] == "True"]


def _words(status: Json, type: str) -> list[Json]:
    """What the conditions of this type say, apart from their type and times."""
    said = ("status", "reason", "message")
    return [{name: one.get(name) for name in said} for one in status.get("conditions") or () if one["type"] == type]


def _has(status: Json, *types: str) -> bool:
    return any(one["type"] in types and one["status"] == "True" for one in status.get("conditions") or ())


def _is_of_a_suspended_decided_job(finding: Finding) -> bool:
    theirs, ours = _status(finding.theirs), _status(finding.ours)
    interim, terminal = next(
        (pair for pair in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")) if _has(theirs, pair[0])),
        ("", ""),
    )
    return (
        bool(_spec(finding.ours).get("suspend"))
        and not _has(theirs, "Failed", "Complete")
        and [*_true(theirs), terminal] == _true(ours)
        and _words(theirs, interim) == _words(ours, interim) == _words(ours, terminal)
        and "startTime" not in theirs
        and "startTime" in ours
        and finding.difference.path
        in ("job.status.startTime", "job.status.completionTime", "job.status.conditions", "told")
    )


def _is_a_choice_among_equals(finding: Finding) -> bool:
    """Without their indexes the Pods are alike: of those that rank alike, others were deleted."""
    theirs, ours = finding.theirs, finding.ours
    return (
        finding.difference.path.startswith("pods[")
        and theirs["job"] == ours["job"]
        and sorted(map(_without_index, theirs["pods"])) == sorted(map(_without_index, ours["pods"]))
    )


def _is_of_an_index_that_would_be_both(finding: Finding) -> bool:
    """A Pod ended well whose index has failed for good: it keeps the finalizer there, because the status is refused."""
    return (
        finding.difference.path.endswith(".metadata.finalizers")
        and FINALIZER_RESERVED in (finding.difference.theirs or ())
        and finding.theirs["job"] == finding.ours["job"]
        and any(_has_succeeded_though_failed(finding.theirs, pod) for pod in finding.theirs["pods"])
    )


def _has_succeeded_though_failed(side: Json, pod: Json) -> bool:
    spec, failed = _spec(side), _status(side).get("failedIndexes")
    index = (pod["metadata"].get("annotations") or {}).get(INDEX)
    is_stuck = pod["status"].get("phase") == "Succeeded" and FINALIZER_RESERVED in pod["metadata"].get("finalizers", ())
    return bool(failed) and is_stuck and index is not None and int(index) in Indexes.parse(failed, spec["completions"])


def _is_a_second_failure_target(finding: Finding) -> bool:
    """Somebody had written FailureTarget=False: it stands there once as ours has it, and twice as theirs has it."""
    return finding.difference.path in ("job.status.conditions", "told") and (
        _count(finding.theirs, "FailureTarget"),
        _count(finding.ours, "FailureTarget"),
    ) == (2, 1)


def _count(side: Json, type: str) -> int:
    return sum(one["type"] == type for one in _status(side).get("conditions") or ())


def _without_index(pod: Json) -> str:
    meta = pod["metadata"]
    meta = {**meta, **{name: {**meta.get(name, {}), INDEX: None} for name in ("labels", "annotations")}}
    return json.dumps({**pod, "metadata": meta, "spec": {**pod["spec"], "hostname": None}}, sort_keys=True)


DECIDED = (
    Decided(
        "a suspended Job that is decided by Pods that had ended is finished",
        "A finished Job must have a start time, or the API server refuses the status (kubernetes/kubernetes#132144). For a "
        "suspended Job kube-controller-manager sends none, again and again; ours gives it one when it is decided.",
        _is_of_a_suspended_decided_job,
    ),
    Decided(
        "an index that has failed does not succeed as well",
        "The API server refuses a status in which an index is completed and failed. kube-controller-manager writes it again "
        "and again; ours leaves the index failed.",
        _is_of_an_index_that_would_be_both,
    ),
    Decided(
        "a condition stands in a status once",
        "Where somebody has written FailureTarget=False, kube-controller-manager appends a second one; ours turns it True.",
        _is_a_second_failure_target,
    ),
    Decided(
        "which of several Pods that rank alike is deleted when there are too many",
        "The youngest goes first, by whole seconds: Pods that were made together may differ by one or not. Of those that "
        "do not the built-in controller takes any.",
        _is_a_choice_among_equals,
        is_by_chance=True,
    ),
)


def decided(finding: Finding) -> Decided | None:
    """The entry that accepts the finding, or None: then it is a bug, of ours or of the trace."""
    return next((one for one in DECIDED if one.accepts(finding)), None)
