"""A node's kubelet: its configuration and its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from reconcile.model.json import encode

PODS_MAX = 110
"""The kubelet's own default."""


@attrs.frozen
class Taint:
    """Keeps Pods that do not tolerate it off the node."""

    key: str
    effect: str
    value: str = ""

    def to_plain(self) -> dict[str, str]:
        return {"key": self.key, "value": self.value, "effect": self.effect}


@attrs.frozen
class Kubelet:
    """One kubelet. ``directory`` is the node's, as its processes see it.

    Attributes:
        name: the Node's name.
        binary: the kubelet program.
        kubeconfig: with what it speaks to the API server.
        address: the node's address; the kubelet listens on it and on no other.
        port: of the kubelet's API, on that address.
        endpoint: the container runtime's socket.
        labels: the Node's labels, on registration.
        taints: the Node's taints, on registration.
        system_reserved: resources of the machine that Pods do not get, such as ``{"cpu": "1", "memory": "2Gi"}``.
        pods_max: how many Pods it takes.
    """

    name: str
    binary: Path
    kubeconfig: Path
    address: str
    port: int
    endpoint: str
    directory: Path
    labels: Mapping[str, str]
    taints: Sequence[Taint]
    system_reserved: Mapping[str, str]
    pods_max: int

    def config(self) -> bytes:
        """``KubeletConfiguration``, as JSON."""
        value: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            # Open to whoever reaches the address, which is on the loopback interface: the API server of a test has no
            # client certificate to show.
            "address": self.address,
            "port": self.port,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "healthzPort": 0,
            "readOnlyPort": 0,
            "containerRuntimeEndpoint": self.endpoint,
            "podLogsDir": str(self.directory / "pod-logs"),
            "volumePluginDir": str(self.directory / "volume-plugins"),
            "resolvConf": "",
            # The machine is somebody else's too: no tree of cgroups at its root, no rules in its firewall, no demand
            # on its swap, and no judgement on how full its disk is.
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
            # The two images cannot be fetched again.
            "imageGCHighThresholdPercent": 100,
            "maxPods": self.pods_max,
            "systemReserved": dict(self.system_reserved),
        }
        if self.taints:
            value["registerWithTaints"] = [taint.to_plain() for taint in self.taints]
        return encode(value)

    def command(self, config: Path) -> list[str]:
        arguments = [
            str(self.binary),
            f"--config={config}",
            f"--kubeconfig={self.kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            f"--cert-dir={self.directory / 'kubelet-certificates'}",
        ]
        if self.labels:
            pairs = ",".join(f"{key}={value}" for key, value in self.labels.items())
            arguments.append(f"--node-labels={pairs}")
        return arguments
