"""Fixtures of more than one module here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from job_node import JobCluster, job_cluster
from node_cluster import shared_control_plane

from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

NODE_GRACE_SECONDS = 15
"""After so long without a sign of life a node counts as dead. A kubelet gives one every 10 s."""

JOBS_ON_NODES = ControlPlaneConfig(
    controllers="*,-job-controller",
    controller_manager_arguments=(
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        "--node-monitor-period=1s",
    ),
    scheduler=True,
    audit_policy={
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "users": ["system:apiserver", "system:kube-scheduler", "admin"]},
            {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts"]},
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None"},
        ],
    },
)
"""What the Job controller writes is audited, and little else."""


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
