"""What ``reconcile run job`` measures, beside what kube-controller-manager measures of the same Jobs."""

from __future__ import annotations

import asyncio
import functools
import re
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from anyio import to_thread
from pods import POD, Cluster, job_manifest
from prometheus_client.parser import text_string_to_metric_families
from service_process import service

from reconcile import Object, connect, load_config
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.waiting import eventually

OURS, THEIRS = "reconcile.dev/job-controller", None
FOREIGN = "example.com/other"
PREFIX = "job_controller_"
LOOKS = ("job_syncs_total", "job_sync_duration_seconds")
"""How often each looks, and how long it takes, is its own affair."""

Series = tuple[str, frozenset[tuple[str, str]]]


def rules(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"rules": list(rules)}


def on_exit(action: str, code: int) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"operator": "In", "values": [code]}}


INDEXED_TWO = {"completions": 2, "parallelism": 2, "completionMode": "Indexed"}
PER_INDEX = {**INDEXED_TWO, "backoffLimitPerIndex": 0}

JOBS: dict[str, dict[str, Any]] = {
    "plain": {"completions": 3, "parallelism": 2},
    "indexed": {"completions": 3, "parallelism": 3, "completionMode": "Indexed"},
    "backoff": {"backoffLimit": 0},
    "deadline": {"activeDeadlineSeconds": 1},
    "again": {},
    "fail-job": {"podFailurePolicy": rules(on_exit("FailJob", 42))},
    "ignore": {"podFailurePolicy": rules(on_exit("Ignore", 43))},
    "count": {"podFailurePolicy": rules(on_exit("Count", 44))},
    "per-index": PER_INDEX,
    "too-many": {**PER_INDEX, "maxFailedIndexes": 0},
    "fail-index": {**PER_INDEX, "completions": 1, "podFailurePolicy": rules(on_exit("FailIndex", 45))},
    "enough": {**INDEXED_TWO, "successPolicy": rules({"succeededIndexes": "0"})},
}
EXIT_CODES: dict[str, tuple[int | None, ...]] = {
    # Of the Pods, in the order of their indexes, or of their creation; 0 for all others. None runs on.
    "backoff": (1,),
    "deadline": (None,),
    "again": (1,),
    "fail-job": (42,),
    "ignore": (43,),
    "count": (44,),
    "per-index": (1,),
    "too-many": (1, None),
    "fail-index": (45,),
    "enough": (0, None),
}


def counted(**counts: float) -> dict[Series, float]:
    """``name__value_value=count``, by the labels of LABELS."""
    found: dict[Series, float] = {}
    for text, count in counts.items():
        name, _, values = text.partition("__")
        labels = LABELS[name]
        found[PREFIX + name, frozenset(zip(labels, values.split("__"), strict=True))] = count
    return found


LABELS = {
    "jobs_finished_total": ("completion_mode", "result", "reason"),
    "job_pods_finished_total": ("completion_mode", "result"),
    "job_pods_creation_total": ("reason", "status"),
    "job_finished_indexes_total": ("status", "backoffLimit"),
    "pod_failures_handled_by_failure_policy_total": ("action",),
    "terminated_pods_tracking_finalizer_total": ("event",),
}
EXPECTED = counted(
    jobs_finished_total__NonIndexed__succeeded__CompletionsReached=4,
    jobs_finished_total__Indexed__succeeded__CompletionsReached=1,
    jobs_finished_total__Indexed__succeeded__SuccessPolicy=1,
    jobs_finished_total__NonIndexed__failed__BackoffLimitExceeded=1,
    jobs_finished_total__NonIndexed__failed__DeadlineExceeded=1,
    jobs_finished_total__NonIndexed__failed__PodFailurePolicy=1,
    jobs_finished_total__Indexed__failed__FailedIndexes=2,
    jobs_finished_total__Indexed__failed__MaxFailedIndexesExceeded=1,
    job_pods_finished_total__NonIndexed__succeeded=3 + 1 + 1 + 1,  # plain, again, ignore, count
    job_pods_finished_total__NonIndexed__failed=1 + 1 + 1 + 1 + 1,  # backoff, deadline, again, fail-job, count
    job_pods_finished_total__Indexed__succeeded=3 + 1 + 1,  # indexed, per-index, enough
    job_pods_finished_total__Indexed__failed=1 + 2 + 1,  # per-index, too-many, fail-index
    job_pods_creation_total__new__succeeded=3 + 3 + 4 + 2 + 1 + 2 + 2 + 1 + 2,  # of "ignore" both: nothing has failed
    job_pods_creation_total__recreate_terminating_or_failed__succeeded=1,  # again
    job_pods_creation_total__recreate_failed__succeeded=1,  # count
    job_finished_indexes_total__succeeded__global=3 + 1,  # indexed, enough
    job_finished_indexes_total__succeeded__perIndex=1,
    job_finished_indexes_total__failed__perIndex=1 + 1 + 1,  # per-index, too-many, fail-index
    pod_failures_handled_by_failure_policy_total__FailJob=1,
    pod_failures_handled_by_failure_policy_total__Ignore=1,
    pod_failures_handled_by_failure_policy_total__Count=1,
    pod_failures_handled_by_failure_policy_total__FailIndex=1,
    terminated_pods_tracking_finalizer_total__add=3 + 3 + 1 + 2 + 1 + 2 + 2 + 2 + 1 + 1 + 1,
    terminated_pods_tracking_finalizer_total__delete=3 + 3 + 1 + 2 + 1 + 2 + 2 + 2 + 1 + 1 + 1,
)


