"""Which API servers the Job controller works with, told from ``/version``: a pure rule.

==================  ==========================================  =====================================================
server              Jobs with our ``managedBy``                 ``--replace``
==================  ==========================================  =====================================================
1.34.2 and later    everything                                  everything
1.32 – 1.34.1       a resumed Job may keep its first start      the same
1.31                refused: the field is off by default, and   a resumed Job may keep its first start
                    kube-controller-manager would run them too
before 1.31         refused                                     refused: most Jobs could not complete
==================  ==========================================  =====================================================

Sources: KEP-4368 (managedBy: alpha 1.30, on by default since 1.32), KEP-3998 and kubernetes/kubernetes#122303 (until
1.31 ``SuccessCriteriaMet`` is unknown, or refused for a Job without a successPolicy, and here every Complete has it),
kubernetes/kubernetes#134521 (a startTime that is set anew on resume is refused; fixed in 1.32.10, 1.33.6 and 1.34.2).
Caveats: a gate that an administrator has turned off does not show in the version.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import attrs

from reconcile import UsageError
from reconcile_job.plan.options import Options

OLDEST_MANAGED_BY: Final = (1, 32)
OLDEST_REPLACE: Final = (1, 31)

START_TIME_FIXED: Final = {(1, 32): 10, (1, 33): 6, (1, 34): 2}
"""The first patch release of each minor release in which a resumed Job may get a new start time."""

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?!\d)")


class Suited(NamedTuple):
    """How to run on a server.

    Attributes:
        options: those given, adapted to it.
        warning: what will be missing and why; empty for nothing.
    """

    options: Options
    warning: str


def suited(git_version: str, options: Options) -> Suited:
    """How to run on a server that calls itself ``git_version``, such as ``v1.37.2`` or ``v1.33.5-gke.100``.

    Raises:
        UsageError: it is too old for what is asked; the text says what would do.
    """
    found = _VERSION.match(git_version)
    if found is None or found[1] == "0":
        return Suited(
            options,
            f"the API server calls itself {git_version!r}, which names no release: it is taken for a current one",
        )
    release = (int(found[1]), int(found[2]))
    oldest = OLDEST_REPLACE if options.replace else OLDEST_MANAGED_BY
    if release < oldest:
        raise UsageError(_refusal(git_version, options, release))
    if release >= (1, 35) or int(found[3]) >= START_TIME_FIXED.get(release, int(found[3]) + 1):
        return Suited(options, "")
    return Suited(
        attrs.evolve(options, resets_start_time=False),
        f"the API server is {git_version}: it may refuse a new start time for a Job that is resumed "
        f"(kubernetes/kubernetes#134521). One that was suspended by another controller keeps its first start, from "
        f"which activeDeadlineSeconds is counted. Fixed in 1.32.10, 1.33.6, 1.34.2 and later",
    )


def _refusal(git_version: str, options: Options, release: tuple[int, int]) -> str:
    said = f"the API server is {git_version}, and the Job controller "
    if options.replace:
        oldest = ".".join(map(str, OLDEST_REPLACE))
        return (
            f"{said}needs {oldest} or later with --replace: before, servers refuse the condition "
            f"SuccessCriteriaMet for most Jobs (1.30) or do not know it, and none completes without; upgrade the "
            f"cluster, or leave its Jobs to the built-in one"
        )
    oldest = ".".join(map(str, OLDEST_MANAGED_BY))
    way_out = "upgrade the cluster"
    if release >= OLDEST_REPLACE:
        way_out += (
            ", or run with --replace, in place of the built-in controller"
            " (kube-controller-manager --controllers=*,-job-controller)"
        )
    return (
        f"{said}needs {oldest} or later: before, spec.managedBy is off by default, and the built-in controller would "
        f"run the same Jobs; {way_out}"
    )
