"""The seam between the node agent and what runs containers. The words are CRI's (``runtime.v1``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import attrs

from reconcile.errors import ReconcileError


class ContainerPhase(StrEnum):
    """Where a container is in its life."""

    CREATED = "Created"
    RUNNING = "Running"
    EXITED = "Exited"


@attrs.frozen
class SandboxConfig:
    """The Pod that a sandbox is for, and its address."""

    namespace: str
    name: str
    uid: str
    address: str


@attrs.frozen
class ContainerConfig:
    """One container to be made.

    Attributes:
        attempt: 0 for the first one of this name in the Pod, 1 for the next.
        command, args: as in the Pod, ``$(NAME)`` expanded; either may be empty.
        environment: all that the container sees.
        working_directory: empty for the runtime's own choice.
        annotations: the Pod's.
    """

    name: str
    image: str
    attempt: int = 0
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = attrs.Factory(dict[str, str])
    working_directory: str = ""
    annotations: Mapping[str, str] = attrs.Factory(dict[str, str])


@attrs.frozen
class ContainerStatus:
    """One container at one moment. Signal n counts as exit code 128 + n."""

    id: str
    phase: ContainerPhase
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerRefusedError(ReconcileError):
    """A container that cannot be made or started. ``reason`` is what stands in the Pod's status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Runtime(Protocol):
    """Runs containers in sandboxes.

    Guarantees:
        * An exit is told once, to the sandbox's ``on_exit``, after ``status`` shows it.
        * ``remove_sandbox`` leaves nothing of it running.
        * ``stop_container`` does not wait: it begins to stop, and a later call can only make it sooner.
    """

    @property
    def name(self) -> str:
        """``process``, ``simulated``: what stands in the node's ``containerRuntimeVersion``."""
        ...

    async def run_sandbox(self, config: SandboxConfig, on_exit: Callable[[], None]) -> str:
        """Make a sandbox. Returns its id. Raises ContainerRefusedError."""
        ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Make a container. Returns its id. Raises ContainerRefusedError."""
        ...

    async def start_container(self, container_id: str) -> None:
        """Start it. Raises ContainerRefusedError."""
        ...

    def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """Ask it to end, and end it by force after ``grace_seconds``. Nothing for one that has exited."""
        ...

    def status(self, container_id: str) -> ContainerStatus:
        """The container as it is."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """End what still runs in it, and forget it."""
        ...

    async def run(self) -> None:
        """Wait for what has to be waited for, until cancelled; then end everything."""
        ...
