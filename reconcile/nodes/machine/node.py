"""``LocalNode``: a real node that runs on this machine, from nothing to Ready and back to nothing."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.errors import ConfigurationError, UsageError
from reconcile.nodes.machine.containerd import Containerd
from reconcile.nodes.machine.images import node_images
from reconcile.nodes.machine.kubelet import PODS_MAX, Kubelet, Taint
from reconcile.nodes.machine.network import conflist
from reconcile.nodes.machine.process import MachineError, Supervisor
from reconcile.nodes.machine.registration import Registration, delete_node
from reconcile.nodes.machine.requirements import find_programs
from reconcile.nodes.machine.slot import SLOTS_DIRECTORY, take_slot
from reconcile.runtime.clock import SYSTEM_CLOCK

VIEW = SLOTS_DIRECTORY / "node"
"""Where a node's processes see their directory: short, because a socket's path has 108 bytes and no more."""

OWN_DIRECTORIES = (Path("/run/containerd"), Path("/var/lib/cni"), Path("/var/lib/kubelet"), Path("/var/log/containers"))
"""Places that containerd, the CNI plugins and the kubelet insist on: the node sees its own in their stead.

Made on the host where they are missing, and left there, empty: to remove a directory would remove the mounts on it in
every other node's mount namespace.
"""

OWN_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
    "net/ipv4/ip_forward": "1",
}
"""What a kubelet and the plugin ``ptp`` would set for the whole machine.

They write only what differs from what they read; the node reads these values, so the machine's own stay as they are.
(kubelet: setupKernelTunables; ptp: EnableIP4Forward.)
"""

PORT_MIN, PORTS = 20_000, 10_000
"""A kubelet's port is chosen among these, so that each life of a node has another; all are free on its own address."""

START_SECONDS_MAX = 30.0
"""For each step of a start. Measured: 0.1 s for containerd, 0.2 s for the images; a cold disk takes longer."""

READY_SECONDS_MAX = 30.0
"""Measured: 0.7–1.2 s from nothing; many times that on a machine that other tests keep busy."""

KUBELET_GRACE_SECONDS = 5
CONTAINERD_GRACE_SECONDS = 5
STOP_SECONDS_MAX = 20.0
"""Both graces and the removal of the directory."""


