"""What must hold of a Job whatever happens to its controller: all the checkers, pure functions over a recorded history.

Each gives what is broken, as text. The names (J1 … J14, J-L1 … J-L5) are those of the specification; the rules are in
``job_*_rules``.

Assumptions: specs are edited only while the controller is quiet, so each write is judged by the spec of its moment.
Not visible from here: the cache of the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from job_backoff_rules import j9
from job_condition_rules import j6, j7, j10, j12, jl1, jl4
from job_counting_rules import j3, j4, j5, jl2, jl3
from job_history import History, created
from job_pod_rules import j1, j2, j8, j11, j13, j14

Check = Callable[[History], Iterator[str]]


def accepted(history: History) -> Iterator[str]:
    """The server found nothing invalid: each refusal was that the object had changed, come or gone meanwhile."""
    for write in history.writes:
        if write.code >= 400 and write.code not in (404, 409):
            yield f"{write.verb} of {write.resource} {write.name}: {write.code}"


CHECKS: dict[str, Check] = {
    "J1": j1,
    "J2": j2,
    "J3": j3,
    "J4": j4,
    "J5": j5,
    "J6": j6,
    "J7": j7,
    "J8": j8,
    "J9": j9,
    "J10": j10,
    "J11": j11,
    "J12": j12,
    "J13": j13,
    "J14": j14,
    "J-L1": jl1,
    "J-L2": jl2,
    "J-L3": jl3,
    "J-L4": jl4,
    "accepted": accepted,
}
"""J-L5 (a restart adds no Pod) compares two histories: ``extra_pods``."""


def broken(history: History) -> list[str]:
    """Everything that does not hold."""
    return [f"{name}: {text}" for name, check in CHECKS.items() for text in check(history)]


def extra_pods(history: History, reference: History) -> list[str]:
    """J-L5: no more Pods than in the run without a fault."""
    count, wanted = len(created(history)), len(created(reference))
    return [f"J-L5: {count} Pods, {wanted} without the fault"] if count != wanted else []
