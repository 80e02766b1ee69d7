"""The process that keeps a control plane's programs, and outlives no one who needs them.

Run by path, with the standard library alone: ``python -I -S supervisor.py DIRECTORY LISTENER_FD LOCK_FD KEEP``.
It listens on ``control.sock`` in DIRECTORY. Whoever holds a connection there holds the control plane; it takes one
JSON request a line and answers each with one line (``process.py`` is the other end).

Guarantees:
    * When the last holder has left or died (SIGKILL included), every program is stopped: SIGTERM, after
      GRACE_SECONDS SIGKILL, the last ones (etcd) after all others. Then DIRECTORY is removed, unless KEEP is 1.
    * SIGTERM to the supervisor does the same. SIGKILL of the supervisor takes the programs with it
      (PR_SET_PDEATHSIG), and leaves DIRECTORY.
    * A holder is counted out when its process ends, even where a fork of it still has the connection open.
Why a process, and not PR_SET_PDEATHSIG alone: that signal comes when the *thread* that forked ends, tests fork from
short-lived ones, and nobody would be left to clean up. This process has one thread for as long as it lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GRACE_SECONDS = 5.0
"""How long a program may take after SIGTERM. The API server needs 0.2 s without open watches; with them it waits."""
REQUEST_BYTES_MAX = 1 << 20
"""A longer request is none of ours: a command line is a few kilobytes."""

_PR_SET_PDEATHSIG = 1


class _Program:
    def __init__(self, popen: subprocess.Popen[bytes], *, last: bool) -> None:
        self.popen = popen
        self.last = last


class _Holder:
    def __init__(self, connection: socket.socket, pidfd: int | None) -> None:
        self.connection = connection
        self.pidfd = pidfd
        self.received = b""


class Supervisor:
    """One thread, one selector: connections, ends of holders, and signals."""

    def __init__(self, directory: Path, listener: socket.socket, *, keep: bool) -> None:
        self._directory = directory
        self._keep = keep
        self._programs: dict[str, _Program] = {}
        self._holders: dict[socket.socket, _Holder] = {}
        self._leaving: list[socket.socket] = []  # the last holder, who may wait for the end
        self._detached = False
        self._ending = False
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._wakeup, wakeup_in = socket.socketpair()
        self._wakeup.setblocking(False)
        wakeup_in.setblocking(False)
        self._wakeup_in = wakeup_in
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._signalled)
        signal.set_wakeup_fd(wakeup_in.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Serve until nobody holds the control plane, then stop it and clean up."""
        try:
            while not self._ending:
                for key, _ in self._selector.select():
                    key.data(key.fileobj)
        finally:
            self._stop(list(self._programs))
            if not self._keep:
                self._remove_directory()

    def dismiss(self) -> None:
        """Close the connections: who waits for the end on one sees it now."""
        for connection in [*self._holders, *self._leaving]:
            connection.close()

    def _remove_directory(self) -> None:
        # Under another name: who begins anew in its place meanwhile is not to lose files to us.
        doomed = self._directory.with_name(f".{self._directory.name}-{os.getpid()}")
        with contextlib.suppress(OSError):
            self._directory.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _accept(self, _: object) -> None:
        connection, _address = self._listener.accept()
        pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # ended already, or a kernel before 5.3: its connection still tells
            pidfd = None
        holder = _Holder(connection, pidfd)
        self._holders[connection] = holder
        self._selector.register(connection, selectors.EVENT_READ, self._receive)
        if pidfd is not None:
            self._selector.register(pidfd, selectors.EVENT_READ, lambda _: self._leave(connection))

    def _leave(self, connection: socket.socket) -> None:
        holder = self._holders.pop(connection, None)
        if holder is None:
            return
        self._selector.unregister(connection)
        if holder.pidfd is not None:
            self._selector.unregister(holder.pidfd)
            os.close(holder.pidfd)
        is_last = not self._holders and not self._detached
        with contextlib.suppress(OSError):  # it may be dead
            connection.sendall(json.dumps({"last": is_last}).encode() + b"\n")
        if is_last:
            self._ending = True
            self._leaving.append(connection)
        else:
            connection.close()

    def _signalled(self, _: object) -> None:
        numbers = self._wakeup.recv(4096)
        for program in self._programs.values():
            program.popen.poll()
        if set(numbers) - {signal.SIGCHLD}:
            self._ending = True

    def _receive(self, connection: socket.socket) -> None:
        holder = self._holders.get(connection)
        if holder is None:
            return
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        holder.received += data
        if not data or len(holder.received) > REQUEST_BYTES_MAX:
            self._leave(connection)
            return
        *lines, holder.received = holder.received.split(b"\n")
        for line in lines:
            answer = self._answer(json.loads(line), connection)
            if answer is not None:
                with contextlib.suppress(OSError):
                    connection.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, request: dict[str, Any], connection: socket.socket) -> dict[str, Any] | None:
        match request:
            case {"operation": "start", "name": name, "argv": argv, "last": last}:
                return self._start(name, argv, last=last)
            case {"operation": "stop", "names": names}:
                self._stop(names)
                return self._status()
            case {"operation": "status"}:
                return self._status()
            case {"operation": "detach"}:
                self._detached = True
                return self._status()
            case {"operation": "leave"}:
                self._leave(connection)
                return None
            case _:
                return {"error": f"unknown request {request.get('operation')!r}"}

    def _status(self) -> dict[str, Any]:
        programs = {
            name: {"pid": program.popen.pid, "exit_code": program.popen.poll()}
            for name, program in self._programs.items()
        }
        return {"supervisor": os.getpid(), "programs": programs}

    def _start(self, name: str, argv: list[str], *, last: bool) -> dict[str, Any]:
        running = self._programs.get(name)
        if running is not None and running.popen.poll() is None:
            return {"error": f"{name} runs already, as process {running.popen.pid}"}
        try:
            with (self._directory / f"{name}.log").open("ab") as log:
                popen = subprocess.Popen(  # noqa: S603  what the holder asks for is the purpose
                    argv,
                    cwd=self._directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  safe: this process has one thread
                )
        except OSError as error:
            return {"error": f"{name} cannot be started: {error}"}
        self._programs[name] = _Program(popen, last=last)
        return self._status()

    def _stop(self, names: list[str]) -> None:
        programs = [self._programs.pop(name) for name in names if name in self._programs]
        for last in (False, True):
            self._stop_together([program for program in programs if program.last is last])

    def _stop_together(self, programs: list[_Program]) -> None:
        running = [program for program in programs if program.popen.poll() is None]
        for program in running:
            program.popen.terminate()
        kill_at = time.monotonic() + GRACE_SECONDS  # noqa: TID251  this process runs without the package
        for program in running:
            try:
                program.popen.wait(max(0.0, kill_at - time.monotonic()))  # noqa: TID251  as above
            except subprocess.TimeoutExpired:
                program.popen.kill()
        for program in running:
            program.popen.wait()


_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Run by ``process.py``; see the module's docstring."""
    directory, listener_fd, lock_fd, keep = arguments
    supervisor = Supervisor(Path(directory), socket.socket(fileno=int(listener_fd)), keep=keep == "1")
    supervisor.run()
    os.close(int(lock_fd))  # the directory is free before anybody hears of the end
    supervisor.dismiss()


if __name__ == "__main__":
    main(sys.argv[1:])
