"""The process above a node's processes, with small programs in place of a node's."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from reconcile.nodes import MachineError, missing_requirements
from reconcile.nodes.machine.process import Supervisor
from reconcile.nodes.machine.slot import take_slot
from reconcile.nodes.machine.supervisor import remove_remains

pytestmark = [pytest.mark.nodes, pytest.mark.asyncio]


@pytest.fixture(autouse=True)
def on_a_machine_that_can() -> None:
    if missing := missing_requirements():
        reason = "no real node: " + "; ".join(missing)
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest_asyncio.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    directory, view = tmp_path / "node", tmp_path / "view"
    (directory / "own").mkdir(parents=True)
    (directory / "own" / "file").write_text("the node's own\n")
    view.mkdir()
    (tmp_path / "file").write_text("the host's\n")
    slot = take_slot(directory)
    supervisor = Supervisor.spawn(directory, view, slot, {tmp_path / "file": str(directory / "own" / "file")})
    slot.release()
    await supervisor.ready(30.0)
    yield supervisor
    await supervisor.close(30.0)
    assert not directory.exists()
    assert supervisor.has_ended


async def until_written(path: Path, text: str) -> str:
    with anyio.fail_after(30.0):
        while not path.exists() or text not in path.read_text():
            await anyio.sleep(0.01)
    return path.read_text()


async def test_a_program_runs_to_its_end(supervisor: Supervisor):
    """Its output is in its log, and a good end is no news."""
    await supervisor.run("echo", ["sh", "-c", "echo out; echo error >&2"], timeout_seconds=30.0)
    assert (supervisor.directory / "echo.log").read_text() == "out\nerror\n"


async def test_a_program_that_fails_is_quoted(supervisor: Supervisor):
    """The error has its name, its code and its last words."""
    with pytest.raises(MachineError, match="bad ended with 7: no such luck"):
        await supervisor.run("bad", ["sh", "-c", "echo no such luck; exit 7"], timeout_seconds=30.0)


async def test_a_program_that_takes_too_long_is_named(supervisor: Supervisor):
    """It is ended with the node, not before: who waits for it has given the node up."""
    with pytest.raises(MachineError, match=r"slow took more than 0\.05 s"):
        await supervisor.run("slow", ["sleep", "1000"], timeout_seconds=0.05)


async def test_a_program_that_is_not_there_cannot_be_started(supervisor: Supervisor):
    """The system's reason is passed on."""
    with pytest.raises(MachineError, match="cannot be started: /no/such: No such file"):
        await supervisor.start("none", ["/no/such"], grace_seconds=1)


async def test_a_service_that_ends_interrupts_what_is_waited_for(supervisor: Supervisor):
    """Nobody waits for a kubelet whose containerd has died."""
    await supervisor.start("service", ["sh", "-c", "echo giving up; exit 1"], grace_seconds=1)
    with pytest.raises(MachineError, match="service ended with 1: giving up"):
        await supervisor.run("slow", ["sleep", "1000"], timeout_seconds=30.0)
    with pytest.raises(MachineError, match="service ended with 1: giving up"):
        await supervisor.guard(anyio.sleep_forever())


async def test_what_is_waited_for_may_fail_by_itself(supervisor: Supervisor):
    """Its own error comes through, not a group of errors."""

    async def fail() -> None:
        raise MachineError("of its own")

    with pytest.raises(MachineError, match="of its own"):
        await supervisor.guard(fail())


async def test_the_node_sees_its_own_files_and_the_host_keeps_its(supervisor: Supervisor, tmp_path: Path):
    """Binds exist in the node's mount namespace only; so does its directory under the short name."""
    script = f"cat {tmp_path}/file; ls {tmp_path}/view; mount -t tmpfs none {supervisor.directory}/own; exec sleep 1000"
    await supervisor.start("look", ["sh", "-c", script], grace_seconds=1)
    seen = await until_written(supervisor.directory / "look.log", "supervisor.log")
    assert "the node's own" in seen
    assert (tmp_path / "file").read_text() == "the host's\n"
    assert str(supervisor.directory) not in Path("/proc/self/mounts").read_text()
    assert (supervisor.directory / "own" / "file").exists()


