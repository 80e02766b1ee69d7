"""The programs of one control plane: started, waited for, watched."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from anyio import to_thread

from reconcile.errors import ApiError
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.testing.envtest import arguments
from reconcile.testing.envtest.config import ControlPlaneConfig
from reconcile.testing.envtest.credentials import Credentials, write_private
from reconcile.testing.envtest.errors import ControlPlaneError
from reconcile.testing.envtest.process import Supervision
from reconcile.testing.envtest.rest import Rest

__all__ = ["Programs"]

START_SECONDS_MAX = 60.0
"""For one program to be ready: the API server needs 2 s on an idle machine of two cores, more on a shared one."""
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 15
_PORT_ATTEMPTS_MAX = 5
"""A port found free can be taken before the program binds it; five times in a row is something else."""


@attrs.frozen
class Programs:
    """What runs in ``directory`` under ``supervision``, as ``config`` asks."""

    config: ControlPlaneConfig
    directory: Path
    supervision: Supervision

    async def start_etcd(self, binary: Path) -> None:
        """Start etcd and wait until it listens."""
        argv = [str(binary), *arguments.etcd_arguments()]
        await to_thread.run_sync(functools.partial(self.supervision.start, "etcd", argv, last=True))
        await self.wait("etcd to listen", (self.directory / arguments.ETCD_SOCKET).exists)

    async def start_apiserver(self, binary: Path, credentials: Credentials) -> Rest:
        """Start kube-apiserver and wait until it is ready."""
        policy_file: Path | None = None
        if self.config.audit_policy is not None:
            policy_file = self.directory / "audit-policy.json"
            write_private(policy_file, json.dumps(self.config.audit_policy))

        def command(port: int) -> Sequence[str]:
            argv = arguments.kube_apiserver_arguments(
                credentials,
                port,
                service_accounts=arguments.runs_service_account_controller(self.config.controllers),
                audit_policy_file=policy_file,
                audit_log=self.directory / "audit.log",
            )
            return [str(binary), *argv, *self.config.apiserver_arguments]

        port = await self._start_on_free_port("kube-apiserver", "/readyz", credentials, command)
        return Rest.to(port, credentials)

    async def start_controller_manager(
        self, binary: Path, credentials: Credentials, kubeconfig: Path, controllers: str
    ) -> None:
        """Start kube-controller-manager and wait until it is healthy."""

        def command(port: int) -> Sequence[str]:
            return [
                str(binary),
                *arguments.controller_manager_arguments(
                    credentials, port, kubeconfig, controllers, self.config.requests_per_second
                ),
                *self.config.controller_manager_arguments,
            ]

        await self._start_on_free_port("kube-controller-manager", "/healthz", credentials, command)

    async def start_scheduler(self, binary: Path, credentials: Credentials, kubeconfig: Path) -> None:
        """Start kube-scheduler and wait until it is healthy."""

        def command(port: int) -> Sequence[str]:
            argv = arguments.scheduler_arguments(credentials, port, kubeconfig, self.config.requests_per_second)
            return [str(binary), *argv]

        await self._start_on_free_port("kube-scheduler", "/healthz", credentials, command)

    async def stop(self, names: Sequence[str]) -> None:
        """Stop programs and wait until they have ended."""
        await to_thread.run_sync(self.supervision.stop, names)

    async def stop_all(self) -> None:
        """Stop every program and wait until they have ended."""
        await to_thread.run_sync(lambda: self.supervision.stop(list(self.supervision.status())))

    def check(self) -> None:
        """Do nothing while every program runs.

        Raises:
            ControlPlaneError: one has ended without being asked to.
        """
        for name, state in self.supervision.status().items():
            if state.exit_code is not None:
                raise ControlPlaneError(f"{name} has ended with exit code {state.exit_code}\n{self._log_end(name)}")

    async def wait(self, what: str, is_true: Callable[[], bool]) -> None:
        """Ask ``is_true`` until it is.

        Raises:
            ControlPlaneError: the time is up, or a program has ended.
        """

        def ask() -> bool:
            self.check()
            return is_true()

        deadline = SYSTEM_CLOCK.monotonic() + START_SECONDS_MAX
        while not await to_thread.run_sync(ask):
            if SYSTEM_CLOCK.monotonic() > deadline:
                logs = "\n".join(self._log_end(name) for name in self.supervision.status())
                raise ControlPlaneError(f"waited {START_SECONDS_MAX:.0f} s in vain for {what}\n{logs}")
            await SYSTEM_CLOCK.sleep(_POLL_SECONDS)

    async def _start_on_free_port(
        self, name: str, path: str, credentials: Credentials, command: Callable[[int], Sequence[str]]
    ) -> int:
        """Start a program that serves HTTPS, wait until it says at ``path`` that it is well, and return its port.

        All of them serve with the certificate that was made for this control plane: whoever else may have taken the
        port is not mistaken for ours.
        """
        for _ in range(_PORT_ATTEMPTS_MAX):
            port = _free_port()
            rest = Rest.to(port, credentials) if name == "kube-apiserver" else Rest.anonymous(port, credentials)
            await to_thread.run_sync(self.supervision.start, name, command(port))
            try:
                await self.wait(f"{name} to be ready", _Probe(rest, path))
            except ControlPlaneError as error:
                await self.stop([name])  # it is not meant to run any more
                if "address already in use" not in str(error):
                    raise
            else:
                return port
        raise ControlPlaneError(f"{name}: {_PORT_ATTEMPTS_MAX} free ports in turn were taken by others")

    def _log_end(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return "\n".join([f"the end of {path}:", *(f"    {line}" for line in lines)])


@attrs.frozen
class _Probe:
    rest: Rest
    path: str

    def __call__(self) -> bool:
        try:
            self.rest.request("GET", self.path)
        except (ApiError, OSError):  # not listening yet, not well, or somebody else (a certificate we do not trust)
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
