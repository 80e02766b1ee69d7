"""The owner's end of a supervisor: start it, give it orders, read its answers, end it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

import anyio
import attrs

from reconcile.errors import ReconcileError
from reconcile.nodes.machine import supervisor
from reconcile.nodes.machine.slot import Slot

READ_BYTES = 65536
LOG_TAIL_BYTES = 4096
"""How much of a log an error quotes: a kubelet says why it ends in its last few lines."""

EXECUTE_SECONDS_MAX = 10.0
"""From the order to the program's execution; milliseconds, unless the disk is cold."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineError(ReconcileError):
    """A node's process did not do what it should. The text quotes the end of its log."""


@attrs.define
class Supervisor:
    """A running supervisor and what it has said so far.

    Guarantees:
        * Ends with this process, however this process ends, and leaves nothing (``supervisor.py`` says how).
        * Bound to no event loop and to no task: a node may be started in one loop and stopped in another.
        * Several tasks may wait at once: one may stop the node while another waits for it to be ready.
    """

    directory: Path
    _process: subprocess.Popen[bytes]
    _pending: bytes = b""
    _started: set[str] = attrs.Factory(set)
    _failed: dict[str, str] = attrs.Factory(dict)
    _exited: dict[str, int] = attrs.Factory(dict)
    _services: set[str] = attrs.Factory(set)
    _has_ended: bool = False
    _has_removed: bool = False
    _reads: int = 0
    _reading: anyio.Lock = attrs.Factory(anyio.Lock)

    @classmethod
    def spawn(cls, directory: Path, view: Path, slot: Slot, binds: Mapping[Path, str]) -> Supervisor:
        """Start one for the node in ``directory``, which the node's processes see as ``view``.

        Args:
            directory: where the node lives; removed at the end.
            view: an existing directory of the host, hidden from the node by its own.
            slot: the supervisor keeps its lock until everything is removed.
            binds: files and directories that the node sees in place of the host's (target: source).
        """
        pairs = [word for target, source in binds.items() for word in (source, str(target))]
        # By path, isolated: no site-packages, no PYTHONPATH, nothing of the owner's that could keep it from starting.
        command = [sys.executable, "-I", "-S", supervisor.__file__]
        command += [str(directory), str(view), slot.address, *pairs]
        with (directory / "supervisor.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  arguments are ours
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C in the terminal is the owner's to hear.
                start_new_session=True,
                pass_fds=(slot.lock,),
                env={**os.environ, "PATH": SYSTEM_PATH, "RECONCILE_NODE_SLOT": str(slot.lock)},
            )
        return cls(directory, process)

    @property
    def pid(self) -> int:
        """Process id of the outer process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether everything is gone."""
        return self._has_ended

    async def ready(self, timeout_seconds: float) -> None:
        """Wait until the namespaces stand. Raises MachineError."""
        await self._until_started("supervisor", timeout_seconds)

    async def start(self, name: str, arguments: Sequence[str], *, grace_seconds: int) -> None:
        """Start a child that is to run until the end. Raises MachineError when it cannot be executed."""
        self._order("start", name, str(grace_seconds), *arguments)
        await self._until_started(name, timeout_seconds=EXECUTE_SECONDS_MAX)
        self._services.add(name)

    async def run(self, name: str, arguments: Sequence[str], *, timeout_seconds: float) -> None:
        """Run a program to its end.

        Raises:
            MachineError: it ended with another code than 0, took too long, or a service ended meanwhile.
        """
        self._order("start", name, "1", *arguments)
        await self._until_started(name, timeout_seconds=EXECUTE_SECONDS_MAX)
        try:
            with anyio.fail_after(timeout_seconds):
                while name not in self._exited:
                    self._check_services()
                    await self._read()
        except TimeoutError:
            raise MachineError(f"{name} took more than {timeout_seconds} s: {self.log_tail(name)}") from None
        if self._exited[name] != 0:
            raise MachineError(f"{name} ended with {self._exited[name]}: {self.log_tail(name)}")

    async def guard(self, wait: Awaitable[object]) -> None:
        """Await something, but not longer than the services run. Raises its error, or MachineError when one ends."""
        failure: ReconcileError | None = None

        async def watch() -> None:
            nonlocal failure
            try:
                while True:
                    self._check_services()
                    await self._read()
            except MachineError as error:
                failure = error
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            # Kept, and raised outside, since the group would wrap it.
            try:
                await wait
            except ReconcileError as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _check_services(self) -> None:
        if self._has_ended:
            raise MachineError(f"{self.directory}: the node has ended: {self.log_tail('supervisor')}")
        for name in sorted(self._services & self._exited.keys()):
            raise MachineError(f"{name} ended with {self._exited[name]}: {self.log_tail(name)}")

    async def close(self, timeout_seconds: float) -> None:
        """Let it stop the children in order and remove everything; return when it has.

        Raises:
            MachineError: it took longer than ``timeout_seconds`` (then everything is killed), or something was left.
        """
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            with anyio.fail_after(timeout_seconds):
                await self._until_ended()
        except TimeoutError:
            self.kill()
            await self._until_ended()
            raise MachineError(f"{self.directory}: killed, since it did not stop within {timeout_seconds} s") from None
        if not self._has_removed:
            reason = self._failed.get("left", "its supervisor was killed; the next node removes what is left")
            raise MachineError(f"removing the node in {self.directory}: {reason}")

    def kill(self) -> None:
        """Kill every process at once. Returns before they are gone: ``close`` waits for that."""
        if not self._has_ended:
            self._process.send_signal(signal.SIGTERM)

    def log_tail(self, name: str) -> str:
        """The last lines that the child called ``name`` has written."""
        try:
            with (self.directory / f"{name}.log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                return log.read().decode(errors="replace").strip() or "(it wrote nothing)"
        except FileNotFoundError:
            return "(it wrote nothing)"

    def _order(self, *words: str) -> None:
        stdin = self._process.stdin
        if self._has_ended or stdin is None or stdin.closed:
            raise MachineError(f"{self.directory}: the node has been stopped")
        try:
            os.write(stdin.fileno(), (shlex.join(words) + "\n").encode())
        except BrokenPipeError:
            raise MachineError(f"{self.directory}: the supervisor has died: {self.log_tail('supervisor')}") from None

    async def _until_started(self, name: str, timeout_seconds: float) -> None:
        try:
            with anyio.fail_after(timeout_seconds):
                while name not in self._started:
                    if name in self._failed:
                        raise MachineError(f"{name} cannot be started: {self._failed[name]}")
                    if self._has_ended:
                        raise MachineError(f"{name} cannot be started: {self.log_tail('supervisor')}")
                    await self._read()
        except TimeoutError:
            raise MachineError(f"{name} was not started within {timeout_seconds} s") from None

    async def _until_ended(self) -> None:
        while not self._has_ended:
            await self._read()

    async def _read(self) -> None:
        """Wait for answers and note them. Returns when anybody has noted some."""
        reads = self._reads
        async with self._reading:
            if reads == self._reads:
                await self._read_alone()
                self._reads += 1

    async def _read_alone(self) -> None:
        stdout = self._process.stdout
        if stdout is None or stdout.closed:
            return
        await anyio.wait_readable(stdout.fileno())
        data = os.read(stdout.fileno(), READ_BYTES)
        if not data:
            # Both processes have closed their end: the outer one is about to exit, or is a zombie already.
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._has_ended = True
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            match shlex.split(line.decode()):
                case ["started", name]:
                    self._started.add(name)
                case ["failed", name, reason]:
                    self._failed[name] = reason
                case ["exited", name, code]:
                    self._exited[name] = int(code)
                case ["left", reason]:
                    self._failed["left"] = reason
                case ["removed"]:
                    self._has_removed = True
                case words:
                    raise MachineError(f"{self.directory}: the supervisor said {words}")
