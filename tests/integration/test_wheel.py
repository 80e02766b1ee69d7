"""The built wheel works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS_MAX = 240


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, as a release is."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", directory, ROOT],
        check=True,
        capture_output=True,
        timeout=BUILD_SECONDS_MAX,
    )
    [found] = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an empty environment into which the wheel, without extras, was installed."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    subprocess.run(
        [
            *(home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--only-binary", ":all:", "--constraint", ROOT / "constraints.txt", wheel),
        ],
        check=True,
        timeout=BUILD_SECONDS_MAX,
        env=outside(),
    )
    return home / "bin"


def outside() -> dict[str, str]:
    """An environment in which nothing leads back to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


def output(*command: str | Path, cwd: Path) -> str:
    answer = subprocess.run(command, cwd=cwd, env=outside(), capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    """No tests, no folder named controllers, and the marker that says that types are checked."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"reconcile", "reconcile_job"}
    assert "reconcile/py.typed" in names
    assert [name for name in names if name.startswith("reconcile/testing/envtest/") and name.endswith("go.mod")]


@pytest.mark.timeout(2 * BUILD_SECONDS_MAX)
def test_the_command_line_runs(installed: Path, tmp_path: Path) -> None:
    """`reconcile --help` and `reconcile run --list` work with the base install, and the Job controller is listed."""
    assert "usage: reconcile" in output(installed / "reconcile", "--help", cwd=tmp_path)
    listed = output(installed / "reconcile", "run", "--list", cwd=tmp_path)
    assert "job\treconcile_job:app\treconcile-k8s" in listed.splitlines()
    assert "--managed-by" in output(installed / "reconcile", "run", "job", "--help", cwd=tmp_path)


@pytest.mark.timeout(2 * BUILD_SECONDS_MAX)
def test_hello_world_is_importable_and_found(installed: Path, tmp_path: Path) -> None:
    """The example of the README imports, and `reconcile run` finds it in the working directory."""
    (tmp_path / "hello.py").write_text((ROOT / "examples" / "hello.py").read_text())
    where = output(installed / "python", "-c", "import hello, reconcile; print(reconcile.__file__)", cwd=tmp_path)
    assert str(ROOT) not in where
    assert "--kubeconfig" in output(installed / "reconcile", "run", "hello:app", "--help", cwd=tmp_path)
