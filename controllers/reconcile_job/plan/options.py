"""How the Job controller is set, and its limits."""

from __future__ import annotations

import re
from typing import Final

import attrs

from reconcile import UsageError

MANAGED_BY: Final = "reconcile.dev/job-controller"
"""``spec.managedBy`` of the Jobs that are ours (KEP-4368)."""

BUILT_IN: Final = "kubernetes.io/job-controller"
"""The reserved name of kube-controller-manager's Job controller."""

FINALIZER: Final = "reconcile.dev/job-tracking"
"""Ours: external controllers should not use the reserved one."""

FINALIZER_RESERVED: Final = "batch.kubernetes.io/job-tracking"
"""The one that kube-controller-manager uses, for ``--replace``."""

MANAGED_BY_CHARACTERS_MAX: Final = 63
_MANAGED_BY = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[-A-Za-z0-9._~%!$&'()*+,;=:/]+"
)
"""A domain and a path: the API server accepts no Job with anything else (KEP-4368)."""

RETRY_SECONDS_MIN: Final = 1.0
RETRY_SECONDS_MAX: Final = 60.0
"""What the built-in controller uses between attempts at one Job."""

PODS_PER_SYNC_MAX: Final = 500
"""Creates or deletes of surplus in one sync, so that one big Job does not starve the small ones."""

UNCOUNTED_MAX: Final = 500
"""Pods counted in one sync: their uids stand in the status meanwhile, about 20 KB."""

BATCH_SECONDS_MAX: Final = 1.0
"""A busy Job's status is written at most this often, unless something is decided."""

BATCH_LARGE: Final = 100
"""So many finished Pods are worth a write at once."""

BIG_JOB_PODS: Final = 1000
"""Below this a look costs under 5 ms, and is never put off."""

PAUSE_SECONDS_PER_POD: Final = 35e-6
"""Ten times what a look costs a Pod, so that looking at one Job takes a tenth of a core: 0.35 s for 10 000 Pods."""


@attrs.frozen
class Options:
    """What distinguishes one run of this controller from another.

    Attributes:
        managed_by: the ``spec.managedBy`` that is served.
        replace: serve the Jobs of the built-in controller instead: those with no ``managedBy`` and with its own name.
        resets_start_time: give a Job that is resumed a new start time even where it kept the first; some servers refuse
            that (see ``reconcile_job.plan.server``).

    Raises:
        UsageError: no Job can have that ``managedBy``, or those that have it belong to the built-in controller.
    """

    managed_by: str = MANAGED_BY
    replace: bool = False
    resets_start_time: bool = True

    def __attrs_post_init__(self) -> None:
        if self.managed_by == BUILT_IN:
            raise UsageError(
                f"--managed-by {BUILT_IN}: these Jobs are the built-in controller's; to serve them in its place, use "
                f"--replace and start kube-controller-manager with --controllers=*,-job-controller"
            )
        if len(self.managed_by) > MANAGED_BY_CHARACTERS_MAX or not _MANAGED_BY.fullmatch(self.managed_by):
            raise UsageError(
                f"--managed-by {self.managed_by!r}: no Job can have that; want a domain of yours and a name, such as "
                f"'example.com/job-controller', at most {MANAGED_BY_CHARACTERS_MAX} characters"
            )

    @property
    def finalizer(self) -> str:
        return FINALIZER_RESERVED if self.replace else FINALIZER

    def serves(self, managed_by: str | None) -> bool:
        """Whether a Job with this ``spec.managedBy`` is ours (J13: others' Jobs are never written)."""
        if self.replace:
            return managed_by in (None, "", BUILT_IN)
        return managed_by == self.managed_by
