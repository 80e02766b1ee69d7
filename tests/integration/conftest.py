"""What tests on the real API server share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from job_cluster import Jobs, running

from reconcile.testing.envtest import ControlPlane


@pytest.fixture
def jobs(control_plane: ControlPlane, namespace: str) -> Callable[[], AbstractAsyncContextManager[Jobs]]:
    """``async with jobs() as j``: the Job controller runs on the test's namespace."""
    return functools.partial(running, control_plane, namespace)
