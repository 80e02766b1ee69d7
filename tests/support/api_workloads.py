"""Random Jobs, CronJobs, workloads and budgets for differential tests, and random changes of what is stored."""

from __future__ import annotations

from typing import Any

from api_objects import Draw, labels, metadata, pod_spec
from real_server import MERGE_PATCH, STRATEGIC_MERGE_PATCH

Change = tuple[str, str, dict[str, Any]]
"""A subresource (or nothing), a content type, a patch."""
PLAIN = {"containers": [{"name": "a", "image": "i"}]}


def selector(draw: Draw) -> dict[str, Any] | None:
    if draw.chance(0.88):
        return {"matchLabels": {"a": "1"}}
    requirement = {"key": "a", "operator": draw.one("In", "Exists", "X", "NotIn"), "values": draw.one(["1"], [])}
    return draw.one(
        {}, {"matchLabels": {"q": "1"}}, {"matchExpressions": [requirement]}, {"matchLabels": {"a": "bad v"}}, None
    )


def failure_rule(draw: Draw) -> dict[str, Any]:
    found: dict[str, Any] = {"action": draw.one("FailJob", "Ignore", "Count", "FailIndex", "X", "")}
    if draw.chance(0.6):
        found["onExitCodes"] = {
            "operator": draw.one("In", "NotIn", "In", "NotIn", "X"),
            "values": draw.one([1], [1, 2], [2, 1], [0], [1, 1], [], [5, 300]),
            **draw.fields(0.2, containerName=["a", "nope"]),
        }
    if draw.chance(0.4):
        pattern = {"type": draw.one("DisruptionTarget", "bad t"), **draw.fields(0.4, status=["True", "False", "X"])}
        found["onPodConditions"] = [pattern]
    return found


def job_spec(draw: Draw) -> dict[str, Any]:
    template: dict[str, Any] = {"spec": pod_spec(draw, draw.one("Never", "OnFailure", "Never", None))}
    if draw.chance(0.3):
        template["metadata"] = {"labels": labels(draw)}
    found = {
        "template": template,
        **draw.fields(0.5, completionMode=["Indexed", "NonIndexed", "Indexed", "NonIndexed", "X"]),
        **draw.fields(
            0.5, completions=[0, 1, 3, 5, 10, 10, 3, -1, 100001], parallelism=[0, 1, 3, 1, -1, 100001, 20000]
        ),
        **draw.fields(
            0.2,
            backoffLimit=[0, 3, -1],
            backoffLimitPerIndex=[0, 1, 1, -1],
            maxFailedIndexes=[0, 1, 7, -1, 200000, 20000],
            activeDeadlineSeconds=[0, 5, -1],
            ttlSecondsAfterFinished=[0, 5, -1],
            suspend=[True, False],
            managedBy=["a.b/c", "kubernetes.io/job-controller", "x", "", "a/", "A.b/c", "a.b/c d", "a.b/" + "c" * 70],
            podReplacementPolicy=["Failed", "TerminatingOrFailed", "X"],
        ),
    }
    if draw.chance(0.2):
        count = draw.count(0, 3) if draw.chance(0.95) else 21
        found["podFailurePolicy"] = {"rules": [failure_rule(draw) for _ in range(count)]}
    # An Indexed Job with a success policy and no completions makes a real 1.37 server panic.
    if draw.chance(0.2) and (found.get("completionMode") != "Indexed" or "completions" in found):
        indexes = ["0", "0-2", "1,3", "0,0", "2-1", "x", "0-", "9-", "1-2-3", "", "0-99"]
        rules = [
            draw.fields(0.6, succeededIndexes=indexes, succeededCount=[1, 2, 50, -1]) for _ in range(draw.count(0, 2))
        ]
        found["successPolicy"] = {"rules": rules}
    if draw.chance(0.08):
        found |= {"manualSelector": True, "selector": {"matchLabels": draw.one({"a": "1"}, {"q": "z"})}}
        template["metadata"] = {"labels": {"a": "1"}}
    return found


def job(draw: Draw, name: str) -> dict[str, Any]:
    spec = job_spec(draw)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(draw, name), "spec": spec}


def cron_job(draw: Draw, name: str) -> dict[str, Any]:
    good, bad = ["* * * * *", "*/5 * * * *", "@daily", "0 0 1 * *"], ["", "* * *", "TZ=UTC * * * * *", "61 * * * *"]
    spec = {
        "schedule": draw.one(*good) if draw.chance(0.85) else draw.one(*bad),
        "jobTemplate": {"spec": job_spec(draw)},
        **draw.fields(
            0.25,
            concurrencyPolicy=["Allow", "Forbid", "Replace", "X"],
            suspend=[True, False],
            successfulJobsHistoryLimit=[0, 5, -1],
            startingDeadlineSeconds=[0, 5, -1],
            timeZone=["Europe/Berlin", "Nope/X", "", "Local"],
        ),
    }
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(draw, name), "spec": spec}


