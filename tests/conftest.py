"""What the tests of this project ask of the shared control plane, and of the process that runs them."""

from __future__ import annotations

import signal

import pytest

from reconcile.testing.envtest import ControlPlaneConfig

AUDIT_WRITES = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": ["system:apiserver"]},
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}
"""Who wrote what, with which answer: tests of leader election and of rights read it."""


@pytest.fixture(scope="session")
def control_plane_config(pytestconfig: pytest.Config) -> ControlPlaneConfig:
    """API server and etcd, with an audit log of writes."""
    return ControlPlaneConfig(release=pytestconfig.getoption("envtest_release"), audit_policy=AUDIT_WRITES)


def pytest_configure() -> None:
    """Let Ctrl-C through in a run that began in the background.

    A shell without job control, and some CI runners, start such a run with SIGINT ignored; the processes that the tests
    start would inherit that, and never hear the SIGINT that a test sends them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
