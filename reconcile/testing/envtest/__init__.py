"""A real control plane for tests: the API server, etcd, and on request the controller manager and the scheduler."""

from __future__ import annotations

from reconcile.testing.envtest.binaries import find_binaries, provide_binaries
from reconcile.testing.envtest.config import AUDIT_EVERYTHING, ControlPlaneConfig
from reconcile.testing.envtest.control_plane import ControlPlane
from reconcile.testing.envtest.errors import BinariesUnavailableError, ControlPlaneError, EnvtestError
from reconcile.testing.envtest.process import end_supervision
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
    "end_supervision",
    "find_binaries",
    "provide_binaries",
]
