"""A control plane for tests: etcd, kube-apiserver, and on request kube-controller-manager and kube-scheduler.

::

    async with ControlPlane(ControlPlaneConfig(controllers="*,-job-controller")) as control_plane:
        kubeconfig = control_plane.kubeconfig(user="alice", groups=["developers"])

Guarantees:
    * When ``start`` returns, the API server that answers at ``url`` is this one (its certificate is signed by an
      authority made for it) and is ready; with the ServiceAccount controller, Pods can be created.
    * When the holder stops, ends, or dies by any signal, the programs are stopped and the temporary directory is
      removed, by a supervisor of its own (``supervisor.py``). Several processes can hold one control plane (``share``).
    * Every user goes through authentication, RBAC and admission as in production.
Assumptions: Linux; about 320 MB of memory, 500 MB with the controller manager and the scheduler.
Caveats: data is not synced to disk, and there is no node: Pods stay Pending unless a test adds nodes or plays one.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import attrs
from anyio import CancelScope, to_thread

from reconcile.errors import ApiError, ConfigurationError
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.testing.envtest.arguments import runs_service_account_controller
from reconcile.testing.envtest.binaries import provide_binaries
from reconcile.testing.envtest.config import ControlPlaneConfig
from reconcile.testing.envtest.credentials import ADMINISTRATOR, ADMINISTRATORS, Credentials, write_private
from reconcile.testing.envtest.errors import ControlPlaneError
from reconcile.testing.envtest.file_lock import exclusive_lock
from reconcile.testing.envtest.process import Supervision, is_supervised
from reconcile.testing.envtest.programs import Programs
from reconcile.testing.envtest.rest import Rest

__all__ = ["ControlPlane"]

_STATE_NAME = "control-plane.json"


_Value = TypeVar("_Value")


def _started(value: _Value | None) -> _Value:
    if value is None:
        raise ControlPlaneError("this control plane is not started: use `async with`, or `await start()`")
    return value


class ControlPlane:
    """One control plane: start it, or hold one together with other processes."""

    def __init__(self, config: ControlPlaneConfig | None = None) -> None:
        self.config = config or ControlPlaneConfig()
        self._directory: Path | None = None
        self._credentials: Credentials | None = None
        self._binaries: Mapping[str, Path] = {}
        self._programs: Programs | None = None
        self._rest: Rest | None = None
        self._admin_kubeconfig: Path | None = None
        self._release: str | None = None

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
            ConfigurationError: the directory cannot be made.
            ControlPlaneError: one of them does not start, or a control plane lives in the directory already.
        """
        if self._programs is not None:
            raise ControlPlaneError(f"start of a control plane: this one is started already: {self!r}")
        await self._provide()
        directory = self.config.directory
        is_kept = directory is not None
        try:
            directory = (
                Path(tempfile.mkdtemp(prefix="reconcile-envtest-")) if directory is None else directory.absolute()
            )
            await to_thread.run_sync(functools.partial(self._begin, directory, keep=is_kept))
            await self._start_programs()
        except BaseException:
            await self.stop()
            if directory is not None and not is_kept:
                shutil.rmtree(directory, ignore_errors=True)
            raise

    async def stop(self) -> None:
        """Let go of the control plane; if nobody else holds it, it ends, and what was temporary is removed."""
        if self._programs is not None:
            programs, self._programs = self._programs, None
            with CancelScope(shield=True):
                await to_thread.run_sync(programs.supervision.leave)

    @classmethod
    async def share(cls, config: ControlPlaneConfig, directory: Path) -> ControlPlane:
        """Hold the control plane in ``directory`` together with other processes; the first one starts it.

        They must agree on ``directory`` and on ``config``, whose own directory does not count. When the last of them
        lets go, ``directory`` is removed.

        Raises:
            BinariesUnavailableError: the programs cannot be had.
            ControlPlaneError: one of them does not start.
        """
        control_plane = cls(attrs.evolve(config, directory=None))
        await control_plane._provide()
        try:
            # Two locks: everybody holds the supervisor first and waits for the slow start then. Otherwise whoever
            # is served first could be done, and end the control plane, before the others have got hold of it.
            lock_file = directory.with_name(f"{directory.name}.lock")
            async with exclusive_lock(lock_file, f"another process begins a control plane in {directory}"):
                await to_thread.run_sync(control_plane._join_or_begin, directory)
            async with exclusive_lock(directory / "start.lock", f"another process starts the one in {directory}"):
                if not control_plane._recall():
                    await control_plane._start_programs()
        except BaseException:
            await control_plane.stop()
            raise
        return control_plane

    @classmethod
    def look(cls, directory: Path) -> ControlPlane | None:
        """The control plane that runs in ``directory``, without holding it; None if there is none."""
        control_plane = cls(ControlPlaneConfig(directory=directory))
        control_plane._directory = directory
        return control_plane if is_supervised(directory) and control_plane._recall() else None

    def detach(self) -> None:
        """Let the control plane run on without a holder; ``end_supervision`` of its directory ends it."""
        programs, self._programs = self._held(), None
        programs.supervision.detach()

    # What a test asks for.

    @property
    def directory(self) -> Path:
        """Data, credentials, and ``NAME.log`` of each program."""
        return _started(self._directory)

    @property
    def release(self) -> str:
        """What the API server says it is, such as ``1.37.2``."""
        return _started(self._release)

    @property
    def url(self) -> str:
        """The API server's."""
        return f"https://{self.rest.host}:{self.rest.port}"

    @property
    def ca_file(self) -> Path:
        """The root certificate to trust."""
        return _started(self._credentials).ca_file

    @property
    def admin_token(self) -> str:
        """A bearer token of group ``system:masters``."""
        return _started(self._credentials).admin_token

    @property
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig of group ``system:masters``."""
        return _started(self._admin_kubeconfig)

    @property
    def audit_log(self) -> Path:
        """One JSON event a line, if the configuration has an audit policy."""
        return self.directory / "audit.log"

    @property
    def assets(self) -> Path:
        """The directory of the programs that run, as KUBEBUILDER_ASSETS wants it."""
        return self._binaries["kube-apiserver"].parent

    @property
    def rest(self) -> Rest:
        """Plain blocking requests as the administrator."""
        return _started(self._rest)

    @property
    def has_service_accounts(self) -> bool:
        """Whether each namespace gets its ``default`` ServiceAccount, and Pods need it."""
        return runs_service_account_controller(self.config.controllers)

    def kubeconfig(self, *, user: str, groups: Sequence[str] = (), namespace: str = "default") -> Path:
        """A kubeconfig for any user, readable by us alone; what the user may do is for RBAC to say.

        A ServiceAccount's user is ``system:serviceaccount:NAMESPACE:NAME``, of the groups ``system:serviceaccounts``
        and ``system:serviceaccounts:NAMESPACE``. Everybody is of ``system:authenticated`` without being asked.
        """
        return _started(self._credentials).kubeconfig(self.url, SYSTEM_CLOCK.wall(), user, groups, namespace)

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
            ControlPlaneError: one has ended by itself; the text shows the end of its log.
        """
        self._held().check()

    async def create_namespace(self, name: str) -> None:
        """Create a namespace and wait until Pods can be created in it.

        Raises:
            ApiError: the API server refuses.
        """
        await to_thread.run_sync(self.rest.request, "POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        if self.has_service_accounts:
            await self._wait_for_service_account(name)

    async def add_controller_manager(self, controllers: str) -> None:
        """Start kube-controller-manager with ``controllers`` (its ``--controllers``), and wait until it is healthy.

        Caveat: whether Pods need a ServiceAccount was decided when the API server started.

        Raises:
            ControlPlaneError: it runs already, or does not start.
        """
        binary = await self.binary("kube-controller-manager")
        kubeconfig = self.kubeconfig(user="system:kube-controller-manager")
        credentials = _started(self._credentials)
        await self._held().start_controller_manager(binary, credentials, kubeconfig, controllers)

    async def stop_controller_manager(self) -> None:
        """Stop kube-controller-manager and wait until it has ended."""
        await self._held().stop(["kube-controller-manager"])

    # How it comes about.

    def _held(self) -> Programs:
        if self._programs is None:
            raise ControlPlaneError("this process does not hold the control plane: it is not started, or stopped")
        return self._programs

    async def _provide(self) -> None:
        names = ["etcd", "kube-apiserver"]
        if self.config.controllers is not None:
            names.append("kube-controller-manager")
        if self.config.scheduler:
            names.append("kube-scheduler")
        self._binaries = await provide_binaries(names, self.config.release)

    def _begin(self, directory: Path, *, keep: bool) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"a control plane cannot run in {directory}: {error.strerror}") from error
        self._directory = directory
        self._hold(Supervision.begin(directory, keep=keep))
        (directory / _STATE_NAME).unlink(missing_ok=True)  # an earlier one's, of another port

    def _join_or_begin(self, directory: Path) -> None:
        supervision = Supervision.join(directory)
        if supervision is None:
            self._begin(directory, keep=False)
        else:
            self._directory = directory
            self._hold(supervision)

    def _hold(self, supervision: Supervision) -> None:
        self._programs = Programs(self.config, self.directory, supervision)

    async def _start_programs(self) -> None:
        programs = self._held()
        await programs.stop_all()  # what a holder left that died while it started them
        self._credentials = await to_thread.run_sync(Credentials.load_or_create, self.directory, SYSTEM_CLOCK.wall())
        await programs.start_etcd(self._binaries["etcd"])
        self._rest = await programs.start_apiserver(self._binaries["kube-apiserver"], self._credentials)
        self._admin_kubeconfig = self.kubeconfig(user=ADMINISTRATOR, groups=[ADMINISTRATORS])
        version = await to_thread.run_sync(self._rest.request, "GET", "/version")
        self._release = version["gitVersion"].removeprefix("v")
        if self.config.scheduler:
            kubeconfig = self.kubeconfig(user="system:kube-scheduler")
            await programs.start_scheduler(self._binaries["kube-scheduler"], self._credentials, kubeconfig)
        if self.config.controllers is not None:
            await self.add_controller_manager(self.config.controllers)
        if self.has_service_accounts:
            await self._wait_for_service_account("default")
        self._remember()

    async def _wait_for_service_account(self, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"

        def exists() -> bool:
            try:
                self.rest.request("GET", path)
            except ApiError:
                return False
            return True

        await self._held().wait(f"the ServiceAccount `default` of namespace {namespace}", exists)

    def _remember(self) -> None:
        """Write down, for other processes, what they need to know; its presence says that all is ready."""
        state = {
            "config": attrs.asdict(self.config, filter=attrs.filters.exclude("directory")),
            "release": self.release,
            "port": self.rest.port,
            "admin_kubeconfig": str(self.admin_kubeconfig),
            "binaries": {name: str(path) for name, path in self._binaries.items()},
        }
        write_private(self.directory / _STATE_NAME, json.dumps(state))

    def _recall(self) -> bool:
        """Read what the starter wrote down; False if it has not."""
        try:
            state = json.loads((self.directory / _STATE_NAME).read_text())
        except FileNotFoundError:
            return False
        self.config = ControlPlaneConfig(**state["config"], directory=self.config.directory)
        self._release = state["release"]
        self._credentials = Credentials.load(self.directory)
        self._rest = Rest.to(state["port"], self._credentials)
        self._admin_kubeconfig = Path(state["admin_kubeconfig"])
        self._binaries = {name: Path(path) for name, path in state["binaries"].items()}
        return True
