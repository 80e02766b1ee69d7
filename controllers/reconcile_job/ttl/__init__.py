"""Deletes Jobs some time after they have finished: ``reconcile run job-ttl``.

It acts on every Job with ``spec.ttlSecondsAfterFinished``, whoever runs it, as kube-controller-manager's does. Run one
of the two (``kube-controller-manager --controllers=*,-ttl-after-finished-controller``); both at once do no harm. It is
a program of its own, because it needs a right that the Job controller must not have: deleting Jobs.
"""

from __future__ import annotations

from reconcile import App, Right
from reconcile_job.ttl.reconciler import DELETION_SECONDS, TTLReconciler, concerns_finished

__all__ = ["app"]

RETRY_SECONDS_MAX = 60.0
"""Between attempts at one Job; a default would have it wait for a quarter of an hour where the server was down."""

app = App("job-ttl")
"""The program, as ``reconcile run job-ttl`` finds it."""

app.add(
    app.builder("batch/v1/Job", name="job-ttl")
    .where(concerns_finished)
    .metrics(DELETION_SECONDS)
    .needs(Right("batch/v1/Job", ["get", "delete"]))
    .options(retry_seconds_max=RETRY_SECONDS_MAX)
    .build(TTLReconciler())
)
