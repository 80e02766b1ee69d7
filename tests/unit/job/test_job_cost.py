"""What a look costs: it touches a Job's own Pods and no others, and deciding grows with the Pods no faster than they do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import anyio
import msgspec
from job_builders import job, pod

from reconcile.core.store import Store
from reconcile.model import json
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.owner import controller_of
from reconcile.reconciler import Request
from reconcile_job.plan.claims import unowned_under
from reconcile_job.plan.options import FINALIZER, MANAGED_BY, Options
from reconcile_job.plan.sync import Done, Memory, decide
from reconcile_job.plan.view import PodView
from reconcile_job.reconciler import JobReconciler

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FOREIGN_PODS = 20_000
PODS = 10_000
TIMES_DECODING_MAX = 25.0
"""It is some 8 times here (5 µs a Pod); a scan for each Pod would be thousands."""


def _pod(number: int, owner: str) -> Object:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": owner, "uid": owner, "controller": True}
    meta = {"name": f"{owner}-{number}", "namespace": "ns", "uid": f"{owner}-{number}", "resourceVersion": "1"}
    meta |= {"ownerReferences": [reference], "finalizers": [FINALIZER], "labels": {"job": owner}}
    return from_plain({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": "Running"}})


class StoreContext:
    """A Context over real stores; it counts the Pods that a look is given."""

    log = logging.getLogger("test")

    def __init__(self, job: Object, pods: Store) -> None:
        self.job, self.pods, self.touched, self.updates = job, pods, 0, 0

    def now(self) -> datetime:
        return NOW

    def get(self, kind: str, name: str) -> Object | None:
        return self.job if kind == "batch/v1/Job" else self.pods.get(ObjectKey("ns", name))

    def owned(self, _kind: str) -> Sequence[Object]:
        return self._counted(self.pods.owned_by(self.job.uid))

    def indexed(self, _kind: str, index: str, value: str) -> Sequence[Object]:
        return self._counted(self.pods.indexed(index, value))

    def _counted(self, found: Sequence[Object]) -> Sequence[Object]:
        self.touched += len(found)
        return found

    async def update(self, body: dict[str, object], *, subresource: str) -> Object:
        assert subresource == "status"
        self.updates += 1
        return from_plain(body)

    def report(self, *_measured: object) -> None:
        """No metrics are served here."""

    def event(self, *_arguments: object, **_options: object) -> None:
        """Nor Events."""


def test_the_pods_of_others_in_the_namespace_are_not_touched() -> None:
    """Beside 20 000 foreign Pods a look is given its own three, and those again that have its finalizer."""

    def tracked(one: Object) -> list[str]:
        reference = controller_of(one)
        return [] if reference is None else [f"ns/{reference.name}"]

    store = Store(indexes={"unowned": unowned_under, "tracked": tracked})
    filling = store.replace()
    filling.add([_pod(number, f"other-{number % 100}") for number in range(FOREIGN_PODS)])
    filling.add([_pod(number, "u") for number in range(3)])
    assert len(list(filling.promote("1"))) == FOREIGN_PODS + 3
    spec = {"completions": 3, "parallelism": 3, "managedBy": MANAGED_BY, "selector": {"matchLabels": {"job": "u"}}}
    meta = {"name": "u", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    context = StoreContext(
        from_plain({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {**spec, "template": {}}}), store
    )
    anyio.run(JobReconciler(Options()), Request(ObjectKey("ns", "u")), context)
    assert context.updates == 1
    assert context.touched == 6


def test_deciding_costs_no_more_than_a_few_times_decoding_the_pods() -> None:
    """Of 10 000 running Pods, beside decoding them in the same moment; the best of three."""
    owner = job(completionMode="Indexed", completions=PODS, parallelism=PODS)
    pods = [pod(f"p{number}", "Running", index=number) for number in range(PODS)]
    raw = [msgspec.json.encode(one) for one in pods]

    def decode() -> None:
        for one in raw:
            json.decode_as(one, PodView)

    def look() -> None:
        plan = decide(owner, pods, now=NOW, memory=Memory(), options=Options(), is_taken=lambda _name: False)
        assert plan.account(Done(), NOW).status.active == PODS

    assert _seconds(look) < TIMES_DECODING_MAX * _seconds(decode)


def _seconds(action: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - began)
    return best
