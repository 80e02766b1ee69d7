"""The node itself: its object, and the Lease that says that it is alive.

Source: "Nodes" and "Leases" in the Kubernetes documentation.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.cluster.node_agent.plan import RestartDelays
from reconcile.errors import AlreadyExistsError, ReconcileError
from reconcile.model.key import ObjectKey
from reconcile.model.object import from_plain
from reconcile.model.patch import ApplyPatch, StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.timestamp import render, render_micro
from reconcile.model.write import Applied, Refused, Write
from reconcile.runtime.clock import Clock

LEASE_SECONDS = 40
"""For how long a node counts as alive after its last word (the kubelet's)."""

RENEW_SECONDS = 10.0
"""How often the Lease is renewed: a quarter of that."""

RETRY_SECONDS = 1.0
"""After a word that did not arrive."""

VERSION = "v1.37.2"
"""What the node says that it runs: the release that the API server follows."""

_LEASE_NAMESPACE = "kube-node-lease"
_NODES = Resource(Kind("", "v1", "Node"), "nodes", namespaced=False)
_LEASES = Resource(Kind("coordination.k8s.io", "v1", "Lease"), "leases")

_log = logging.getLogger("reconcile.cluster.node_agent")

_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


@attrs.frozen
class NodeConfig:
    """A node.

    Attributes:
        name: of the Node object.
        number: tells the nodes of one cluster apart, in addresses: 0 to 99.
        capacity: what it offers; all of it is allocatable.
        restart_delays: of containers that exit again and again.
    """

    name: str
    number: int = attrs.field(default=0, validator=(attrs.validators.ge(0), attrs.validators.lt(100)))
    capacity: dict[str, str] = attrs.Factory(lambda: {"cpu": "8", "memory": "16Gi", "pods": "110"})
    restart_delays: RestartDelays = attrs.Factory(RestartDelays)

    @property
    def address(self) -> str:
        """Of the loopback range, all of which is this machine's."""
        return f"127.0.1.{self.number + 1}"

    def pod_address(self, number: int) -> str:
        """Of its ``number``-th Pod; they come round again after 64 516."""
        return f"127.{100 + self.number}.{number // 254 % 254 + 1}.{number % 254 + 1}"


class Registration:
    """Keeps a node registered."""

    def __init__(self, client: Client, config: NodeConfig, runtime: str, clock: Clock) -> None:
        self._client = client
        self._config = config
        self._runtime = runtime
        self._clock = clock

    async def run(self) -> None:
        """Make the node, say that it is ready, and renew its Lease until cancelled."""
        is_registered = False
        while True:
            try:
                if not is_registered:
                    await self._register()
                    is_registered = True
                await self._renew()
            except ReconcileError as error:
                _log.warning("node %s: %s", self._config.name, error)
                await self._clock.sleep(RETRY_SECONDS)
            else:
                await self._clock.sleep(RENEW_SECONDS)

    async def _register(self) -> None:
        """Create the node where it is not there, and write its status."""
        name = self._config.name
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "embedded",
        }
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
        await self._send(writes.create(_NODES, from_plain(body)), or_exists=True)
        patch = StrategicMergePatch({"status": self._status()})
        await self._send(writes.patch(_NODES, ObjectKey("", name), patch, subresource="status"))

    def _status(self) -> dict[str, Any]:
        now, config = render(self._clock.wall()), self._config
        times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
        ready = ("Ready", "True", "KubeletReady", "the embedded node agent is ready")
        conditions = [*((kind, "False", reason, message) for kind, reason, message in _PRESSURES), ready]
        return {
            "capacity": config.capacity,
            "allocatable": config.capacity,
            "addresses": [
                {"type": "InternalIP", "address": config.address},
                {"type": "Hostname", "address": config.name},
            ],
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": message, **times}
                for kind, status, reason, message in conditions
            ],
            "nodeInfo": {
                "kubeletVersion": VERSION,
                "containerRuntimeVersion": f"{self._runtime}://1",
                "operatingSystem": "linux",
                "osImage": "embedded",
                "architecture": "",
                "bootID": "",
                "kernelVersion": "",
                "kubeProxyVersion": "",
                "machineID": "",
                "systemUUID": "",
            },
        }

    async def _renew(self) -> None:
        """The node's Lease, applied: made where it is not there."""
        name = self._config.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": render_micro(self._clock.wall()),
        }
        metadata = {"name": name, "namespace": _LEASE_NAMESPACE}
        body = {"apiVersion": _LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
        patch = ApplyPatch(body, "node-agent")
        await self._send(writes.patch(_LEASES, ObjectKey(_LEASE_NAMESPACE, name), patch))

    async def _send(self, write: Write, *, or_exists: bool = False) -> None:
        match await self._client.send(write):
            case Applied():
                return
            case Refused(error=AlreadyExistsError()) if or_exists:
                return
            case Refused(error=error):
                raise error
            case unknown:
                raise ReconcileError(f"{write}: {unknown.reason}")
