"""Two processes of a program and one Lease: what happens when the leader is killed, or stopped and woken too late.

The API server's audit log is the judge.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
import lease_app
import pytest
from audit import Audited, read_audit

from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

LEASE_SECONDS = 3.0


@attrs.define
class Candidate:
    """One process. Its user name tells its requests apart in the audit log."""

    user: str
    process: asyncio.subprocess.Process
    control_plane: ControlPlane

    def writes(self) -> list[Audited]:
        """Its writes other than to the Lease, that the server executed or may have."""
        entries = read_audit(self.control_plane.audit_log, user=self.user)
        return [one for one in entries if one.resource == "configmaps"]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


@asynccontextmanager
async def candidate(control_plane: ControlPlane, namespace: str, user: str, log: Path) -> AsyncIterator[Candidate]:
    kubeconfig = control_plane.kubeconfig(user=user, groups=["system:masters"])
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            lease_app.__file__,
            str(kubeconfig),
            namespace,
            "test-lease",
            str(LEASE_SECONDS),
            stdout=output,
            stderr=output,
        )
    try:
        yield Candidate(user, process, control_plane)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def make_counter(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.rest.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/configmaps",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "counter", "labels": {"role": "counter"}},
        },
    )


async def leader_of(candidates: list[Candidate], since: datetime) -> Candidate:
    """The one that writes."""

    def writing() -> Candidate | None:
        for one in candidates:
            if any(write.received > since for write in one.writes()):
                return one
        return None

    found = await eventually(writing, seconds=10 * LEASE_SECONDS)
    assert found is not None
    return found


@pytest.mark.asyncio
async def test_the_other_takes_over_when_the_leader_is_killed(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """SIGKILL: the other writes after the lease's duration and two retries at the latest; never both at once."""
    make_counter(control_plane, namespace)
    log = tmp_path / "candidates.log"
    async with (
        candidate(control_plane, namespace, "taker-1", log) as one,
        candidate(control_plane, namespace, "taker-2", log) as two,
    ):
        leader = await leader_of([one, two], datetime.fromtimestamp(0, UTC))
        other = two if leader is one else one
        assert not other.writes()
        leader.signal(signal.SIGKILL)
        await leader.process.wait()
        killed = datetime.now(UTC)
        await leader_of([other], killed)
        taken_seconds = (other.writes()[0].received - killed).total_seconds()
        print(f"taken over after {taken_seconds:.2f} s (lease {LEASE_SECONDS:g} s)")
        bound = LEASE_SECONDS + 2 * LEASE_SECONDS / 8
        assert taken_seconds <= bound + 1.0, "one second for a loaded machine"
        assert max(write.received for write in leader.writes()) < min(write.received for write in other.writes())


async def stop_leaders(control_plane: ControlPlane, namespace: str, tmp_path: Path, stops: int) -> None:
    """SIGSTOP until another leads, then SIGCONT: no write arrives, and the process ends with a lost lease."""
    make_counter(control_plane, namespace)
    log = tmp_path / "candidates.log"
    for round_number in range(stops):
        async with (
            candidate(control_plane, namespace, f"sleeper-{round_number}-1", log) as one,
            candidate(control_plane, namespace, f"sleeper-{round_number}-2", log) as two,
        ):
            leader = await leader_of([one, two], datetime.fromtimestamp(0, UTC))
            other = two if leader is one else one
            leader.signal(signal.SIGSTOP)
            stopped = datetime.now(UTC)
            await leader_of([other], stopped)
            woken = datetime.now(UTC)
            leader.signal(signal.SIGCONT)
            status = await asyncio.wait_for(leader.process.wait(), 10 * LEASE_SECONDS)
            await leader_of([other], datetime.now(UTC))  # the log has all that the woken one may have sent before
            late = [write for write in leader.writes() if write.received > woken]
            print(
                f"stop {round_number}: slept {(woken - stopped).total_seconds():.2f} s, {len(late)} writes after waking"
            )
            assert late == [], log.read_text()
            assert status == 1, log.read_text()


@pytest.mark.asyncio
async def test_a_leader_that_slept_longer_than_its_lease_writes_nothing_more(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Two stops; the long run makes a hundred."""
    await stop_leaders(control_plane, namespace, tmp_path, 2)


@pytest.mark.long
@pytest.mark.asyncio
async def test_a_hundred_leaders_that_slept_write_nothing_more(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """A hundred stops, about half an hour."""
    await stop_leaders(control_plane, namespace, tmp_path, 100)
