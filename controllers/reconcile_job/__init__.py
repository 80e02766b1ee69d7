"""The Job controller: ``reconcile run job``.

It runs Jobs whose ``spec.managedBy`` is ``reconcile.dev/job-controller`` beside kube-controller-manager (KEP-4368), or
all Jobs in its place with ``--replace``. The thinking is in ``plan``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from reconcile import App, Object, Right, controller_of
from reconcile.model.delta import Delta
from reconcile_job import metrics
from reconcile_job.lanes import Lanes
from reconcile_job.orphans import UnownedPodReconciler
from reconcile_job.plan.claims import job_reference, unowned_under, unowned_value
from reconcile_job.plan.options import MANAGED_BY, RETRY_SECONDS_MAX, RETRY_SECONDS_MIN, Options
from reconcile_job.plan.view import JobView
from reconcile_job.reconciler import JobReconciler

__all__ = ["app"]

NAME = "job-controller"
"""As upstream's: who Events and fields are from, and the default name of the lease."""

WORKERS = 64
"""Jobs looked at at a time. A look mostly waits for a lane; more of them than lanes, so that there is a choice."""

PRIORITY_BEGUN = 10
"""Of a Job whose Pods change: it goes ahead of those that are new, so that it is over sooner."""


RIGHTS = (
    Right("batch/v1/Job", ["get"]),  # before a Pod is adopted, or taken for one whose Job is gone
    Right("batch/v1/Job", ["update"], "status"),
    Right("batch/v1/Job", ["update"], "finalizers"),  # for blockOwnerDeletion, where the server checks who may set it
    Right("v1/Pod", ["create", "patch", "delete"]),
)
"""What both controllers ask of the server besides watching. No right to change a Job's spec, or to delete one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--managed-by`` and ``--replace``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--managed-by",
        metavar="NAME",
        default=MANAGED_BY,
        help="serve the Jobs whose spec.managedBy is NAME (default: %(default)s)",
    )
    which.add_argument(
        "--replace",
        action="store_true",
        help="serve the Jobs of kube-controller-manager's Job controller, which must be off"
        " (kube-controller-manager --controllers=*,-job-controller)",
    )


def setup(app: App, arguments: argparse.Namespace) -> None:
    """Declare the controllers."""
    options = Options(managed_by=arguments.managed_by, replace=arguments.replace)
    lanes = Lanes()

    def tracked_under(pod: Object) -> Iterable[str]:
        """A Pod that waits to be counted: under the key of its Job."""
        reference = job_reference(pod)
        if reference is not None and options.finalizer in pod.finalizers:
            yield f"{pod.namespace}/{reference.name}"

    reconciler = JobReconciler(options, lanes)
    retries = {
        "retry_seconds_min": RETRY_SECONDS_MIN,
        "retry_seconds_max": RETRY_SECONDS_MAX,
        "field_manager": NAME,
    }
    pod_indexes = {"unowned": unowned_under, "tracked": tracked_under}
    app.add(
        app.builder("batch/v1/Job", name="job", measure=metrics.foreign_jobs(options))
        .owns("v1/Pod", indexes=pod_indexes, measure=metrics.tracked_ends(options.finalizer), priority=PRIORITY_BEGUN)
        .metrics(*metrics.ALL)
        .needs(*RIGHTS)
        .start_check(reconciler.check_server)
        .options(workers=WORKERS, field_validation="Ignore", **retries)
        .build(reconciler)
    )
    app.add(
        app.builder("v1/Pod", name="job-unowned-pod", indexes=pod_indexes)
        .where(concerns_unowned)
        .watches("batch/v1/Job", enqueue=lambda _delta: (), indexes={"selecting": _selecting})
        .needs(*RIGHTS)
        .options(field_validation="Ignore", **retries)
        .build(UnownedPodReconciler(options, lanes))
    )


def concerns_unowned(delta: Delta) -> bool:
    """A Pod without controller, of which something has changed that decides whose it may be."""
    old, new = delta.old, delta.new
    if new is None or controller_of(new) is not None:
        return False
    if old is None or old is new:
        return True
    before, after = old.metadata, new.metadata
    return (before.labels, before.owner_references, before.finalizers, before.deletion_timestamp) != (
        after.labels,
        after.owner_references,
        after.finalizers,
        after.deletion_timestamp,
    )


def _selecting(job: Object) -> Iterable[str]:
    """A Job: where ``unowned_under`` has the Pods that its selector may select."""
    yield unowned_value(job.decode(JobView))


app = App(NAME, arguments=add_arguments, setup=setup)