async def test_children_are_stopped_in_reverse_order_with_grace(supervisor: Supervisor, tmp_path: Path):
    """The kubelet before containerd; each hears SIGTERM and may finish."""
    for name in ("first", "second"):
        script = f"trap 'echo {name} >> {tmp_path}/order; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        await supervisor.start(name, ["sh", "-c", script], grace_seconds=20)
        await until_written(supervisor.directory / f"{name}.log", "up")
    await supervisor.close(30.0)
    assert (tmp_path / "order").read_text() == "second\nfirst\n"


async def test_a_child_that_ignores_sigterm_and_a_daemon_die_all_the_same(supervisor: Supervisor):
    """One is killed after its grace; the other left its parent and its session, but not the namespace."""
    script = "trap '' TERM; setsid sleep 999 & echo up; while :; do sleep 0.05; done"
    await supervisor.start("stubborn", ["sh", "-c", script], grace_seconds=1)
    await until_written(supervisor.directory / "stubborn.log", "up")
    [inner] = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    namespace = Path(f"/proc/{inner}/ns/pid").readlink()
    assert len(members(namespace)) >= 3
    await supervisor.close(30.0)
    assert members(namespace) == []


async def test_kill_gives_no_grace(supervisor: Supervisor, tmp_path: Path):
    """The end of a machine is not announced to its programs."""
    script = f"trap 'echo heard >> {tmp_path}/heard; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await supervisor.start("one", ["sh", "-c", script], grace_seconds=20)
    await until_written(supervisor.directory / "one.log", "up")
    supervisor.kill()
    await supervisor.close(30.0)
    assert not (tmp_path / "heard").exists()
    supervisor.kill()  # nothing to kill: no error


async def test_a_stop_that_takes_too_long_ends_in_a_kill_and_says_so(supervisor: Supervisor):
    """The bound on stopping holds; everything is removed all the same."""
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    await supervisor.start("stubborn", ["sh", "-c", script], grace_seconds=20)
    await until_written(supervisor.directory / "stubborn.log", "up")
    with pytest.raises(MachineError, match=r"killed, since it did not stop within 0\.2 s"):
        await supervisor.close(0.2)
    assert not supervisor.directory.exists()


async def test_orders_after_the_end_are_refused(supervisor: Supervisor):
    """A stopped node does not start programs."""
    await supervisor.close(30.0)
    with pytest.raises(MachineError, match="has been stopped"):
        await supervisor.start("late", ["true"], grace_seconds=1)
    with pytest.raises(MachineError, match="the node has ended"):
        await supervisor.guard(anyio.sleep_forever())


async def test_a_killed_supervisor_takes_the_children_with_it(tmp_path: Path):
    """The kernel ends them, and the owner hears of it when it next waits or orders."""
    directory, view = tmp_path / "node", tmp_path / "view"
    directory.mkdir()
    view.mkdir()
    slot = take_slot(directory)
    supervisor = Supervisor.spawn(directory, view, slot, {})
    slot.release()
    await supervisor.ready(30.0)
    await supervisor.start("service", ["sleep", "1000"], grace_seconds=1)
    [inner] = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    end = os.pidfd_open(int(inner))
    os.kill(supervisor.pid, signal.SIGKILL)
    readable, _, _ = select.select([end], [], [], 30.0)
    os.close(end)
    assert readable
    with pytest.raises(MachineError):
        await supervisor.guard(anyio.sleep_forever())
    with pytest.raises(MachineError):
        await supervisor.start("late", ["true"], grace_seconds=1)
    with pytest.raises(MachineError, match="supervisor was killed; the next node removes what is left"):
        await supervisor.close(30.0)
    assert directory.exists()
    remove_remains(directory, slot.address)


async def test_one_task_may_stop_what_another_waits_for(supervisor: Supervisor):
    """As when a test gives up on a node that does not get ready."""
    await supervisor.start("service", ["sleep", "1000"], grace_seconds=1)

    async def wait() -> None:
        with pytest.raises(MachineError, match=r"service ended with -15|the node has ended"):
            await supervisor.guard(anyio.sleep_forever())

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await supervisor.close(30.0)


def members(namespace: Path) -> list[str]:
    """Processes in a PID namespace."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and (path / "ns/pid").readlink() == namespace:
                found.append(path.name)
        except OSError:  # it has just ended
            continue
    return found
