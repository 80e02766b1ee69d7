"""``reconcile demo --real``: it shows what it says, its verdict can be trusted, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.cli.demo import show
from reconcile.nodes import missing_requirements
from reconcile.testing.envtest import BinariesUnavailableError, provide_binaries
from reconcile.testing.waiting import eventually

JOBS = ("deadline", "failing", "indexed", "parallel", "suspended")
WITHOUT_A_NODE = (
    "import reconcile.cli.demo.show as show\nshow.missing_requirements = lambda: ['not root']\nexit(show.show(None))"
)


def cannot_be_had(reason):
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def binaries():
    """The demo needs its own control plane; here we only make sure that it can be had."""
    import anyio

    try:
        anyio.run(provide_binaries, ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"])
    except BinariesUnavailableError as error:
        cannot_be_had(f"no control plane: {error}")


def test_without_a_node_a_stand_in_is_named_and_every_job_ends_as_it_should(monkeypatch, capsys):
    """Nobody is led to believe that containers ran."""
    monkeypatch.setattr(show, "missing_requirements", lambda: ["not root: run as root"])
    assert show.show(None) == 0
    out = capsys.readouterr().out
    assert "No container runs." in out
    assert "not root: run as root" in out
    last = out.splitlines()[-len(JOBS) - 1 :]
    for name, line in zip(JOBS, last, strict=False):
        assert line.startswith(name)
        assert line.endswith("ok")
    assert "The service ended with exit status 0" in last[-1]


def test_job_that_ends_otherwise_makes_the_demo_fail(monkeypatch, capsys):
    """The exit status is a verdict, not a matter of having come to the end."""
    (quick,) = [one for one in show._manifests() if one["metadata"]["name"] == "indexed"]
    quick["metadata"]["annotations"] = {"demo.reconcile.dev/expect": "Failed DeadlineExceeded"}
    monkeypatch.setattr(show, "missing_requirements", lambda: ["not root"])
    monkeypatch.setattr(show, "_manifests", lambda: [quick])
    assert show.show(None) == 1
    assert "NOT AS IT SHOULD: want Failed DeadlineExceeded" in capsys.readouterr().out


@pytest.mark.nodes
def test_with_a_real_node_every_job_ends_as_it_should():
    """The whole of it, as ``make demo REAL=1`` runs it: real containers."""
    if missing := missing_requirements():
        cannot_be_had("no real node: " + "; ".join(missing))
    command = [sys.executable, "-m", "reconcile", "demo", "--real"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Starting a real node" in done.stdout
    assert "stand-in" not in done.stdout
    assert done.stdout.count("  ok\n") == len(JOBS)


def services_of(parent):
    """The service processes whose parent is, or was, that process."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")
            fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if b"reconcile" in command and b"run" in command and fields[0] != "Z" and int(fields[1]) == parent:
            found.append(int(directory.name))
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
async def test_demo_that_is_killed_takes_its_service_with_it(sent):
    """Neither SIGKILL nor Ctrl-C leaves a controller that talks to an API server which is gone."""
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_A_NODE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            assert demo.stdout is not None
            seen = []
            for line in demo.stdout:
                seen.append(line)
                if line.startswith("Applied"):
                    break
            service = services_of(demo.pid)
            assert len(service) == 1, "".join(seen)
            demo.send_signal(sent)
            await eventually(lambda: not Path(f"/proc/{service[0]}").exists(), seconds=60)
        finally:
            demo.kill()
