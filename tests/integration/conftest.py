"""What tests on the real API server share."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio
from job_cluster import Jobs, running
from job_node import JOBS_ON_NODES, JobCluster, job_cluster
from node_cluster import shared_control_plane

from reconcile.testing.envtest import ControlPlane


@pytest.fixture
def jobs(control_plane: ControlPlane, namespace: str) -> Callable[[], AbstractAsyncContextManager[Jobs]]:
    """``async with jobs() as j``: the Job controller runs on the test's namespace."""
    return functools.partial(running, control_plane, namespace)


@pytest.fixture(scope="session")
def control_plane_for_nodes(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """Everything but the built-in Job controller; shared by all workers."""
    with shared_control_plane(JOBS_ON_NODES, "job-nodes", pytestconfig, tmp_path_factory) as control_plane:
        yield control_plane


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def jobs_on_nodes(
    control_plane_for_nodes: ControlPlane, worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[JobCluster]:
    """One node and one Job controller for each worker."""
    async with job_cluster(control_plane_for_nodes, tmp_path_factory.mktemp("controller"), worker_id) as cluster:
        yield cluster
