"""What the scheduler reads of Pods and nodes."""

from __future__ import annotations

from typing import Any

import msgspec

from reconcile.model.pod_request import ContainerResources


class Toleration(msgspec.Struct, frozen=True, rename="camel"):
    """``spec.tolerations[]`` of a Pod. An empty key with ``Exists`` stands for every key, an empty effect for every."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Whether a node's taint is no obstacle."""
        if self.effect not in ("", taint.effect) or self.key not in ("", taint.key):
            return False
        return self.operator == "Exists" or self.value == taint.value


class Taint(msgspec.Struct, frozen=True, rename="camel"):
    """``spec.taints[]`` of a node."""

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class Port(msgspec.Struct, frozen=True, rename={"host_port": "hostPort", "host_ip": "hostIP"}):
    """``ports[]`` of a container."""

    host_port: int = 0
    protocol: str = "TCP"
    host_ip: str = ""


class Container(msgspec.Struct, frozen=True, rename="camel"):
    resources: ContainerResources = ContainerResources()
    restart_policy: str = ""
    ports: tuple[Port, ...] | None = None


class Term(msgspec.Struct, frozen=True, rename="camel"):
    """``nodeSelectorTerms[]``: all of its requirements; one without any matches nothing."""

    match_expressions: tuple[dict[str, Any], ...] | None = None
    match_fields: tuple[dict[str, Any], ...] | None = None


class NodeSelector(msgspec.Struct, frozen=True, rename="camel"):
    """Any of the terms."""

    node_selector_terms: tuple[Term, ...] = ()


class NodeAffinity(msgspec.Struct, frozen=True):
    required: NodeSelector | None = msgspec.field(name="requiredDuringSchedulingIgnoredDuringExecution", default=None)


class Affinity(msgspec.Struct, frozen=True, rename="camel"):
    node_affinity: NodeAffinity | None = None


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    overhead: dict[str, str] | None = None
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] | None = None
    scheduler_name: str = "default-scheduler"
    scheduling_gates: tuple[dict[str, Any], ...] | None = None
    priority: int = 0


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class PodStatus(msgspec.Struct, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] | None = None


class PodView(msgspec.Struct, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def has_ended(self) -> bool:
        """Whether it takes no room any more."""
        return self.status.phase in ("Succeeded", "Failed")


class NodeSpec(msgspec.Struct, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class NodeStatus(msgspec.Struct, frozen=True):
    allocatable: dict[str, str] | None = None
    conditions: tuple[Condition, ...] | None = None


class NodeView(msgspec.Struct, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
