"""The process above a node's processes: when it or its owner ends, nothing of the node is left.

A program of its own (``python -I -S supervisor.py DIRECTORY VIEW ADDRESS [SOURCE TARGET]…``) of the standard library
only, so that it starts in 15 ms and whatever the owner's ``sys.path`` is. It is two processes:

* the **outer** one waits for the inner one to end, then removes what the kernel does not: the directory, the
  containers' cgroups, the node's address;
* the **inner** one is process 1 of a PID namespace and of a mount namespace of the node's own. It starts what it is
  told to, and reads its orders from the pipe that the owner holds.

Guarantees:
    * The owner ends, however (SIGKILL included), or closes the pipe: the children get SIGTERM in reverse order and
      their grace, then the inner process ends.
    * The inner process ends, however: the kernel kills every process of its namespace, daemonised ones included, and
      its mounts and pinned network namespaces are gone with it. The host never sees those mounts.
    * The outer process is killed: so is the inner one (``PR_SET_PDEATHSIG``). What then lies on disk is removed by
      whoever takes the node's slot next (``slot.py``), with ``remove_remains``.

The order, one a line, in the shell's quoting: ``start NAME GRACE_SECONDS PROGRAM ARGUMENT…`` (its output goes to
``DIRECTORY/NAME.log``). Answers: ``started NAME`` | ``failed NAME REASON``, ``exited NAME CODE`` (negative for a
signal), and as the last line from the outer process ``removed`` or ``left REASON``. SIGTERM to the outer process means
at once, without grace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 2, 4, 8, 4096, 16384, 1 << 18, 1 << 20
PR_SET_PDEATHSIG = 1

CGROUPS = Path("/sys/fs/cgroup")
CGROUP_TRIES, CGROUP_RETRY_SECONDS = 100, 0.02
"""A cgroup is busy until the kernel has switched away from its last process for good, just after that was reaped."""
READ_BYTES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, operation: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{operation}: {os.strerror(number)}")


def _unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare {flags:#x}")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)
    _checked(_libc.mount(*arguments), f"mount {source} on {target}")


def _answer(*words: str) -> None:
    # A broken pipe is an owner that has gone: the end of the orders says the same.
    try:
        os.write(1, (shlex.join(words) + "\n").encode())
    except BrokenPipeError:
        return


class Children:
    """The inner process's children: started by name, stopped in reverse order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[int, tuple[str, int]] = {}
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        # Signals wake ``select``; the handlers themselves have nothing to do.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGALRM, self._expire)
        self._expired = False

    def _expire(self, *_: object) -> None:
        self._expired = True

    def start(self, name: str, grace_seconds: int, arguments: list[str]) -> None:
        log = str(self._directory / f"{name}.log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            pid = os.posix_spawnp(
                arguments[0],
                arguments,
                os.environ,
                file_actions=files,
                setsid=True,
                # Python ignores SIGPIPE, and what is ignored is inherited.
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ],
            )
        except OSError as error:
            _answer("failed", name, f"{arguments[0]}: {error.strerror}")
            return
        self._running[pid] = (name, grace_seconds)
        _answer("started", name)

    def reap(self) -> None:
        """Collect the dead: children, and orphans of the namespace, which are process 1's to collect."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._running:
                name, _ = self._running.pop(pid)
                _answer("exited", name, str(os.waitstatus_to_exitcode(status)))

    def wait(self, *descriptors: int) -> list[int]:
        """Until one of ``descriptors`` can be read, or a signal came. Returns those that can be read."""
        readable, _, _ = select.select([self._wake, *descriptors], [], [])
        if self._wake in readable:
            os.read(self._wake, READ_BYTES)
        self.reap()
        return [descriptor for descriptor in readable if descriptor != self._wake]

    def stop(self) -> None:
        """SIGTERM in reverse order of their start, each with its grace. Who outlives it dies with the namespace."""
        for pid, (_, grace_seconds) in reversed(list(self._running.items())):
            if pid not in self._running:
                continue
            os.kill(pid, signal.SIGTERM)
            self._expired = False
            signal.alarm(grace_seconds)
            while pid in self._running and not self._expired:
                self.wait()
            signal.alarm(0)


def _serve(children: Children, owner: int) -> None:
    """Follow the orders until they end, or until the owner does (a fork of the owner may hold the pipe open)."""
    pending = b""
    while True:
        readable = children.wait(0, owner)
        if owner in readable:
            children.stop()
            return
        if not readable:
            continue
        data = os.read(0, READ_BYTES)
        if not data:
            children.stop()
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            match shlex.split(line.decode()):
                case ["start", name, grace_seconds, *arguments]:
                    children.start(name, int(grace_seconds), arguments)
                case words:
                    raise ValueError(f"unknown order {words}")


def _inner(directory: Path, view: str, binds: list[tuple[str, str]], owner: int) -> NoReturn:
    """Process 1 of the node's namespaces."""
    code = 1
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The owner's may be stricter than what a container that is not root can live with.
        os.umask(0o022)
        _unshare(CLONE_NEWNS)
        # Private first, so that nothing reaches the host; then shared among the node's own namespaces, which a volume
        # mount with ``mountPropagation: Bidirectional`` needs.
        _mount("none", "/", "", MS_REC | MS_PRIVATE)
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        for source, target in [(str(directory), view), *binds]:
            _mount(source, target, "", MS_BIND)
        _mount("none", "/", "", MS_REC | MS_SHARED)
        _answer("started", "supervisor")
        _serve(Children(directory), owner)
        code = 0
    except Exception as error:  # noqa: BLE001  process 1 has nobody above it to report to
        _answer("failed", "supervisor", str(error))
    finally:
        # Not sys.exit: the parent's exit handlers are not this process's.
        os._exit(code)


