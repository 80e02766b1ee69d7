"""What a control plane for tests is asked to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["AUDIT_EVERYTHING", "ControlPlaneConfig"]

AUDIT_EVERYTHING: Mapping[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
"""An audit policy: who did what to which object and with which answer, for every request, without the objects."""


@attrs.frozen(kw_only=True)
class ControlPlaneConfig:
    """What to start.

    Attributes:
        release: a Kubernetes release such as ``1.37.2``; None takes what KUBEBUILDER_ASSETS has, else the default.
        controllers: kube-controller-manager's ``--controllers``, such as ``*`` or ``*,-job-controller``; None: it is
            not started. Then there are no ServiceAccounts, and no garbage collection.
        scheduler: whether kube-scheduler is started.
        audit_policy: what the API server writes to ``ControlPlane.audit_log``; None: nothing.
        apiserver_arguments: further flags of kube-apiserver, such as ``--feature-gates=…``.
        controller_manager_arguments: further flags of kube-controller-manager, such as
            ``--node-monitor-grace-period=15s``.
        requests_per_second: the client-side limit of kube-controller-manager and kube-scheduler. Their own (20 and
            50) are made for shared clusters and would decide how long a test takes.
        directory: for data and logs, kept afterwards; a second start there finds its objects again. None: a
            temporary one, removed at the end.
    """

    release: str | None = None
    controllers: str | None = None
    scheduler: bool = False
    audit_policy: Mapping[str, Any] | None = None
    apiserver_arguments: Sequence[str] = ()
    controller_manager_arguments: Sequence[str] = ()
    requests_per_second: int = 10_000
    directory: Path | None = None
