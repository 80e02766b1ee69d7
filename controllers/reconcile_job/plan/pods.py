"""The Pods of a Job: what they are called, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from reconcile.model import json
from reconcile.model.name import NAME_LENGTH_MAX, digest
from reconcile_job.plan.failure_policy import judge
from reconcile_job.plan.view import COMPLETION_INDEX, FAILURE_COUNT, IGNORED_FAILURE_COUNT, JobView, PodView

ENVIRONMENT_VARIABLE = "JOB_COMPLETION_INDEX"


@attrs.frozen
class PodOrder:
    """A Pod to create. ``index`` is None for a NonIndexed Job."""

    name: str
    index: int | None
    body: dict[str, Any] = attrs.field(repr=False, eq=False)


@attrs.frozen
class Naming:
    """Names that depend only on the Job's uid and on what the Pod is for, so that a lost create can be sent again.

    A name is taken where a Pod of that name exists; then the next attempt's name is used.
    """

    job: JobView
    is_taken: Callable[[str], bool]

    def of_index(self, index: int) -> str:
        """``<job>-<index>-<hash>``."""
        return self._free(f"-{index}", index)

    def of_ordinals(self, first: int) -> Iterator[str]:
        """``<job>-<hash>`` for the ordinals from ``first`` on."""
        while True:
            yield self._free("", first)
            first += 1

    def _free(self, suffix: str, number: int) -> str:
        attempt = 0
        while True:
            tail = f"{suffix}-{digest(self.job.uid, number, attempt)}"
            name = self.job.metadata.name[: NAME_LENGTH_MAX - len(tail)].rstrip("-.") + tail
            if not self.is_taken(name):
                return name
            attempt += 1


def order(
    job: JobView, name: str, finalizer: str, index: int | None = None, replaces: PodView | None = None
) -> PodOrder:
    """The Pod to create.

    Args:
        job: its Job.
        name: its name.
        finalizer: the tracking finalizer.
        index: its completion index, for an Indexed Job.
        replaces: the failed Pod of that index, whose failures the new one carries on (KEP-3850).
    """
    template: dict[str, Any] = json.decode(bytes(job.spec.template))
    wanted: dict[str, Any] = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": wanted.get("labels") or {},
        "annotations": wanted.get("annotations") or {},
        "finalizers": list(dict.fromkeys([*(wanted.get("finalizers") or ()), finalizer])),
        "ownerReferences": [owner_reference(job)],
    }
    spec: dict[str, Any] = template.get("spec") or {}
    if index is not None:
        metadata["labels"][COMPLETION_INDEX] = str(index)
        metadata["annotations"][COMPLETION_INDEX] = str(index)
        spec["hostname"] = f"{job.metadata.name}-{index}"
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            _add_environment(container)
        if job.spec.backoff_limit_per_index is not None:
            counted, ignored = _failures(job, replaces)
            metadata["annotations"][FAILURE_COUNT] = str(counted)
            if ignored:
                metadata["annotations"][IGNORED_FAILURE_COUNT] = str(ignored)
    return PodOrder(name, index, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def owner_reference(job: JobView) -> dict[str, Any]:
    """The controller reference to the Job."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job.metadata.name,
        "uid": job.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _add_environment(container: dict[str, Any]) -> None:
    environment = container.setdefault("env", [])
    if all(variable.get("name") != ENVIRONMENT_VARIABLE for variable in environment):
        field = {"fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}
        environment.append({"name": ENVIRONMENT_VARIABLE, "valueFrom": {"fieldRef": field}})


def _failures(job: JobView, replaces: PodView | None) -> tuple[int, int]:
    if replaces is None:
        return 0, 0
    if judge(job.spec.pod_failure_policy, replaces, job.metadata.namespace).counts:
        return replaces.failure_count + 1, replaces.ignored_failure_count
    return replaces.failure_count, replaces.ignored_failure_count + 1
