"""What envtest raises."""

from __future__ import annotations

from reconcile.errors import ReconcileError


class EnvtestError(ReconcileError):
    """A control plane for tests cannot be had: the text says which step failed, why, and the way out."""


class BinariesUnavailableError(EnvtestError):
    """The control plane's binaries are neither at hand nor buildable here."""


class ControlPlaneError(EnvtestError):
    """A control plane does not start, or one of its processes has ended; the text carries the end of its log."""
