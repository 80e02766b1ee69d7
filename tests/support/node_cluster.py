"""What tests of real nodes share: whether nodes can be had here, and a node that may do what a kubelet may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from anyio.from_thread import start_blocking_portal

from reconcile.nodes import LocalNode, missing_requirements
from reconcile.testing.envtest import BinariesUnavailableError, ControlPlane, ControlPlaneConfig


def cannot_be_had(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def shared_control_plane(
    config: ControlPlaneConfig, name: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A control plane for tests with nodes, called ``name``, that all workers of the test run hold together."""
    if missing := missing_requirements():
        cannot_be_had("no real node: " + "; ".join(missing))
    worker = getattr(pytestconfig, "workerinput", None)
    base: Path = tmp_path_factory.getbasetemp()
    directory = base / name if worker is None else base.parent / f"{name}-{worker['testrunuid']}"
    with start_blocking_portal() as portal:
        try:
            control_plane = portal.call(ControlPlane.share, config, directory)
            portal.call(control_plane.binary, "kubelet")
        except BinariesUnavailableError as error:
            cannot_be_had(f"no control plane: {error}")
    yield control_plane
    with start_blocking_portal() as portal:
        portal.call(control_plane.stop)


async def local_node(cluster: ControlPlane, name: str, **options: Any) -> LocalNode:
    """A node that speaks to the API server as a kubelet may, and no more."""
    kubeconfig = cluster.kubeconfig(user=f"system:node:{name}", groups=["system:nodes"])
    return LocalNode(name, kubeconfig=kubeconfig, kubelet=await cluster.binary("kubelet"), **options)
