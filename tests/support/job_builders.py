"""Jobs and Pods for tests, decoded as the controller decodes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from reconcile_job.plan.options import FINALIZER
from reconcile_job.plan.view import JobView, PodView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    """A time of the API, seconds after NOW."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(status: dict[str, Any] | None = None, *, metadata: dict[str, Any] | None = None, **spec: Any) -> JobView:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main"}], **spec.pop("pod", {})}}
    return msgspec.json.decode(
        msgspec.json.encode(
            {
                "metadata": {"name": "j", "namespace": "ns", "uid": "u", **(metadata or {})},
                "spec": {"template": template, **spec},
                "status": status or {},
            }
        ),
        type=JobView,
    )


def pod(
    uid: str,
    phase: str = "Pending",
    *,
    index: int | str | None = None,
    tracked: bool = True,
    deleting: bool = False,
    ready: int | None = None,
    codes: dict[str, int] | None = None,
    init_codes: dict[str, int] | None = None,
    conditions: dict[str, str] | None = None,
    node: str = "",
    created: float = 0,
    finished: float = 0,
    restarts: int = 0,
    counts: tuple[int, int] | None = None,
    **spec: Any,
) -> PodView:
    """``ready``: seconds after NOW since when; ``codes``: exit codes by container; ``counts``: failures, ignored."""
    annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    if counts is not None:
        annotations["batch.kubernetes.io/job-index-failure-count"] = str(counts[0])
        annotations["batch.kubernetes.io/job-index-ignored-failure-count"] = str(counts[1])
    stated = [{"type": name, "status": status} for name, status in (conditions or {}).items()]
    if ready is not None:
        stated.append({"type": "Ready", "status": "True", "lastTransitionTime": at(ready)})

    def statuses(codes: dict[str, int]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "restartCount": restarts,
                "state": {"terminated": {"exitCode": code, "finishedAt": at(finished)}},
            }
            for name, code in codes.items()
        ]

    running = (
        [{"name": "main", "restartCount": restarts, "state": {"running": {}}}] if restarts and codes is None else []
    )
    return msgspec.json.decode(
        msgspec.json.encode(
            {
                "metadata": {
                    "name": f"p-{uid}",
                    "uid": uid,
                    "creationTimestamp": at(created),
                    "annotations": annotations,
                    "finalizers": [FINALIZER] if tracked else [],
                    **({"deletionTimestamp": at(finished), "deletionGracePeriodSeconds": 30} if deleting else {}),
                },
                "spec": {"nodeName": node, **spec},
                "status": {
                    "phase": phase,
                    "conditions": stated,
                    "containerStatuses": statuses(codes) if codes is not None else running,
                    "initContainerStatuses": statuses(init_codes or {}),
                },
            }
        ),
        type=PodView,
    )