ROLLING = [
    {"maxSurge": surge, "maxUnavailable": unavailable}
    for surge in (1, 0, "10%", "x", "200%")
    for unavailable in (1, 0, "0%", "10%", "200%")
]


def workload(draw: Draw, name: str, kind: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "1"}}, "spec": pod_spec(draw) if draw.chance(0.4) else PLAIN}
    spec = {"selector": selector(draw), "template": template, **draw.fields(0.2, minReadySeconds=[0, 5, -1, 700])}
    if spec["selector"] is None:
        del spec["selector"]
    spec |= draw.fields(0.3, replicas=[0, 1, 5, -1])
    match kind:
        case "Deployment":
            kinds = [{"type": "Recreate"}, {"type": "Recreate", "rollingUpdate": {}}, {"type": "X"}]
            strategies = [*kinds, *({"rollingUpdate": one} for one in ROLLING)]
            spec |= draw.fields(0.3, strategy=strategies, progressDeadlineSeconds=[0, 5, 600, -1], paused=[True])
            spec |= draw.fields(0.2, revisionHistoryLimit=[0, 5, -1])
        case "StatefulSet":
            updates = [{"type": "OnDelete"}, {"type": "RollingUpdate"}, {"type": "X"}]
            updates += [{"type": "RollingUpdate", "rollingUpdate": {"partition": one}} for one in (1, -1)]
            claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            claims = [{"metadata": {"name": "d"}, "spec": claim}]
            policies = ["Parallel", "OrderedReady", "X"]
            spec |= draw.fields(0.4, serviceName=["svc"], updateStrategy=updates, podManagementPolicy=policies)
            spec |= draw.fields(0.2, volumeClaimTemplates=[claims])
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata(draw, name), "spec": spec}


def budget(draw: Draw, name: str) -> dict[str, Any]:
    spec = draw.fields(
        0.4,
        minAvailable=[1, "10%", "x", -1, "150%"],
        maxUnavailable=[1, "10%", 0],
        unhealthyPodEvictionPolicy=["AlwaysAllow", "X"],
    )
    chosen = selector(draw)
    if chosen is not None:
        spec["selector"] = chosen
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(draw, name), "spec": spec}


# ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def pod_change(draw: Draw, stored: dict[str, Any]) -> Change:
    spec = stored["spec"]
    first = spec["containers"][0]["name"]
    more = [*spec.get("tolerations", []), {"key": "zz", "operator": draw.one("Exists", "X")}]
    return draw.one(
        ("", STRATEGIC_MERGE_PATCH, {"spec": {"containers": [{"name": first, "image": draw.one("new", "", " x")}]}}),
        ("", STRATEGIC_MERGE_PATCH, {"spec": {"containers": [{"name": first, "command": ["q"]}]}}),
        ("", STRATEGIC_MERGE_PATCH, {"spec": {"containers": [{"name": "new", "image": "x"}]}}),
        ("", MERGE_PATCH, {"spec": {"activeDeadlineSeconds": draw.one(1, 5, 100, None, 0, -1)}}),
        ("", MERGE_PATCH, {"spec": {"tolerations": more}}),
        ("", MERGE_PATCH, {"spec": {"schedulingGates": draw.one(None, [{"name": "new"}])}}),
        ("", MERGE_PATCH, {"spec": {"nodeSelector": draw.one({"q": "1"}, None, {"a": "2"})}}),
        ("", MERGE_PATCH, {"metadata": {"labels": labels(draw), "finalizers": draw.one(["x.y/z"], ["bad"])}}),
        ("/status", MERGE_PATCH, {"status": {"phase": draw.one("Running", "Succeeded"), "podIP": "10.0.0.1"}}),
    )


JOB_CHANGES = {
    "parallelism": [0, 1, 2, -1],
    "completions": [1, 2, 3, None],
    "suspend": [True, False],
    "completionMode": ["Indexed", "NonIndexed"],
    "backoffLimit": [1, -1],
    "backoffLimitPerIndex": [1, 2, None],
    "maxFailedIndexes": [1, None],
    "managedBy": ["x.y/z", None],
    "podReplacementPolicy": ["Failed"],
    "podFailurePolicy": [None, {"rules": []}],
    "successPolicy": [None],
    "selector": [{"matchLabels": {"z": "1"}}],
    "activeDeadlineSeconds": [1, None],
}


