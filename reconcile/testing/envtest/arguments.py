"""The command lines of a control plane's programs: what is asked of each, and why."""

from __future__ import annotations

from pathlib import Path

from reconcile.testing.envtest.credentials import Credentials

__all__ = [
    "controller_manager_arguments",
    "etcd_arguments",
    "kube_apiserver_arguments",
    "runs_service_account_controller",
    "scheduler_arguments",
]

# Sockets in the data directory, where the programs run: two control planes cannot meet on a port, and no other user
# of the machine can read the store. etcd and the API server's client both want the form host:port; the name is free.
ETCD_SOCKET = "localhost:2379"
_ETCD_PEER_SOCKET = "localhost:2380"

SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc"


def etcd_arguments() -> list[str]:
    """One member, without fsync: a test's data need not outlive the machine."""
    return [
        "--name=envtest",
        "--data-dir=etcd",
        f"--listen-client-urls=unix://{ETCD_SOCKET}",
        f"--advertise-client-urls=unix://{ETCD_SOCKET}",
        f"--listen-peer-urls=unix://{_ETCD_PEER_SOCKET}",
        f"--initial-advertise-peer-urls=unix://{_ETCD_PEER_SOCKET}",
        f"--initial-cluster=envtest=unix://{_ETCD_PEER_SOCKET}",
        "--unsafe-no-fsync",
        # The API server's bookmarks on quiet resources follow etcd's progress, by default every ten minutes.
        "--watch-progress-notify-interval=5s",
        "--log-level=warn",
    ]


def kube_apiserver_arguments(
    credentials: Credentials, port: int, *, service_accounts: bool, audit_policy_file: Path | None, audit_log: Path
) -> list[str]:
    """RBAC and TLS as in production, on loopback.

    Args:
        credentials: the files of this control plane.
        port: to listen on.
        service_accounts: whether a controller makes the ``default`` ServiceAccount of each namespace. Without one,
            the admission plugin would refuse every Pod.
        audit_policy_file: what to record in ``audit_log``; None records nothing.
        audit_log: where to.
    """
    arguments = [
        f"--etcd-servers=unix://{ETCD_SOCKET}",
        *_serving_arguments(credentials, port),
        "--advertise-address=127.0.0.1",
        f"--client-ca-file={credentials.ca_file}",
        f"--token-auth-file={credentials.token_file}",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={credentials.service_account_key_file}",
        f"--service-account-signing-key-file={credentials.service_account_key_file}",
        "--authorization-mode=Node,RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        # Nobody reaches the API server through the service `kubernetes`; its endpoints would only be one more writer.
        "--endpoint-reconciler-type=none",
        # For logs and exec on real nodes of this machine: their names resolve nowhere.
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        "--profiling=false",
    ]
    if not service_accounts:
        arguments.append("--disable-admission-plugins=ServiceAccount")
    if audit_policy_file is not None:
        # The default mode, blocking: an event is in the file before the request's next stage.
        arguments += [f"--audit-policy-file={audit_policy_file}", f"--audit-log-path={audit_log}"]
    return arguments


def controller_manager_arguments(
    credentials: Credentials, port: int, kubeconfig: Path, controllers: str, requests_per_second: int
) -> list[str]:
    """kube-controller-manager with ``controllers`` (its ``--controllers``), each as its own ServiceAccount."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--controllers={controllers}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={credentials.service_account_key_file}",
        f"--root-ca-file={credentials.ca_file}",
        *_serving_arguments(credentials, port),
        f"--kube-api-qps={requests_per_second}",
        f"--kube-api-burst={requests_per_second}",
    ]


def scheduler_arguments(credentials: Credentials, port: int, kubeconfig: Path, requests_per_second: int) -> list[str]:
    """kube-scheduler with its default profile."""
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        *_serving_arguments(credentials, port),
        f"--kube-api-qps={requests_per_second}",
        f"--kube-api-burst={requests_per_second}",
    ]


def _serving_arguments(credentials: Credentials, port: int) -> list[str]:
    """HTTPS on loopback, as this control plane; ``/healthz`` is open to everybody by default."""
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={credentials.serving_certificate_file}",
        f"--tls-private-key-file={credentials.serving_key_file}",
    ]


def runs_service_account_controller(controllers: str | None) -> bool:
    """Whether kube-controller-manager makes the ``default`` ServiceAccounts, given its ``--controllers``.

    As it reads them: a name enables, ``-name`` disables, ``*`` enables what is on by default; names win over ``*``.
    """
    if controllers is None:
        return False
    items = {item.strip() for item in controllers.split(",")}
    for name in ("serviceaccount-controller", "serviceaccount"):  # the name, and its alias from before 1.28
        if name in items:
            return True
        if f"-{name}" in items:
            return False
    return "*" in items