def samples(text: str) -> dict[Series, float]:
    """The Job controller's series of a scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


def without_looks(found: Mapping[Series, float], *also: str) -> dict[Series, float]:
    left_out = tuple(PREFIX + name for name in (*LOOKS, *also))
    return {key: value for key, value in found.items() if not key[0].startswith(left_out) and value}


def told(found: Mapping[Series, float]) -> list[str]:
    """For a failure's text."""
    return sorted(f"{name} {dict(sorted(labels))} {value:g}" for (name, labels), value in found.items())


@pytest.fixture(scope="module")
def beside() -> Iterator[ControlPlane]:
    """A control plane of its own, whose kube-controller-manager shows its metrics to everybody on this machine."""
    from anyio.from_thread import start_blocking_portal

    config = ControlPlaneConfig(
        controllers="job-controller",
        controller_manager_arguments=("--authorization-always-allow-paths=/healthz,/metrics",),
    )
    control_plane = ControlPlane(config)
    with start_blocking_portal() as portal:
        portal.call(control_plane.start)
        for namespace in ("ours", "theirs"):
            portal.call(control_plane.create_namespace, namespace)
        yield control_plane
        portal.call(control_plane.stop)


async def their_scrape(control_plane: ControlPlane) -> str:
    log = (control_plane.directory / "kube-controller-manager.log").read_text()
    port = int(re.findall(r"Serving securely on 127\.0\.0\.1:(\d+)", log)[-1])
    rest = attrs.evolve(control_plane.rest, port=port, token=None)
    return await to_thread.run_sync(rest.request, "GET", "/metrics")


async def our_scrape(url: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  ours, on loopback
            return answer.read().decode()

    return await asyncio.to_thread(read)


class Ends:
    """Ends the Pods of the Jobs as EXIT_CODES says, once as many of a Job run as may."""

    def __init__(self, where: Cluster) -> None:
        self.where = where
        self.ended: dict[str, list[str]] = defaultdict(list)

    async def step(self) -> bool:
        """Whether every Job is over."""
        waiting: dict[str, list[Object]] = defaultdict(list)
        for pod in await self.where.list(POD):
            if pod.field("status")["phase"] == "Pending" and not pod.is_deleting:
                waiting[pod.labels["batch.kubernetes.io/job-name"]].append(pod)
        for job, pods in waiting.items():
            if (
                JOBS[job].get("completionMode") == "Indexed"
                and len(pods) + len(self.ended[job]) < JOBS[job]["completions"]
            ):
                continue  # so that which Pods there are does not depend on who is faster
            for pod in pods:
                await self.end(job, pod)
        over = [{"Complete", "Failed"} & set(await self.where.conditions(job)) for job in JOBS]
        return all(over)

    async def end(self, job: str, pod: Object) -> None:
        ended = self.ended[job]
        index = pod.labels.get("batch.kubernetes.io/job-completion-index")
        place = len(ended) if index is None else int(index)
        codes = EXIT_CODES.get(job, ())
        code = codes[place] if place < len(codes) else 0
        if code is None or pod.uid in ended:
            return
        ended.append(pod.uid)
        # A minute ago, so that no backoff is left to wait for.
        at = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        container = {
            "name": "main",
            "image": "local/none",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "startedAt": at, "finishedAt": at}},
        }
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}
        await self.where.patch(POD, pod.name, {"status": status}, "status")


