"""A control plane for tests: etcd, kube-apiserver, and on request kube-controller-manager and kube-scheduler.

    async with ControlPlane(ControlPlaneConfig(controllers="*,-job-controller")) as control_plane:
        kubeconfig = control_plane.kubeconfig(user="alice", groups=["developers"])

Guarantees:
    * When ``start`` returns, the API server that answers at ``url`` is this one (its certificate is signed by an
      authority made for it) and is ready; with the ServiceAccount controller, Pods can be created.
    * When the holder stops, ends, or dies by any signal, the programs are stopped and the temporary directory is
      removed, by a supervisor of its own (``supervisor.py``). Several processes can hold one control plane (``join``).
    * Every user goes through authentication, RBAC and admission as in production.
Assumptions: Linux; about 300 MB of memory, 500 MB with the controller manager and the scheduler.
Caveats: data is not synced to disk, and there is no node: Pods stay Pending unless a test adds nodes or plays one.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from anyio import CancelScope, to_thread

from reconcile.errors import ApiError
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.testing.envtest import arguments
from reconcile.testing.envtest.binaries import provide_binaries
from reconcile.testing.envtest.credentials import ADMINISTRATOR, ADMINISTRATORS, Credentials, write_private
from reconcile.testing.envtest.errors import ControlPlaneError
from reconcile.testing.envtest.file_lock import exclusive_lock
from reconcile.testing.envtest.process import Supervision, is_supervised
from reconcile.testing.envtest.rest import Rest

__all__ = ["AUDIT_EVERYTHING", "ControlPlane", "ControlPlaneConfig"]

START_SECONDS_MAX = 60.0
"""Until the API server is ready: 3 s on an idle machine of two cores, more when many test runs share it."""
_POLL_SECONDS = 0.05
_LOG_LINES_SHOWN = 15
_PORT_ATTEMPTS_MAX = 5
"""A port found free can be taken before the API server binds it; five times in a row is something else."""
_STATE_NAME = "control-plane.json"

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
    requests_per_second: int = 10_000
    directory: Path | None = None


class ControlPlane:
    """One control plane; start it, or join one that another process started."""

    def __init__(self, config: ControlPlaneConfig | None = None) -> None:
        self.config = config or ControlPlaneConfig()
        self._supervision: Supervision | None = None
        self._directory: Path | None = None
        self._credentials: Credentials | None = None
        self._binaries: Mapping[str, Path] = {}
        self._rest: Rest | None = None
        self._admin_kubeconfig: Path | None = None

    def __repr__(self) -> str:
        where = f"{self.url} in {self.directory}" if self._rest else "not started"
        return f"<ControlPlane {where}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything that the configuration asks for, and wait until it is ready.

        Raises:
            BinariesUnavailableError: the programs cannot be had.
            ControlPlaneError: one of them does not start.
        """
        if self._supervision is not None:
            raise ControlPlaneError(f"start of a control plane: this one is started already: {self!r}")
        directory = self.config.directory
        if directory is None:
            await self._start_in(Path(tempfile.mkdtemp(prefix="reconcile-envtest-")), keep=False)
        else:
            await self._start_in(directory.absolute(), keep=True)

    async def _start_in(self, directory: Path, *, keep: bool) -> None:
        self._directory = directory
        try:
            self._binaries = await provide_binaries(self._program_names(), self.config.release)
            self._prepare(directory, keep=keep)
            await self._start_etcd()
            await self._start_apiserver()
            if self.config.controllers is not None:
                await self.add_controller_manager(self.config.controllers)
            if self.config.scheduler:
                await self._start_scheduler()
            if self.has_service_accounts:
                await self._wait("the first ServiceAccount", lambda: self.has_default_service_account("default"))
            self._write_state()
        except BaseException:
            with CancelScope(shield=True):
                await self.stop()
            if not keep:
                shutil.rmtree(directory, ignore_errors=True)
            raise

    async def stop(self) -> None:
        """Let go of the control plane; if nobody else holds it, it ends, and what was temporary is removed."""
        if self._supervision is not None:
            supervision, self._supervision = self._supervision, None
            with CancelScope(shield=True):
                await to_thread.run_sync(supervision.leave)

    @classmethod
    async def share(cls, config: ControlPlaneConfig, directory: Path) -> ControlPlane:
        """Join the control plane that lives in ``directory``, or start one there.

        For processes that agree on ``directory`` (an absolute path) and on ``config`` (whose own directory does not
        count). When the last of them lets go, ``directory`` is removed.
        """
        lock_file = directory.with_name(f"{directory.name}.lock")
        async with exclusive_lock(lock_file, f"another process starts the control plane in {directory}"):
            control_plane = await to_thread.run_sync(cls.join, directory)
            if control_plane is None:
                control_plane = cls(attrs.evolve(config, directory=None))
                await control_plane._start_in(directory, keep=False)
            return control_plane

    @classmethod
    def join(cls, directory: Path) -> ControlPlane | None:
        """Hold the control plane that lives in ``directory``; None if there is none, or it is about to end."""
        supervision = Supervision.join(directory)
        if supervision is None:
            return None
        control_plane = cls._known(directory, supervision)
        if control_plane is None:
            supervision.leave()
        return control_plane

    @classmethod
    def look(cls, directory: Path) -> ControlPlane | None:
        """The control plane in ``directory`` without holding it; None if none runs there."""
        return cls._known(directory, None) if is_supervised(directory) else None

    @classmethod
    def _known(cls, directory: Path, supervision: Supervision | None) -> ControlPlane | None:
        try:
            state = json.loads((directory / _STATE_NAME).read_text())
            credentials = Credentials.load(directory)
        except FileNotFoundError:  # it is just starting, or has just ended
            return None
        control_plane = cls(ControlPlaneConfig(**state["config"], directory=directory))
        control_plane._supervision = supervision
        control_plane._directory = directory
        control_plane._credentials = credentials
        control_plane._binaries = {name: Path(path) for name, path in state["binaries"].items()}
        control_plane._rest = _rest(state["port"], credentials)
        control_plane._admin_kubeconfig = Path(state["admin_kubeconfig"])
        return control_plane

    def detach(self) -> None:
        """Leave the control plane running without a holder. ``process.end_supervision(directory)`` ends it."""
        supervision, self._supervision = self._held(), None
        supervision.detach()

    # What a test asks for.

    @property
    def directory(self) -> Path:
        """Data, credentials and ``NAME.log`` of each program."""
        if self._directory is None:
            raise ControlPlaneError("this control plane is not started: use `async with`, or `await start()`")
        return self._directory

    @property
    def url(self) -> str:
        """The API server's."""
        return f"https://{self.rest.host}:{self.rest.port}"

    @property
    def ca_file(self) -> Path:
        """The root certificate to trust."""
        return self._known_credentials.ca_file

    @property
    def admin_token(self) -> str:
        """A bearer token of group ``system:masters``."""
        return self._known_credentials.admin_token

    @property
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig of group ``system:masters``."""
        if self._admin_kubeconfig is None:
            self._admin_kubeconfig = self.kubeconfig(user=ADMINISTRATOR, groups=[ADMINISTRATORS])
        return self._admin_kubeconfig

    @property
    def audit_log(self) -> Path:
        """One JSON event a line, if the configuration has an audit policy."""
        return self.directory / "audit.log"

    @property
    def rest(self) -> Rest:
        """Plain blocking requests as the administrator."""
        if self._rest is None:
            raise ControlPlaneError("this control plane is not started: use `async with`, or `await start()`")
        return self._rest

    @property
    def has_service_accounts(self) -> bool:
        """Whether each namespace gets its ``default`` ServiceAccount, and Pods need it."""
        return arguments.runs_service_account_controller(self.config.controllers)

    def kubeconfig(self, *, user: str, groups: Sequence[str] = (), namespace: str = "default") -> Path:
        """A kubeconfig for any user, readable by us alone; what the user may do is for RBAC to say.

        A ServiceAccount's user is ``system:serviceaccount:NAMESPACE:NAME``, of the groups ``system:serviceaccounts``
        and ``system:serviceaccounts:NAMESPACE``. Everybody is of ``system:authenticated`` without being asked.
        """
        return self._known_credentials.kubeconfig(self.url, SYSTEM_CLOCK.wall(), user, groups, namespace)

    async def binary(self, name: str) -> Path:
        """A program of the same release, such as ``kubectl`` or ``kubelet``; built if it is not at hand.

        Raises:
            BinariesUnavailableError: it cannot be had.
        """
        if name not in self._binaries:
            self._binaries = {**self._binaries, **await provide_binaries([name], self.config.release)}
        return self._binaries[name]

    def check(self) -> None:
        """Do nothing while every program runs.

        Raises:
            ControlPlaneError: one has ended; the text shows the end of its log.
        """
        for name, state in self._held().status().items():
            if state.exit_code is not None:
                raise ControlPlaneError(self._end_of(name, state.exit_code))

    async def add_controller_manager(self, controllers: str) -> None:
        """Start kube-controller-manager with these ``controllers`` (its ``--controllers``), on a running cluster.

        Caveat: whether Pods need a ServiceAccount was decided when the API server started.
        """
        binary = await self.binary("kube-controller-manager")
        kubeconfig = self.kubeconfig(user="system:kube-controller-manager")
        argv = arguments.controller_manager_arguments(
            self._known_credentials, kubeconfig, controllers, self.config.requests_per_second
        )
        self._held().start("kube-controller-manager", [str(binary), *argv])

    async def stop_controller_manager(self) -> None:
        """Stop kube-controller-manager and wait until it has ended."""
        await to_thread.run_sync(self._held().stop, ["kube-controller-manager"])

    async def create_namespace(self, name: str) -> None:
        """Create a namespace and wait until Pods can be created in it."""
        body = {"metadata": {"name": name}}
        await to_thread.run_sync(self.rest.request, "POST", "/api/v1/namespaces", body)
        if self.has_service_accounts:
            await self._wait(f"the ServiceAccount of namespace {name}", lambda: self.has_default_service_account(name))

    def has_default_service_account(self, namespace: str) -> bool:
        """Whether Pods can be created in ``namespace`` as far as the ServiceAccount admission is concerned."""
        try:
            self.rest.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except ApiError:
            return False
        return True

    # How it starts.

    def _prepare(self, directory: Path, *, keep: bool) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._supervision = Supervision.begin(directory, keep=keep)
        has_credentials = (directory / "ca.crt").exists()
        now = SYSTEM_CLOCK.wall()
        self._credentials = Credentials.load(directory) if has_credentials else Credentials.create(directory, now)

    def _program_names(self) -> list[str]:
        names = ["etcd", "kube-apiserver"]
        if self.config.controllers is not None:
            names.append("kube-controller-manager")
        if self.config.scheduler:
            names.append("kube-scheduler")
        return names

    @property
    def _known_credentials(self) -> Credentials:
        if self._credentials is None:
            raise ControlPlaneError("this control plane is not started: use `async with`, or `await start()`")
        return self._credentials

    def _held(self) -> Supervision:
        if self._supervision is None:
            raise ControlPlaneError(
                "this process does not hold the control plane: it is stopped, or was only looked at"
            )
        return self._supervision

    async def _start_etcd(self) -> None:
        binary = await self.binary("etcd")
        self._held().start("etcd", [str(binary), *arguments.etcd_arguments()], last=True)
        await self._wait("etcd to listen", (self.directory / arguments.ETCD_SOCKET).exists)

    async def _start_apiserver(self) -> None:
        binary = await self.binary("kube-apiserver")
        policy_file: Path | None = None
        if self.config.audit_policy is not None:
            policy_file = self.directory / "audit-policy.json"
            write_private(policy_file, json.dumps(self.config.audit_policy))
        for _ in range(_PORT_ATTEMPTS_MAX):
            port = _free_port()
            argv = arguments.kube_apiserver_arguments(
                self._known_credentials,
                port,
                service_accounts=self.has_service_accounts,
                audit_policy_file=policy_file,
                audit_log=self.audit_log,
            )
            self._rest = _rest(port, self._known_credentials)
            self._held().start("kube-apiserver", [str(binary), *argv, *self.config.apiserver_arguments])
            try:
                await self._wait("the API server to be ready", self._is_ready)
            except ControlPlaneError as error:
                if "address already in use" not in str(error):
                    raise
            else:
                return
        raise ControlPlaneError(f"kube-apiserver: {_PORT_ATTEMPTS_MAX} free ports in turn were taken by others")

    async def _start_scheduler(self) -> None:
        binary = await self.binary("kube-scheduler")
        kubeconfig = self.kubeconfig(user="system:kube-scheduler")
        argv = arguments.scheduler_arguments(kubeconfig, self.config.requests_per_second)
        self._held().start("kube-scheduler", [str(binary), *argv])

    def _is_ready(self) -> bool:
        try:
            self.rest.request("GET", "/readyz")
        except (ApiError, OSError):  # not listening yet, not ready, or not ours: a certificate of somebody else
            return False
        return True

    async def _wait(self, what: str, is_true: Callable[[], bool]) -> None:
        """Ask ``is_true`` until it is, the time is up, or a program ends."""
        deadline = SYSTEM_CLOCK.monotonic() + START_SECONDS_MAX
        while True:
            self.check()
            if await to_thread.run_sync(is_true):
                return
            if SYSTEM_CLOCK.monotonic() > deadline:
                logs = "\n".join(self._tail(name) for name in self._held().status())
                raise ControlPlaneError(f"{what}: not so after {START_SECONDS_MAX:.0f} s\n{logs}")
            await SYSTEM_CLOCK.sleep(_POLL_SECONDS)

    def _end_of(self, name: str, exit_code: int) -> str:
        return f"{name} has ended with exit code {exit_code}\n{self._tail(name)}"

    def _tail(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return "\n".join([f"the end of {path}:", *(f"    {line}" for line in lines)])

    def _write_state(self) -> None:
        """For ``join`` and ``look``: written when everything is ready."""
        config = attrs.asdict(self.config, filter=attrs.filters.exclude("directory"))
        state = {
            "port": self.rest.port,
            "config": config,
            "binaries": {name: str(path) for name, path in self._binaries.items()},
            "admin_kubeconfig": str(self.admin_kubeconfig),
        }
        write_private(self.directory / _STATE_NAME, json.dumps(state))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _rest(port: int, credentials: Credentials) -> Rest:
    tls = ssl.create_default_context(cafile=str(credentials.ca_file))
    return Rest("127.0.0.1", port, tls, credentials.admin_token)
