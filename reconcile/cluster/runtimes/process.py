"""The runtime whose containers are processes of this machine.

It isolates nothing: a container is its command, run as this user, in a directory of its Pod, with the environment that
the Pod says and no other. There is no image (its name is only shown), no file system and no network of its own.

Guarantees:
    * No shell: ``command`` and ``args`` are executed as they are. A signal's exit code is 128 + n.
    * A container is a process group of its own. What its first process leaves behind ends with that, as in a container.
    * Nothing outlives this process: on an orderly end all groups are killed; when it dies, the kernel kills the first
      process of each (``PR_SET_PDEATHSIG``).

Assumptions: Linux.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import attrs

from reconcile.cluster.runtimes.runtime import (
    ContainerConfig,
    ContainerPhase,
    ContainerRefusedError,
    ContainerStatus,
    SandboxConfig,
)
from reconcile.errors import ConfigurationError
from reconcile.runtime.clock import Clock

_PR_SET_PDEATHSIG = 1
_START_ERROR = 128
"""The exit code that a kubelet shows for a container whose command cannot be executed."""


@attrs.define(eq=False)
class _Container:
    id: str
    sandbox: _Sandbox
    config: ContainerConfig
    process: subprocess.Popen[bytes] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    kill_at: float | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.finished_at is None

    def signal(self, number: int) -> None:
        """To the whole group. It is there as long as its first process was not reaped, which only ``_follow`` does."""
        if self.process is not None and self.is_running:
            os.killpg(self.process.pid, number)


@attrs.define(eq=False)
class _Sandbox:
    id: str
    config: SandboxConfig
    directory: Path
    on_exit: Callable[[], None]
    containers: list[_Container] = attrs.Factory(list)


class ProcessRuntime:
    """Containers as local processes. ``run`` must run while containers do.

    The Pods' directories, with their containers' output in them, are removed at the end.
    """

    name = "process"

    def __init__(self, clock: Clock) -> None:
        if not sys.platform.startswith("linux"):
            raise ConfigurationError(
                f"runtime process: it needs Linux, and this is {sys.platform}; use a container or a virtual machine"
            )
        self._clock = clock
        self._libc = ctypes.CDLL(None)
        self._group: anyio.abc.TaskGroup | None = None
        self._ready = anyio.Event()
        self._sandboxes: dict[str, _Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._made = 0
        self._directory = Path()

    async def run(self) -> None:
        """Follow the processes until cancelled; then kill what still runs, and remove the directories."""
        with tempfile.TemporaryDirectory(prefix="reconcile-pods-", ignore_cleanup_errors=True) as directory:
            self._directory = Path(directory)
            try:
                async with anyio.create_task_group() as group:
                    self._group = group
                    self._ready.set()
                    await anyio.sleep_forever()
            finally:
                for container in self._containers.values():
                    self._end(container)

    async def run_sandbox(self, config: SandboxConfig, on_exit: Callable[[], None]) -> str:
        await self._ready.wait()
        directory = self._directory / config.uid
        directory.mkdir(mode=0o700, exist_ok=True)
        sandbox = _Sandbox(config.uid, config, directory, on_exit)
        self._sandboxes[sandbox.id] = sandbox
        return sandbox.id

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        if not config.command and not config.args:
            raise ContainerRefusedError(
                "CreateContainerError",
                f"container {config.name}: a process needs a command, and there is no image to take one from;"
                " set spec.containers[].command",
            )
        self._made += 1
        sandbox = self._sandboxes[sandbox_id]
        container = _Container(f"{self._made:012d}", sandbox, config)
        sandbox.containers.append(container)
        self._containers[container.id] = container
        return container.id

    async def start_container(self, container_id: str) -> None:
        container, group = self._containers[container_id], self._group
        assert group is not None  # noqa: S101  there is a sandbox
        config, sandbox = container.config, container.sandbox
        log = sandbox.directory / f"{config.name}.{config.attempt}.log"
        try:
            with log.open("wb") as output:
                # In this thread, whose end is what the kernel takes for its parent's.
                container.process = subprocess.Popen(  # noqa: S603, ASYNC220  the Pod's own command; milliseconds
                    [*config.command, *config.args],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=config.working_directory or sandbox.directory,
                    env={"PATH": os.defpath, **config.environment},
                    start_new_session=True,
                    preexec_fn=self._die_with_parent,  # noqa: PLW1509  one call to the kernel, no lock is taken
                )
        except OSError as error:
            container.finished_at = self._clock.wall()
            container.exit_code = _START_ERROR
            raise ContainerRefusedError(
                "StartError", f"container {config.name}: cannot start {config.command or config.args}: {error}"
            ) from None
        container.started_at = self._clock.wall()
        group.start_soon(self._follow, container, container.process)

    def stop_container(self, container_id: str, grace_seconds: float) -> None:
        container, group = self._containers[container_id], self._group
        if not container.is_running or group is None:
            return
        at = self._clock.monotonic() + max(0.0, grace_seconds)
        if container.kill_at is None:
            container.signal(signal.SIGTERM)
        elif container.kill_at <= at:
            return
        container.kill_at = at
        group.start_soon(self._kill_at, container, at)

    def status(self, container_id: str) -> ContainerStatus:
        container = self._containers[container_id]
        if container.finished_at is not None:
            phase = ContainerPhase.EXITED
        else:
            phase = ContainerPhase.CREATED if container.process is None else ContainerPhase.RUNNING
        return ContainerStatus(container.id, phase, container.started_at, container.finished_at, container.exit_code)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is None:
            return
        for container in sandbox.containers:
            self._end(container)
            del self._containers[container.id]
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(sandbox.directory, ignore_errors=True))

    def _die_with_parent(self) -> None:
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    async def _follow(self, container: _Container, process: subprocess.Popen[bytes]) -> None:
        """Until it has ended. Its group is killed before it is reaped: until then no other process has its number."""
        descriptor = os.pidfd_open(process.pid)
        try:
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)
        if container.is_running:
            self._end(container)
            container.sandbox.on_exit()

    async def _kill_at(self, container: _Container, at: float) -> None:
        await self._clock.sleep(at - self._clock.monotonic())
        container.signal(signal.SIGKILL)

    def _end(self, container: _Container) -> None:
        """Kill the group, and take its first process's exit code."""
        if container.process is None or not container.is_running:
            return
        container.signal(signal.SIGKILL)
        code = container.process.wait()  # at once: it is dead
        container.exit_code = code if code >= 0 else 128 - code
        container.finished_at = self._clock.wall()
