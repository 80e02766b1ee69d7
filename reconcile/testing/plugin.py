"""The pytest plugin: a test that names ``control_plane``, ``namespace`` or ``kubeconfig`` gets the real thing.

pytest loads this file in every project where the package is installed, so it imports nothing until a fixture is used.

Guarantees:
    * One control plane for a test session, under pytest-xdist for all workers together; the last one ends it.
    * It belongs to no event loop: tests use loops of any scope.
    * Where it cannot be had, tests are skipped with the reason and the way out; with ``CI=true`` they fail, because
      a pipeline that silently skips its tests passes for the wrong reason.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

_NAME_LENGTH_MAX = 63  # a namespace is a DNS label (RFC 1123)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--envtest-release``."""
    parser.getgroup("reconcile").addoption(
        "--envtest-release",
        metavar="VERSION",
        default=None,
        help="Kubernetes release of the control_plane fixture, such as 1.37.2",
    )


@pytest.fixture(scope="session")
def control_plane_config() -> ControlPlaneConfig:
    """What the ``control_plane`` fixture starts: the API server and etcd. Override it to have more."""
    from reconcile.testing.envtest import ControlPlaneConfig

    return ControlPlaneConfig()


@pytest.fixture(scope="session")
def control_plane(
    control_plane_config: ControlPlaneConfig, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """The session's control plane, running."""
    import attrs
    from anyio.from_thread import start_blocking_portal

    from reconcile.testing.envtest import BinariesUnavailableError, ControlPlane

    release = pytestconfig.getoption("envtest_release")
    config = attrs.evolve(control_plane_config, release=release) if release else control_plane_config
    worker: dict[str, Any] | None = getattr(pytestconfig, "workerinput", None)  # set by pytest-xdist in its workers
    if worker is None:

        async def start() -> ControlPlane:
            control_plane = ControlPlane(config)
            await control_plane.start()
            return control_plane

    else:
        digest = hashlib.sha256(repr(config).encode()).hexdigest()[:8]
        directory = tmp_path_factory.getbasetemp().parent / f"envtest-{worker['testrunuid']}-{digest}"

        async def start() -> ControlPlane:
            return await ControlPlane.share(config, directory)

    # A loop of its own, in a thread: the test session may have none, or one that is running.
    with start_blocking_portal() as portal:
        try:
            control_plane = portal.call(start)
        except BinariesUnavailableError as error:
            _cannot_be_had(error)
    yield control_plane
    with start_blocking_portal() as portal:
        portal.call(control_plane.stop)


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of this test's own; its deletion is asked for afterwards, and not waited for."""
    from anyio.from_thread import start_blocking_portal

    control_plane.check()
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    ending = os.urandom(4).hex()
    name = f"{slug[: _NAME_LENGTH_MAX - len(ending) - 1].strip('-')}-{ending}".lstrip("-")
    with start_blocking_portal() as portal:
        portal.call(control_plane.create_namespace, name)
    yield name
    control_plane.rest.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def kubeconfig(control_plane: ControlPlane) -> Path:
    """The administrator's kubeconfig; ``control_plane.kubeconfig(user=…, groups=[…])`` makes anybody else's."""
    return control_plane.admin_kubeconfig


def _cannot_be_had(error: Exception) -> NoReturn:
    reason = f"no control plane: {error}"
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        raise pytest.fail.Exception(reason, pytrace=False) from None  # its cause has the same text
    pytest.skip(reason)
