"""The Pods of a Job: what they are called, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from reconcile.model import json
from reconcile.model.meta import ObjectMeta, OwnerReference
from reconcile.model.name import NAME_LENGTH_MAX, digest
from reconcile.model.object import Object
from reconcile.model.resource import Kind
from reconcile_job.plan.failure_policy import judge
from reconcile_job.plan.view import COMPLETION_INDEX, FAILURE_COUNT, IGNORED_FAILURE_COUNT, JobView, PodView

ENVIRONMENT_VARIABLE = "JOB_COMPLETION_INDEX"

POD = Kind("", "v1", "Pod")


@attrs.frozen
class PodOrder:
    """A Pod to create. ``index`` is None for a NonIndexed Job."""

    name: str
    index: int | None
    pod: Object = attrs.field(repr=False, eq=False)


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


@attrs.frozen
class PodMaker:
    """Makes Pods of one Job. What they have in common is read from the template once, and written as JSON once.

    Attributes:
        spec: the members of the Pods' ``spec``, as JSON without the braces; without the hostname of an Indexed Job's.
    """

    job: JobView
    finalizers: tuple[str, ...]
    labels: dict[str, str]
    annotations: dict[str, str]
    owner_references: tuple[OwnerReference, ...]
    spec: bytes

    @classmethod
    def of(cls, job: JobView, finalizer: str) -> PodMaker:
        """For the Pods of ``job``, tracked by ``finalizer``."""
        template: dict[str, Any] = json.decode(bytes(job.spec.template))
        wanted: dict[str, Any] = template.get("metadata") or {}
        spec: dict[str, Any] = template.get("spec") or {}
        if job.spec.is_indexed:
            spec.pop("hostname", None)
            for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
                _add_environment(container)
        return cls(
            job=job,
            finalizers=tuple(dict.fromkeys([*(wanted.get("finalizers") or ()), finalizer])),
            labels=wanted.get("labels") or {},
            annotations=wanted.get("annotations") or {},
            owner_references=(json.decode_as(json.encode(owner_reference(job)), OwnerReference),),
            spec=json.encode(spec)[1:-1],
        )

    def order(self, name: str, index: int | None = None, replaces: PodView | None = None) -> PodOrder:
        """The Pod to create.

        Args:
            name: its name.
            index: its completion index, for an Indexed Job.
            replaces: the failed Pod of that index, whose failures the new one carries on (KEP-3850).
        """
        labels, annotations, spec = self.labels, self.annotations, self.spec
        if index is not None:
            labels = {**labels, COMPLETION_INDEX: str(index)}
            annotations = {**annotations, COMPLETION_INDEX: str(index)}
            hostname = b'"hostname":' + json.encode(f"{self.job.metadata.name}-{index}")
            spec = hostname + b"," + spec if spec else hostname
            if self.job.spec.backoff_limit_per_index is not None:
                counted, ignored = _failures(self.job, replaces)
                annotations[FAILURE_COUNT] = str(counted)
                if ignored:
                    annotations[IGNORED_FAILURE_COUNT] = str(ignored)
        metadata = ObjectMeta(
            name=name,
            namespace=self.job.metadata.namespace,
            labels=labels,
            annotations=annotations,
            finalizers=self.finalizers,
            owner_references=self.owner_references,
        )
        return PodOrder(name, index, Object(POD, metadata, b'"spec":{' + spec + b"}"))


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
