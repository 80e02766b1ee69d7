"""A holder's end of the supervisor: start it, ask it for programs, leave it.

Guarantees: from the moment ``Supervision.begin`` or ``join`` returns until ``leave``, the programs are not stopped by
anybody else's leaving; and if this process dies, that counts as leaving.
The calls block for microseconds, ``stop`` and ``leave`` for up to twice ``supervisor.GRACE_SECONDS``. Nothing here
belongs to an event loop, so that a control plane can outlive the loop that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from reconcile.testing.envtest import supervisor
from reconcile.testing.envtest.errors import ControlPlaneError

__all__ = ["ProgramState", "Supervision", "end_supervision", "is_supervised"]

_SOCKET_NAME, _LOCK_NAME, _PID_NAME = "control.sock", "supervisor.lock", "supervisor.pid"
_ANSWER_SECONDS_MAX = 4 * supervisor.GRACE_SECONDS
"""A stop waits for two rounds of GRACE_SECONDS; a supervisor that takes twice as long is stuck."""


@attrs.frozen
class ProgramState:
    """One supervised program; ``exit_code`` is None while it runs (negative: the signal that ended it)."""

    pid: int
    exit_code: int | None


@contextlib.contextmanager
def _socket_address(directory: Path) -> Iterator[str]:
    """The address of the socket in ``directory``, short enough for the 108 bytes that the kernel allows."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET_NAME}"
    finally:
        os.close(descriptor)


def is_supervised(directory: Path) -> bool:
    """Whether a supervisor lives in ``directory``.

    It holds a lock there for as long as it lives: a process identifier in a file would be used again.
    """
    try:
        lock = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


class Supervision:
    """One holder's connection to the supervisor of ``directory``."""

    def __init__(self, directory: Path, connection: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        self._directory = directory
        self._connection = connection
        self._process = process
        self._lines = connection.makefile("rb")
        self._lock = threading.Lock()  # one question and its answer at a time

    @classmethod
    def begin(cls, directory: Path, *, keep: bool) -> Supervision:
        """Start a supervisor for ``directory`` and hold it; ``keep`` leaves the directory in place at the end.

        Raises:
            ControlPlaneError: a supervisor lives there already, or it does not start.
        """
        listener = socket.socket(socket.AF_UNIX)
        connection = socket.socket(socket.AF_UNIX)
        lock = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with listener, contextlib.ExitStack() as always, contextlib.ExitStack() as undo:
            always.callback(os.close, lock)
            undo.callback(connection.close)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"start of a control plane: one runs already in {directory}; stop it first"
                raise ControlPlaneError(message) from None
            (directory / _SOCKET_NAME).unlink(missing_ok=True)
            with _socket_address(directory) as address, (directory / "supervisor.log").open("ab") as log:
                listener.bind(address)
                listener.listen()
                # Connected before the supervisor exists: if this process dies meanwhile, it finds nobody there.
                connection.connect(address)
                parameters = [str(directory), str(listener.fileno()), str(lock), str(int(keep))]
                process = subprocess.Popen(  # noqa: S603  our own interpreter and file
                    [sys.executable, "-I", "-S", supervisor.__file__, *parameters],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[listener.fileno(), lock],  # the lock is the supervisor's from here on
                    start_new_session=True,  # a Ctrl-C on the terminal is for the tests; they stop us in order
                )
            (directory / _PID_NAME).write_text(str(process.pid))
            undo.pop_all()
        supervision = cls(directory, connection, process)
        supervision.status()
        return supervision

    @classmethod
    def join(cls, directory: Path) -> Supervision | None:
        """Hold the supervisor that lives in ``directory``; None if there is none, or it is about to end."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            with _socket_address(directory) as address:
                connection.connect(address)
            supervision = cls(directory, connection, None)
            supervision.status()
        except (OSError, ControlPlaneError):
            connection.close()
            return None
        return supervision

    def start(self, name: str, argv: Sequence[str], *, last: bool = False) -> None:
        """Start a program, its output going to ``NAME.log``; ``last``: to be stopped after the others.

        Raises:
            ControlPlaneError: it runs already, or cannot be started.
        """
        self._ask({"operation": "start", "name": name, "argv": list(argv), "last": last})

    def status(self) -> Mapping[str, ProgramState]:
        """Every program that was started and not stopped, those that have ended by themselves too."""
        answer = self._ask({"operation": "status"})
        return {name: ProgramState(**state) for name, state in answer["programs"].items()}

    def stop(self, names: Sequence[str]) -> None:
        """Stop programs and wait until they have ended."""
        self._ask({"operation": "stop", "names": list(names)})

    def detach(self) -> None:
        """Let the programs live without a holder, and leave them. ``end_supervision`` ends them."""
        self._ask({"operation": "detach"})
        self.leave()

    def leave(self) -> None:
        """Hold them no longer. If nobody else does, wait until they have ended and the directory is cleaned up."""
        is_last = True
        with self._lock:
            try:
                self._connection.settimeout(_ANSWER_SECONDS_MAX)
                self._connection.sendall(b'{"operation": "leave"}\n')
                is_last = json.loads(self._lines.readline() or b"{}").get("last", True)
                self._lines.readline()  # the end of the stream
            except TimeoutError:
                if self._process is not None:
                    self._process.kill()  # stuck; the programs die with it
            except OSError:
                pass  # it has ended already
        self._lines.close()
        self._connection.close()
        if self._process is None:
            return
        if is_last:
            self._process.wait()
        else:
            self._process.returncode = 0  # others hold it on: this process is no longer the one to wait for it

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                self._connection.settimeout(_ANSWER_SECONDS_MAX)
                self._connection.sendall(json.dumps(request).encode() + b"\n")
                line = self._lines.readline()
            except OSError as error:
                raise ControlPlaneError(f"{request['operation']}: the supervisor does not answer: {error}") from error
        if not line:
            raise ControlPlaneError(f"{request['operation']}: the supervisor in {self._directory} has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ControlPlaneError(f"{request['operation']}: {answer['error']}")
        return answer


def end_supervision(directory: Path) -> bool:
    """End the supervisor of ``directory`` whoever holds it, and wait for it; False if none lives there."""
    if not is_supervised(directory):
        return False
    lock = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.kill(int((directory / _PID_NAME).read_text()), signal.SIGTERM)
        fcntl.flock(lock, fcntl.LOCK_EX)  # free when it has ended
    finally:
        os.close(lock)
    return True
