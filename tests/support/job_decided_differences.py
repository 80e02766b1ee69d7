"""The differences from kube-controller-manager's Job controller that are meant, each with its reason.

``docs/explanation/job-controller.md`` tells users of each. An entry accepts no more than its own case, and the long run
fails if one is not met any more: then it must go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from job_differential import Finding

Json = dict[str, Any]


@attrs.frozen
class Decided:
    """A difference that is meant.

    Attributes:
        name: what is different.
        reason: why.
        accepts: whether a finding is this difference.
    """

    name: str
    reason: str
    accepts: Callable[[Finding], bool] = attrs.field(repr=False)


def _status(side: Json) -> Json:
    return (side["job"] or {}).get("status") or {}


def _has(status: Json, *types: str) -> bool:
    return any(one["type"] in types and one["status"] == "True" for one in status.get("conditions") or ())


def _is_of_a_suspended_decided_job(finding: Finding) -> bool:
    theirs, ours = _status(finding.theirs), _status(finding.ours)
    return (
        bool(finding.ours["job"]["spec"].get("suspend"))
        and _has(theirs, "FailureTarget", "SuccessCriteriaMet")
        and not _has(theirs, "Failed", "Complete")
        and _has(ours, "Failed", "Complete")
        and "startTime" not in theirs
        and "startTime" in ours
        and finding.difference.path
        in ("job.status.startTime", "job.status.completionTime", "job.status.conditions", "told")
    )


DECIDED = (
    Decided(
        "a suspended Job that is decided by Pods that had ended is finished",
        "A finished Job must have a start time, or the API server refuses the status (kubernetes/kubernetes#132144). For a "
        "suspended Job kube-controller-manager sends none, again and again; ours gives it one when it is decided.",
        _is_of_a_suspended_decided_job,
    ),
)


def decided(finding: Finding) -> Decided | None:
    """The entry that accepts the finding, or None: then it is a bug, of ours or of the trace."""
    return next((one for one in DECIDED if one.accepts(finding)), None)
