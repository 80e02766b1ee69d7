"""``reconcile envtest`` as it is typed: a control plane that outlives the command which started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconcile.testing.envtest import ControlPlane
from reconcile.testing.envtest.process import is_supervised


@pytest.fixture
def home(tmp_path: Path, control_plane: ControlPlane) -> Iterator[Path]:
    """A user's cache directory of this test's own; whatever runs there is ended."""
    yield tmp_path
    for directory in (tmp_path / "reconcile" / "envtest" / "running", tmp_path / "a b"):
        if is_supervised(directory):
            envtest(tmp_path, control_plane, "stop", "--dir", str(directory))


def envtest(home: Path, control_plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"XDG_CACHE_HOME": str(home), "KUBEBUILDER_ASSETS": str(control_plane.assets)}
    command = [sys.executable, "-W", "error", "-c", "import sys; from reconcile.cli.main import main; sys.exit(main())"]
    return subprocess.run([*command, "envtest", *arguments], env=env, capture_output=True, text=True)


def test_a_shell_starts_uses_and_stops_one(home: Path, control_plane: ControlPlane) -> None:
    """What `start` and `env` print makes kubectl work, until `stop`, which leaves nothing; a second start is refused."""
    directory = home / "reconcile" / "envtest" / "running"
    started = envtest(home, control_plane, "start", "--controllers", "*,-job-controller")
    assert started.returncode == 0, started.stderr
    assert f"runs in {directory}; to end it: reconcile envtest stop\n" in started.stderr
    assert envtest(home, control_plane, "env").stdout == started.stdout

    script = f'{started.stdout}\n"$KUBEBUILDER_ASSETS/kubectl" auth whoami -o name && echo "$KUBECONFIG"'
    used = subprocess.run(["/bin/sh", "-euc", script], capture_output=True, text=True)
    assert used.returncode == 0, used.stderr
    assert used.stdout.splitlines()[-1].startswith(str(directory))

    again = envtest(home, control_plane, "start")
    assert (again.returncode, again.stdout) == (1, "")
    assert f"a control plane runs already in {directory}: stop it first, or give another --dir" in again.stderr

    assert envtest(home, control_plane, "stop").returncode == 0
    assert not directory.exists()
    stopped = envtest(home, control_plane, "stop")
    assert (stopped.returncode, stopped.stderr) == (1, f"reconcile: no control plane runs in {directory}\n")


def test_a_directory_of_ones_own_is_kept(home: Path, control_plane: ControlPlane) -> None:
    """`--dir` says where it runs; its data and logs stay there, also where the path has a space."""
    directory = home / "a b"
    started = envtest(home, control_plane, "start", "--dir", str(directory))
    assert f"reconcile envtest stop --dir '{directory}'" in started.stderr
    assert f"export KUBECONFIG='{directory}/" in started.stdout
    assert envtest(home, control_plane, "stop", "--dir", str(directory)).returncode == 0
    assert (directory / "etcd").is_dir()
    assert (directory / "kube-apiserver.log").stat().st_size > 0


def test_a_directory_that_cannot_be_made_is_a_configuration_error(home: Path, control_plane: ControlPlane) -> None:
    """It is named, with what stands in the way."""
    (home / "file").touch()
    done = envtest(home, control_plane, "start", "--dir", str(home / "file"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"reconcile: a control plane cannot run in {home / 'file'}: File exists\n"


def test_without_one_running_env_tells_where_the_programs_are(home: Path, control_plane: ControlPlane) -> None:
    """`env` alone is enough for tools that start their own, such as Go's envtest."""
    done = envtest(home, control_plane, "env")
    assert (done.returncode, done.stdout) == (0, f"export KUBEBUILDER_ASSETS={control_plane.assets}\n")
    assert "no control plane runs in" in done.stderr


def test_build_prints_where_the_programs_are(home: Path, control_plane: ControlPlane) -> None:
    """One path a line; a program that does not exist is a usage error that names those that do."""
    done = envtest(home, control_plane, "build", "etcd", "kube-apiserver")
    assert done.stdout == f"{control_plane.assets}/etcd\n{control_plane.assets}/kube-apiserver\n"
    wrong = envtest(home, control_plane, "build", "kubectll")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("reconcile: no such program: kubectll; there are etcd, kube-apiserver,")
