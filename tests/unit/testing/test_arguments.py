"""What the command lines of the control plane's programs depend on."""

from __future__ import annotations

import pytest

from reconcile.testing.envtest.arguments import runs_service_account_controller


@pytest.mark.parametrize(
    ("controllers", "runs"),
    [
        (None, False),
        ("*", True),
        ("*,-job-controller", True),
        ("*,-serviceaccount-controller", False),
        ("* , -serviceaccount", False),
        ("-*", False),
        ("job-controller", False),
        ("job-controller,serviceaccount-controller", True),
        ("serviceaccount", True),
        ("-serviceaccount-controller,serviceaccount-token-controller", False),
    ],
)
def test_pods_need_an_account_where_accounts_are_made(controllers: str | None, runs: bool) -> None:
    """kube-controller-manager's rule: a name beats `*`; without the ServiceAccount controller Pods need no account."""
    assert runs_service_account_controller(controllers) is runs