def job_change(draw: Draw, stored: dict[str, Any]) -> Change:
    if draw.chance(0.5):
        return job_status_change(draw, stored)
    if draw.chance(0.6):
        return "", MERGE_PATCH, {"spec": {name: draw.one(*JOB_CHANGES[name]) for name in draw.some(JOB_CHANGES, 1, 2)}}
    first = stored["spec"]["template"]["spec"]["containers"][0]["name"]
    template = draw.one(
        {"metadata": {"labels": {"zz": "1"}}},
        {"metadata": {"annotations": {"a": "1"}}},
        {"spec": {"nodeSelector": {"q": "1"}}},
        {"spec": {"tolerations": [{"operator": "Exists"}]}},
        {"spec": {"containers": [{"name": first, "image": "zz"}]}},
        {"spec": {"containers": [{"name": first, "resources": {"requests": {"cpu": "1"}}}]}},
        {"spec": {"schedulingGates": [{"name": "g"}]}},
    )
    return "", STRATEGIC_MERGE_PATCH, {"spec": {"template": template}}


CONDITIONS = ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet", "Suspended")


def job_status_change(draw: Draw, stored: dict[str, Any]) -> Change:
    counts = draw.fields(
        0.3, **dict.fromkeys(("active", "succeeded", "failed", "ready", "terminating"), (0, 1, 2, 3, -1))
    )
    conditions = [
        {"type": kind, "status": draw.one("True", "True", "False"), "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in draw.some(CONDITIONS, 0, 3)
    ]
    rest = draw.fields(
        0.4,
        conditions=[conditions],
        startTime=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"],
        completionTime=["2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"],
        completedIndexes=["0", "0-1", "0,2", "1,0", "x", "5-9", "0-1-2", ""],
        failedIndexes=["0", "1", "", "2-3", "z"],
        uncountedTerminatedPods=[{}, {"succeeded": ["a"]}, {"succeeded": ["a"], "failed": ["a"]}, {"failed": [""]}],
    )
    return "/status", MERGE_PATCH, {"status": {**counts, **rest}}


def workload_change(draw: Draw, stored: dict[str, Any]) -> Change:
    spec = draw.one(
        {"replicas": draw.one(0, 2, -1)},
        {"selector": {"matchLabels": {"b": "1"}}},
        {"selector": None},
        {"minReadySeconds": draw.one(1, 5)},
        {"template": {"metadata": {"labels": {"b": "2"}}}},
        {"template": {"metadata": {"labels": {"a": "2"}}}},
    )
    status = {"replicas": draw.one(0, 1, 2), "readyReplicas": draw.one(0, 1), "observedGeneration": 1}
    return draw.one(
        ("", MERGE_PATCH, {"spec": spec}),
        ("", MERGE_PATCH, {"metadata": {"labels": labels(draw), "annotations": {"q": "1"}}}),
        ("/status", MERGE_PATCH, {"status": status, "metadata": {"labels": {"via": "status"}}}),
    )


def data_change(draw: Draw, stored: dict[str, Any]) -> Change:
    return draw.one(
        *(
            ("", MERGE_PATCH, patch)
            for patch in (
                {"data": {"a": "aGk="}},
                {"data": {"bad key": "aGk="}},
                {"data": None},
                {"immutable": False},
                {"immutable": True},
                {"metadata": {"labels": labels(draw)}},
                {"metadata": {"uid": "x"}},
                {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}},
                {"metadata": {"name": "other"}},
            )
        )
    )


def lease_change(draw: Draw, stored: dict[str, Any]) -> Change:
    renewed = {"renewTime": "2026-02-01T00:00:00.000001Z"}
    return "", MERGE_PATCH, {"spec": draw.one({"holderIdentity": "q"}, {"leaseDurationSeconds": 0}, renewed)}


def node_change(draw: Draw, stored: dict[str, Any]) -> Change:
    ready = {"allocatable": {"cpu": "3"}, "conditions": [{"type": "Ready", "status": "False"}]}
    return draw.one(
        ("", MERGE_PATCH, {"spec": {"unschedulable": True}}),
        ("", MERGE_PATCH, {"spec": {"taints": [{"key": "q", "effect": draw.one("NoSchedule", "X")}]}}),
        ("/status", MERGE_PATCH, {"status": ready}),
    )


def budget_change(draw: Draw, stored: dict[str, Any]) -> Change:
    spec = draw.one({"minAvailable": 2}, {"maxUnavailable": 3}, {"selector": {"matchLabels": {"z": "1"}}})
    return "", MERGE_PATCH, {"spec": spec}
