"""What the Job controller reads of a Job and of a Pod: only these fields, as frozen values.

``Object.decode`` decodes each of them once and shares the result until the object changes. Defaults are those that the
API server fills in, so that a Job written by hand in a test means the same.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from reconcile.model import json

COMPLETION_INDEX: Final = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT: Final = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURE_COUNT: Final = "batch.kubernetes.io/job-index-ignored-failure-count"

BACKOFF_LIMIT_DEFAULT: Final = 6
BACKOFF_LIMIT_DEFAULT_PER_INDEX: Final = 2**31 - 1
INDEX_DIGITS_MAX: Final = 10
"""An int32 has ten digits; a longer annotation is somebody's mistake (or a denial of service), not an index."""

INDEXES_MAX: Final = 100_000
"""The API server admits no Indexed Job with more parallelism."""


# -- Pods -------------------------------------------------------------------------------------------------------------


class PodAnnotations(msgspec.Struct, frozen=True, gc=False):
    """The annotations that this controller put on the Pod."""

    completion_index: str = msgspec.field(default="", name=COMPLETION_INDEX)
    failure_count: str = msgspec.field(default="", name=FAILURE_COUNT)
    ignored_failure_count: str = msgspec.field(default="", name=IGNORED_FAILURE_COUNT)


class PodMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str
    uid: str
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    annotations: PodAnnotations | None = None
    finalizers: tuple[str, ...] | None = None


