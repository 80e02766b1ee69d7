"""What the node agent reads of a Pod, and what it remembers of its containers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec

from reconcile.cluster.runtimes.runtime import ContainerPhase, ContainerStatus
from reconcile.model.timestamp import parse

LOST_EXIT_CODE = 137
"""What a kubelet says of a container that it does not find again: as if it had been killed."""


class FieldRef(msgspec.Struct, frozen=True, rename="camel"):
    field_path: str


class ValueFrom(msgspec.Struct, frozen=True, rename="camel"):
    field_ref: FieldRef | None = None


class EnvironmentVariable(msgspec.Struct, frozen=True, rename="camel"):
    """``env[]``."""

    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """A container of any sort; ``restart_policy`` is set for sidecars only."""

    name: str
    image: str = ""
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[EnvironmentVariable, ...] | None = None
    env_from: tuple[Any, ...] | None = None
    working_dir: str = ""
    volume_mounts: tuple[Any, ...] | None = None
    restart_policy: str = ""

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that runs on beside the others."""
        return self.restart_policy == "Always"


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    service_account_name: str = ""

    @property
    def initial(self) -> Sequence[Container]:
        """The init containers, sidecars among them, in order."""
        return self.init_containers or ()

    @property
    def everything(self) -> Sequence[Container]:
        """All containers."""
        return (*self.initial, *self.containers)


class Running(msgspec.Struct, frozen=True, rename="camel"):
    started_at: str | None = None


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class State(msgspec.Struct, frozen=True):
    running: Running | None = None
    terminated: Terminated | None = None


class WrittenContainer(msgspec.Struct, frozen=True, rename="camel"):
    """``status.containerStatuses[]``."""

    name: str
    restart_count: int = 0
    state: State = State()
    last_state: State = State()


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    conditions: tuple[dict[str, Any], ...] | None = None
    container_statuses: tuple[WrittenContainer, ...] | None = None
    init_container_statuses: tuple[WrittenContainer, ...] | None = None


class PodView(msgspec.Struct, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def has_ended(self) -> bool:
        """Whether its phase is final."""
        return self.status.phase in ("Succeeded", "Failed")


@attrs.define
class ContainerRecord:
    """What the agent knows of the container of one name.

    Attributes:
        current: the newest one; None as long as there was none.
        last: the one before.
        restarts: ``restartCount``.
        streak: restarts since it last ran for long.
        refused: reason and message of the runtime that would not make the next one; ``refused_at`` says when.
    """

    current: ContainerStatus | None = None
    last: ContainerStatus | None = None
    restarts: int = 0
    streak: int = 0
    refused: tuple[str, str] | None = None
    refused_at: datetime | None = None

    @property
    def is_running(self) -> bool:
        return self.current is not None and self.current.phase is not ContainerPhase.EXITED

    @property
    def has_exited(self) -> bool:
        return self.current is not None and self.current.phase is ContainerPhase.EXITED

    @property
    def has_succeeded(self) -> bool:
        return self.current is not None and self.has_exited and self.current.exit_code == 0


def records_of(view: PodView, now: datetime) -> dict[str, ContainerRecord]:
    """The records of a Pod that this agent did not start: what its status says; what ran then is lost."""
    records = {container.name: ContainerRecord() for container in view.spec.everything}
    for written in (*(view.status.init_container_statuses or ()), *(view.status.container_statuses or ())):
        if written.name not in records:
            continue
        record = records[written.name]
        record.restarts = record.streak = written.restart_count
        record.last = _exited(written.last_state.terminated)
        if written.state.running is not None:
            record.current = ContainerStatus(
                "",
                ContainerPhase.EXITED,
                _time(written.state.running.started_at),
                now,
                LOST_EXIT_CODE,
                "ContainerStatusUnknown",
                "The container could not be located when the pod was terminated",
            )
        else:
            record.current = _exited(written.state.terminated) or record.last
    return records


def _exited(terminated: Terminated | None) -> ContainerStatus | None:
    if terminated is None:
        return None
    return ContainerStatus(
        "",
        ContainerPhase.EXITED,
        _time(terminated.started_at),
        _time(terminated.finished_at),
        terminated.exit_code,
        terminated.reason,
        terminated.message,
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse(text)