class LocalNode:
    """A node of its own containerd and kubelet on this machine.

    Guarantees:
        * After ``stop``, after ``kill``, and after the end of this process, SIGKILL included, nothing is left: no
          process, no mount, no network namespace, no address, no container's cgroup, no file.
        * The machine's kernel settings and firewall are not changed.
        * Nodes share nothing, so any number run at once, from any number of processes.

    Assumptions:
        Root, on Linux, with what ``missing_requirements()`` looks for. The API server runs on this machine.

    Caveats:
        ``stop`` gives containers no grace: drain the node first where that matters. The Node object stays unless asked.
    """

    def __init__(
        self,
        name: str,
        *,
        kubeconfig: Path,
        kubelet: Path,
        directory: Path | None = None,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Taint] = (),
        system_reserved: Mapping[str, str] | None = None,
        max_pods: int = PODS_MAX,
    ) -> None:
        """A node that has not been started.

        Args:
            name: the Node's name.
            kubeconfig: with what the kubelet speaks to the API server.
            kubelet: the kubelet program.
            directory: where the node lives: absent or empty, and removed at the end. A temporary one unless given.
            labels: for the Node, on registration.
            taints: for the Node, on registration.
            system_reserved: what of the machine the Pods do not get, such as ``{"cpu": "1", "memory": "2Gi"}``.
            max_pods: how many Pods the node takes.
        """
        self.name = name
        self._kubeconfig = kubeconfig
        self._binary = kubelet
        self._directory = directory
        self._labels = dict(labels or {})
        self._taints = tuple(taints)
        self._system_reserved = dict(system_reserved or {})
        self._max_pods = max_pods
        self._supervisor: Supervisor | None = None
        self._port = 0

    @property
    def directory(self) -> Path:
        """Where the running node lives; ``kubelet.log`` and ``containerd.log`` are there."""
        return self._running.directory

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start containerd, load the images, start the kubelet. The Node registers soon after.

        Raises:
            UsageError: the node runs already.
            ConfigurationError: something is missing on this machine, or an argument cannot be.
            MachineError: a program ended, or took longer than it should.
        """
        if self._supervisor is not None:
            raise UsageError(f"node {self.name}: started twice; stop it first")
        programs = find_programs()
        for file, what in ((self._kubeconfig, "kubeconfig"), (self._binary, "kubelet")):
            if not file.is_file():
                raise ConfigurationError(f"node {self.name}: {what} {file} is not a file")
            if any(file.resolve().is_relative_to(own) for own in OWN_DIRECTORIES):
                raise ConfigurationError(
                    f"node {self.name}: {what} {file} would be hidden by the node's own directory; put it elsewhere"
                )
        directory = self._make_directory()
        containerd = Containerd(VIEW, programs)
        try:
            slot = take_slot(directory)
        except ConfigurationError:
            directory.rmdir()
            raise
        self._port = PORT_MIN + int(SYSTEM_CLOCK.random() * PORTS)
        kubelet = Kubelet(
            name=self.name,
            binary=self._binary.resolve(),
            kubeconfig=self._kubeconfig.resolve(),
            address=slot.address,
            port=self._port,
            endpoint=containerd.endpoint,
            directory=VIEW,
            labels=self._labels,
            taints=self._taints,
            system_reserved=self._system_reserved,
            pods_max=self._max_pods,
        )
        try:
            (directory / "network").mkdir()
            (directory / "network" / "10-reconcile.conflist").write_bytes(conflist(slot.pod_subnet))
            (directory / "containerd.toml").write_text(containerd.config())
            (directory / "kubelet.json").write_bytes(kubelet.config())
            self._supervisor = Supervisor.spawn(directory, VIEW, slot, _binds(directory))
        except BaseException:
            shutil.rmtree(directory)
            raise
        finally:
            slot.release()
        try:
            await self._start(self._supervisor, containerd, kubelet, slot.address)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, supervisor: Supervisor, containerd: Containerd, kubelet: Kubelet, address: str) -> None:
        await supervisor.ready(START_SECONDS_MAX)
        await supervisor.start(
            "containerd", containerd.command(VIEW / "containerd.toml"), grace_seconds=CONTAINERD_GRACE_SECONDS
        )
        await supervisor.run(
            "address", ["ip", "address", "replace", f"{address}/32", "dev", "lo"], timeout_seconds=START_SECONDS_MAX
        )
        archive = supervisor.directory / "images.tar"
        await anyio.to_thread.run_sync(_write_images, containerd.programs.busybox, archive)
        try:
            with anyio.fail_after(START_SECONDS_MAX):
                await supervisor.guard(containerd.until_listening(supervisor.directory))
        except TimeoutError:
            raise MachineError(
                f"containerd does not listen after {START_SECONDS_MAX} s: {supervisor.log_tail('containerd')}"
            ) from None
        await supervisor.run(
            "images", containerd.import_command(VIEW / "images.tar"), timeout_seconds=START_SECONDS_MAX
        )
        archive.unlink()
        await supervisor.start("kubelet", kubelet.command(VIEW / "kubelet.json"), grace_seconds=KUBELET_GRACE_SECONDS)

    async def wait_ready(self, *, timeout_seconds: float = READY_SECONDS_MAX) -> None:
        """Return when Pods can be scheduled to the node: it is Ready, and not tainted as not ready any more.

        Raises:
            MachineError: a program of the node ended, or the time is over; the text says what was missing, and why.
            ApiError: the kubeconfig's user may not watch the Node.
        """
        supervisor = self._running
        registration = Registration(self.name, self._port)
        try:
            async with connect(load_config(self._kubeconfig)) as client:
                with anyio.fail_after(timeout_seconds):
                    await supervisor.guard(registration.until_ready(client))
        except TimeoutError:
            raise MachineError(
                f"node {self.name} is not ready after {timeout_seconds} s: {registration.why_not}."
                f" Its kubelet says: {supervisor.log_tail('kubelet')}"
            ) from None

    async def stop(self, *, delete_with: Path | None = None) -> None:
        """Stop the kubelet, containerd and every container, and remove everything. Does nothing when not running.

        Args:
            delete_with: a kubeconfig that may delete the Node, which stays otherwise (a kubelet's own may not).

        Raises:
            MachineError: something was left, or had to be killed.
            ApiError: the Node cannot be deleted.
        """
        supervisor = self._supervisor
        if supervisor is not None:
            try:
                with anyio.CancelScope(shield=True):
                    await supervisor.close(STOP_SECONDS_MAX)
            finally:
                if supervisor.has_ended:
                    self._supervisor = None
        if delete_with is not None:
            async with connect(load_config(delete_with)) as client:
                await delete_node(client, self.name)

    def kill(self) -> None:
        """The node dies: SIGKILL for each of its processes, containers included.

        Returns at once; ``stop`` waits until everything is gone.
        """
        self._running.kill()

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise UsageError(f"node {self.name} is not running; start it first")
        return self._supervisor

    def _make_directory(self) -> Path:
        for own in (SLOTS_DIRECTORY, VIEW, *OWN_DIRECTORIES):
            own.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self._directory is None:
            return Path(tempfile.mkdtemp(prefix="reconcile-node-"))
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            occupied = any(self._directory.iterdir())
        except OSError as error:
            raise ConfigurationError(f"node {self.name}: directory {self._directory}: {error.strerror}") from error
        if occupied:
            raise ConfigurationError(
                f"node {self.name}: directory {self._directory} is not empty, and would be removed at the end;"
                " give one that is absent or empty"
            )
        return self._directory.resolve()


def _binds(directory: Path) -> dict[Path, str]:
    """Make what the node sees in place of the host's, and say where it goes."""
    binds: dict[Path, str] = {}
    for number, own in enumerate(OWN_DIRECTORIES):
        source = directory / "own" / str(number)
        source.mkdir(parents=True)
        binds[own] = str(source)
    for setting, value in OWN_KERNEL_SETTINGS.items():
        target = Path("/proc/sys", setting)
        if target.exists():
            source = directory / "own" / setting.replace("/", ".")
            source.write_text(value + "\n")
            binds[target] = str(source)
    return binds


def _write_images(busybox: Path, archive: Path) -> None:
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)  # noqa: S603  found by us
    archive.write_bytes(node_images(busybox.read_bytes(), applets.stdout.split()))
