"""A node's own containerd: its configuration and its command lines.

One containerd per node: two kubelets on one containerd remove each other's Pods.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import attrs

from reconcile.nodes.machine.images import PAUSE_IMAGE
from reconcile.nodes.machine.requirements import Programs
from reconcile.runtime.clock import SYSTEM_CLOCK

NAMESPACE = "k8s.io"
"""containerd's namespace for what a kubelet asks for."""


POLL_SECONDS = 0.01


@attrs.frozen
class Containerd:
    """Where one containerd lives. ``directory`` is the node's, as its processes see it."""

    directory: Path
    programs: Programs

    @property
    def socket(self) -> Path:
        return self.directory / "containerd.sock"

    @property
    def endpoint(self) -> str:
        """The socket as a kubelet names it."""
        return f"unix://{self.socket}"

    @property
    def network_directory(self) -> Path:
        return self.directory / "network"

    def config(self) -> str:
        """``config.toml``, version 2 (read by containerd 1.6, 1.7 and 2.x)."""
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""\
version = 2
root = "{self.directory}/containerd"
state = "{self.directory}/containerd-state"

[grpc]
address = "{self.socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{self.directory}/opt"

[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
# Neither may be had inside a container, where a development machine or a CI runner often is one.
disable_apparmor = true
restrict_oom_score_adj = true
# Below the node's directory instead of /run/netns, so that they go with the node.
netns_mounts_under_state_dir = true

[{cri}.cni]
bin_dir = "{self.programs.plugin_directory}"
conf_dir = "{self.network_directory}"

[{cri}.containerd]
# Plain copies: works on every file system, an overlay included, and our images are 2 MB.
snapshotter = "native"
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
Root = "{self.directory}/runc"
"""

    def command(self, config: Path) -> list[str]:
        return [str(self.programs.containerd), "--config", str(config)]

    async def until_listening(self, directory: Path) -> None:
        """Return when containerd takes connections. ``directory`` is the node's, as this process sees it.

        ``ctr`` waits for the socket's file only, which is there a moment before anybody listens.
        """
        # Through a descriptor: the path itself may be longer than the 108 bytes that a socket's address has.
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            while not _is_listening(f"/proc/self/fd/{descriptor}/{self.socket.name}"):
                await SYSTEM_CLOCK.sleep(POLL_SECONDS)
        finally:
            os.close(descriptor)

    def import_command(self, archive: Path) -> list[str]:
        """Load an image archive.

        Not unpacked: the first container does that, with its own snapshotter. (The ``ctr`` of containerd 2 unpacks for
        the default snapshotter only: "no unpack platforms defined".)
        """
        ctr = [str(self.programs.ctr), "--address", str(self.socket), "--namespace", NAMESPACE]
        return [*ctr, "images", "import", "--no-unpack", str(archive)]


def _is_listening(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True