class Container(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str = ""
    restart_policy: str | None = None


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_name: str = ""
    init_containers: tuple[Container, ...] | None = None


class PodCondition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    type: str
    status: str
    last_transition_time: datetime | None = None


class ContainerTerminated(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    exit_code: int = 0
    finished_at: datetime | None = None


class ContainerState(msgspec.Struct, frozen=True, gc=False):
    terminated: ContainerTerminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str = ""
    restart_count: int = 0
    state: ContainerState | None = None


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    phase: str = "Pending"
    conditions: tuple[PodCondition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None


class PodView(msgspec.Struct, frozen=True, gc=False):
    """A Pod as the Job controller sees it."""

    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def index(self) -> int | None:
        """The completion index, or None where there is none or it is no index."""
        annotations = self.metadata.annotations
        return None if annotations is None else _count(annotations.completion_index)

    @property
    def failure_count(self) -> int:
        """How often this index had failed (and counted) when the Pod was made; bad values count as 0."""
        annotations = self.metadata.annotations
        return 0 if annotations is None else _count(annotations.failure_count) or 0

    @property
    def ignored_failure_count(self) -> int:
        """How often this index had failed without counting when the Pod was made; bad values count as 0."""
        annotations = self.metadata.annotations
        return 0 if annotations is None else _count(annotations.ignored_failure_count) or 0

    @property
    def has_succeeded(self) -> bool:
        return self.status.phase == "Succeeded"

    @property
    def has_finished(self) -> bool:
        """Whether the phase is terminal."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def is_deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def is_active(self) -> bool:
        """Neither finished nor on its way out (``status.active``)."""
        return not self.has_finished and not self.is_deleting

    @property
    def is_terminating(self) -> bool:
        """On its way out, and its containers may still run (``status.terminating``)."""
        return self.is_deleting and not self.has_finished

    @property
    def is_ready(self) -> bool:
        return any(item.type == "Ready" and item.status == "True" for item in self.status.conditions or ())

    def has_finalizer(self, finalizer: str) -> bool:
        return finalizer in (self.metadata.finalizers or ())

    def without_finalizer(self, finalizer: str) -> PodView:
        kept = tuple(item for item in self.metadata.finalizers or () if item != finalizer)
        return msgspec.structs.replace(self, metadata=msgspec.structs.replace(self.metadata, finalizers=kept))


@lru_cache(maxsize=INDEXES_MAX)
def _count(text: str) -> int | None:
    """The number, if it is one. Remembered, because each look asks for each Pod's index several times."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= INDEX_DIGITS_MAX else None


# -- Jobs -------------------------------------------------------------------------------------------------------------


class ExitCodes(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """``podFailurePolicy.rules[].onExitCodes``."""

    operator: str
    values: tuple[int, ...]
    container_name: str | None = None


class PodConditionPattern(msgspec.Struct, frozen=True, gc=False):
    """``podFailurePolicy.rules[].onPodConditions[]``."""

    type: str
    status: str = "True"


class FailureRule(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """``podFailurePolicy.rules[]``."""

    action: str
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: tuple[PodConditionPattern, ...] | None = None


class FailurePolicy(msgspec.Struct, frozen=True, gc=False):
    """``podFailurePolicy``."""

    rules: tuple[FailureRule, ...] = ()


class SuccessRule(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """``successPolicy.rules[]``."""

    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(msgspec.Struct, frozen=True, gc=False):
    """``successPolicy``."""

    rules: tuple[SuccessRule, ...] = ()


class TemplateSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    restart_policy: str = "Never"


class Template(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of the Pod template; the Pods are made from ``JobSpec.template`` itself."""

    spec: TemplateSpec = TemplateSpec()


class JobSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """``spec``.

    Attributes:
        template: the bytes, so that each Pod is made from a fresh copy and nobody can change the cached one.
        scheduling: an alpha field that this controller does not serve; such Jobs are refused, never mis-run.
    """

    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None
    backoff_limit: int | None = None
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_failure_policy: FailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    pod_replacement_policy: str | None = None
    managed_by: str | None = None
    manual_selector: bool | None = None
    selector: dict[str, Any] | None = None
    template: msgspec.Raw = msgspec.Raw(b"{}")
    scheduling: dict[str, Any] | None = None

    @property
    def is_indexed(self) -> bool:
        return self.completion_mode == "Indexed"

    @property
    def effective_backoff_limit(self) -> int:
        if self.backoff_limit is not None:
            return self.backoff_limit
        return BACKOFF_LIMIT_DEFAULT if self.backoff_limit_per_index is None else BACKOFF_LIMIT_DEFAULT_PER_INDEX

    @property
    def replaces_only_failed(self) -> bool:
        """``podReplacementPolicy: Failed``: a terminating Pod is no failure and gets no replacement yet (KEP-3939)."""
        if self.pod_replacement_policy is None:
            return self.pod_failure_policy is not None
        return self.pod_replacement_policy == "Failed"

    @property
    def restarts_in_place(self) -> bool:
        """Whether the template says ``restartPolicy: OnFailure``."""
        return json.decode_as(bytes(self.template), Template).spec.restart_policy == "OnFailure"


class Condition(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """``status.conditions[]``."""

    type: str
    status: str
    last_probe_time: datetime | None = None
    last_transition_time: datetime | None = None
    reason: str = ""
    message: str = ""

    @property
    def is_true(self) -> bool:
        return self.status == "True"


class Uncounted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """``status.uncountedTerminatedPods``: finished Pods that are in no counter yet, by uid (KEP-2307)."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """``status``. Zero counters are left out, as the API server itself leaves them out."""

    conditions: tuple[Condition, ...] | None = None
    start_time: datetime | None = None
    completion_time: datetime | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: Uncounted | None = None
    ready: int | None = None

    def condition(self, type: str) -> Condition | None:
        """The condition of that type that is True, or None."""
        for item in self.conditions or ():
            if item.type == type and item.is_true:
                return item
        return None

    @property
    def is_finished(self) -> bool:
        """Whether the Job is over: Complete or Failed."""
        return self.condition("Complete") is not None or self.condition("Failed") is not None


class JobMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class JobView(msgspec.Struct, frozen=True, gc=False):
    """A Job as its controller sees it."""

    metadata: JobMeta
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def is_deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def completions(self) -> int:
        """The number of indexes of an Indexed Job."""
        return self.spec.completions or 0
