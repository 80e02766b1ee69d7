"""A real control plane for tests: the API server, etcd, and on request the controller manager and the scheduler."""

from __future__ import annotations

from reconcile.testing.envtest.binaries import find_binaries, provide_binaries
from reconcile.testing.envtest.control_plane import AUDIT_EVERYTHING, ControlPlane, ControlPlaneConfig
from reconcile.testing.envtest.errors import BinariesUnavailableError, ControlPlaneError, EnvtestError
from reconcile.testing.envtest.release import DEFAULT_RELEASE
from reconcile.testing.envtest.rest import Rest

__all__ = [
    "AUDIT_EVERYTHING",
    "DEFAULT_RELEASE",
    "BinariesUnavailableError",
    "ControlPlane",
    "ControlPlaneConfig",
    "ControlPlaneError",
    "EnvtestError",
    "Rest",
    "find_binaries",
    "provide_binaries",
]