def _remove_cgroups(directory: Path) -> list[str]:
    """Remove the cgroups of the containers that runc still knows: it removes those of the others itself."""
    containers = {path.name for path in directory.glob("runc/*/*")}
    problems: list[str] = []
    if containers:
        for path, names, _ in os.walk(CGROUPS, topdown=False):
            for name in containers.intersection(names):
                error = _remove_cgroup(Path(path, name))
                if error is not None:
                    problems.append(f"cgroup {path}/{name}: {error.strerror}")
    return problems


def _remove_cgroup(path: Path) -> OSError | None:
    for _ in range(CGROUP_TRIES):
        try:
            path.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY:
                return error
        else:
            return None
        select.select([], [], [], CGROUP_RETRY_SECONDS)
    return OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def remove_remains(directory: Path, address: str) -> list[str]:
    """Remove what a dead node left: its containers' cgroups, its address, its directory. Returns what could not be.

    Assumptions:
        No process of the node lives, and none of its mounts is in this mount namespace (the supervisor never makes one
        here): then removing the tree cannot reach through a mount into somebody's data.
    """
    problems = _remove_cgroups(directory)
    # The answer does not matter: an address that is not there is what is wanted.
    subprocess.run(  # noqa: S603  arguments are ours
        ["ip", "address", "delete", f"{address}/32", "dev", "lo"],  # noqa: S607  found on the PATH, as an operator would
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(f"{directory}: {error}")
    return problems


def main(arguments: list[str]) -> int:
    """The outer process."""
    directory, view, address, *rest = arguments
    binds = list(zip(rest[0::2], rest[1::2], strict=True))
    lock = int(os.environ.pop("RECONCILE_NODE_SLOT"))
    # Held until everything is removed, by this process alone.
    os.set_inheritable(lock, False)
    try:
        owner = os.pidfd_open(os.getppid())
        namespace = os.open("/proc/self/ns/pid", os.O_RDONLY)
        _unshare(CLONE_NEWPID)
    except OSError as error:
        _answer("failed", "supervisor", str(error))
        return _remove(Path(directory), address, lock)
    inner = os.fork()
    if inner == 0:
        _inner(Path(directory), view, binds, owner)
    # Later children of this process belong to its own namespace again: the other one takes none once it is dead.
    _checked(_libc.setns(namespace, CLONE_NEWPID), "setns")
    asked_to_end = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in asked_to_end:
        signal.signal(number, lambda *_: os.kill(inner, signal.SIGKILL))
    os.waitid(os.P_PID, inner, os.WEXITED | os.WNOWAIT)
    for number in asked_to_end:
        signal.signal(number, signal.SIG_IGN)
    os.waitpid(inner, 0)
    return _remove(Path(directory), address, lock)


def _remove(directory: Path, address: str, lock: int) -> int:
    problems = remove_remains(directory, address)
    if problems:
        _answer("left", "; ".join(problems))
        return 1
    # The slot's next holder has nothing to remove.
    os.ftruncate(lock, 0)
    _answer("removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
