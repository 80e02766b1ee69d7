"""The fixtures as a user's own project has them: pytest is run on a project of a few lines."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from reconcile.testing.envtest import ControlPlane

INI = """
[pytest]
filterwarnings = error
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture
def run(tmp_path: Path, control_plane: ControlPlane):
    """Runs pytest on the given files; ``control_plane`` is there to skip where there can be none."""
    project = tmp_path / "project"

    def run_pytest(
        files: Mapping[str, str], *arguments: str, env: Mapping[str, str] | None = None, without: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        project.mkdir()
        for name, text in {"pytest.ini": INI, **files}.items():
            (project / name).write_text(textwrap.dedent(text))
        # The outer run's own settings are none of the project's.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        environment["KUBEBUILDER_ASSETS"] = str(control_plane.assets)
        for key in ("CI", *without):
            environment.pop(key, None)
        environment |= env or {}
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'temporary'}"]
        return subprocess.run([*command, *arguments], cwd=project, env=environment, capture_output=True, text=True)

    return run_pytest


def test_one_line_gets_a_control_plane(run) -> None:
    """Sync tests and async tests of any loop scope use the one control plane, each with a namespace of its own."""
    test = """
        import json
        import subprocess

        import pytest

        seen = set()

        def test_sync(control_plane, namespace, kubeconfig):
            assert control_plane.rest.request("GET", f"/api/v1/namespaces/{namespace}")["status"]["phase"] == "Active"
            assert json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"] == control_plane.url
            seen.add((control_plane.url, namespace))

        @pytest.mark.asyncio
        @pytest.mark.parametrize("number", range(2))
        async def test_function_loop(control_plane, namespace, number):
            await control_plane.create_namespace(f"of-{namespace}"[:63])
            seen.add((control_plane.url, namespace))

        @pytest.mark.asyncio(loop_scope="session")
        @pytest.mark.parametrize("number", range(2))
        async def test_session_loop(request, number):
            # Even when asked for from within a running loop.
            seen.add((request.getfixturevalue("control_plane").url, request.getfixturevalue("namespace")))

        def test_all_the_same():
            assert len(seen) == 5
            assert len({url for url, _ in seen}) == 1
    """
    done = run({"test_it.py": test})
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_workers_of_xdist_share_one(run, tmp_path: Path) -> None:
    """However many workers there are, they talk to the same API server, and the last one ends it."""
    test = """
        import os
        from pathlib import Path

        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_it(control_plane, namespace, number):
            worker = os.environ["PYTEST_XDIST_WORKER"]
            Path(f"{worker}-{number}.txt").write_text(f"{control_plane.url} {control_plane.directory}")
    """
    done = run({"test_it.py": test}, "-n", "3")
    assert "8 passed" in done.stdout, done.stdout + done.stderr
    notes = list((tmp_path / "project").glob("gw*.txt"))
    assert len({note.name.partition("-")[0] for note in notes}) > 1
    assert len({note.read_text() for note in notes}) == 1
    assert not Path(notes[0].read_text().split()[1]).exists()


def test_its_parts_are_chosen_by_overriding_one_fixture(run) -> None:
    """`control_plane_config` in the project's conftest.py decides what is started."""
    conftest = """
        import pytest

        from reconcile.testing.envtest import ControlPlaneConfig

        @pytest.fixture(scope="session")
        def control_plane_config():
            return ControlPlaneConfig(controllers="serviceaccount-controller")
    """
    test = """
        def test_it(control_plane, namespace):
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
            assert control_plane.rest.request("GET", path)["metadata"]["name"] == "default"
    """
    done = run({"conftest.py": conftest, "test_it.py": test})
    assert "1 passed" in done.stdout, done.stdout + done.stderr


NO_PROGRAMS = {"PATH": "/nowhere", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
USES_IT = "def test_it(control_plane):\n    pass\n"


def test_where_there_can_be_none_tests_are_skipped_with_the_way_out(run, tmp_path: Path) -> None:
    """On a machine without programs and without a way to build them, the reason and the way out are shown."""
    env = NO_PROGRAMS | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CI": "false"}
    done = run({"test_it.py": USES_IT}, "-rs", env=env, without=["KUBEBUILDER_ASSETS", "PIP_FIND_LINKS"])
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "no control plane: Go ≥ 1.26.0 is needed" in done.stdout
    assert "set KUBEBUILDER_ASSETS" in done.stdout


def test_in_a_pipeline_that_is_a_failure(run, tmp_path: Path) -> None:
    """With CI=true a pipeline cannot pass by having tested nothing."""
    env = NO_PROGRAMS | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CI": "true"}
    done = run({"test_it.py": USES_IT}, env=env, without=["KUBEBUILDER_ASSETS", "PIP_FIND_LINKS"])
    assert done.returncode == 1
    assert "During handling of the above exception" not in done.stdout, "said once, without a trace of ours"
    assert "no control plane: Go ≥ 1.26.0 is needed" in done.stdout


def test_an_unknown_release_is_told(run) -> None:
    """`--envtest-release` with a release that cannot be had skips with the releases there are."""
    done = run({"test_it.py": USES_IT}, "-rs", "--envtest-release=1.2.3")
    assert "Kubernetes 1.2.3 cannot be built here, only 1.36.3, 1.37.2" in done.stdout


def test_a_control_plane_that_dies_is_named_by_the_next_test(run) -> None:
    """After a crash of the API server, the next test's error says so, and shows the end of its log."""
    test = """
        import os
        import signal
        import time

        def test_one(control_plane):
            supervisor = (control_plane.directory / "supervisor.pid").read_text()
            with open(f"/proc/{supervisor}/task/{supervisor}/children") as file:
                pids = [int(pid) for pid in file.read().split()]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            while any(os.path.exists(f"/proc/{pid}") for pid in pids):
                time.sleep(0.01)

        def test_two(control_plane, namespace):
            pass
    """
    done = run({"test_it.py": test})
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "ControlPlaneError: etcd has ended with exit code -9" in done.stdout


def test_a_project_that_does_not_use_it_pays_nothing(run) -> None:
    """The plugin is loaded in every project; alone it brings in no other part of the package."""
    test = """
        import sys

        def test_it():
            loaded = {name for name in sys.modules if name.partition(".")[0] == "reconcile"}
            assert loaded == {"reconcile", "reconcile.testing", "reconcile.testing.plugin"}
    """
    done = run({"test_it.py": test})
    assert "1 passed" in done.stdout, done.stdout + done.stderr