@pytest.mark.asyncio
async def test_the_same_jobs_give_the_same_metrics(beside: ControlPlane, tmp_path: Path) -> None:
    """Jobs of every end run under both, at once. Each counts its own exactly, and the two agree in every series."""
    async with (
        connect(load_config(beside.admin_kubeconfig)) as client,
        service(tmp_path, beside.admin_kubeconfig, app="job") as running,
    ):
        url = await running.url("metrics")
        await running.logged("caches synced")
        runs = {"ours": Cluster(client, "ours"), "theirs": Cluster(client, "theirs")}
        for namespace, where in runs.items():
            for name, spec in JOBS.items():
                await where.create(job_manifest(name, managed_by=OURS if namespace == "ours" else THEIRS, **spec))
        await runs["ours"].create(job_manifest("foreign", managed_by=FOREIGN))
        for where in runs.values():
            await eventually(Ends(where).step, seconds=90)

        async def pods_are_free() -> bool:
            pods = [pod for where in runs.values() for pod in await where.list(POD)]
            return not any(pod.finalizers for pod in pods)

        await eventually(pods_are_free)

        async def agree(scrape: Any, expected: Mapping[Series, float]) -> bool:
            return without_looks(samples(await scrape)) == expected

        foreign = PREFIX + "jobs_by_external_controller_total"
        expected_ours = EXPECTED | {(foreign, frozenset({("controller_name", FOREIGN)})): 1}
        expected_theirs = expected_ours | {(foreign, frozenset({("controller_name", OURS)})): len(JOBS)}
        for scrape, expected in (
            (functools.partial(our_scrape, url), expected_ours),
            (functools.partial(their_scrape, beside), expected_theirs),
        ):
            try:  # the last events are still on their way to a watch
                await eventually(lambda scrape=scrape, expected=expected: agree(scrape(), expected), seconds=10)
            except TimeoutError:
                assert told(without_looks(samples(await scrape()))) == told(expected)
        ours, theirs = await our_scrape(url), await their_scrape(beside)
        assert await running.stop() == 0
    compare_looks(samples(ours), samples(theirs))
    compare_queues(ours, theirs)


def compare_looks(ours: Mapping[Series, float], theirs: Mapping[Series, float]) -> None:
    """Looks have the same names, labels and buckets, and as many durations as are counted."""
    for name in (PREFIX + "job_syncs_total", PREFIX + "job_sync_duration_seconds_bucket"):
        labels = [
            {tuple(sorted(key for key, _ in series[1])) for series in scrape if series[0] == name}
            for scrape in (ours, theirs)
        ]
        assert labels[0] == labels[1] != set()
        for label in labels[0].pop():
            values = [{dict(series[1])[label] for series in scrape if series[0] == name} for scrape in (ours, theirs)]
            if label == "le":
                assert sorted(map(float, values[0])) == sorted(map(float, values[1]))
            else:
                known = {
                    "completion_mode": {"NonIndexed", "Indexed"},
                    "result": {"success", "error"},
                    "action": {"reconciling", "tracking", "pods_created", "pods_deleted"},
                }[label]
                assert values[0] <= known
                assert values[1] <= known
    for (name, series_labels), value in ours.items():
        if name == PREFIX + "job_syncs_total":
            assert ours[PREFIX + "job_sync_duration_seconds_count", series_labels] == value
    created = {dict(labels)["action"] for name, labels in ours if name == PREFIX + "job_syncs_total"}
    assert created >= {"pods_created", "tracking", "reconciling"}


def compare_queues(ours: str, theirs: str) -> None:
    """The queue of Jobs has the built-in one's metrics, under its name."""

    def names(text: str) -> set[str]:
        return {
            family.name
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("name") == "job" and family.name.startswith("workqueue_")
        }

    assert names(ours) >= names(theirs)
    assert len(names(theirs)) >= 7
