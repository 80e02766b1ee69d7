"""How ``reconcile nodes`` shows nodes: a table, JSON, YAML, and the long form. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

import msgspec
import yaml

from reconcile.model import json
from reconcile.model.object import Object
from reconcile.model.pod_request import AskingSpec, requests
from reconcile.model.quantity import parse_quantity
from reconcile.nodes import NodeDescription

ROLE_LABEL: Final = "node-role.kubernetes.io/"

EVENTS_SHOWN_MAX: Final = 20


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class Taint(msgspec.Struct, frozen=True):
    key: str
    effect: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


class Address(msgspec.Struct, frozen=True):
    type: str
    address: str


class NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_version: str = ""
    os_image: str = ""
    kernel_version: str = ""
    container_runtime_version: str = ""


class NodeSpec(msgspec.Struct, frozen=True, rename={"provider_id": "providerID"}):
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None
    provider_id: str = ""


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    conditions: tuple[Condition, ...] | None = None
    addresses: tuple[Address, ...] | None = None
    capacity: dict[str, str] | None = None
    allocatable: dict[str, str] | None = None
    node_info: NodeInfo = NodeInfo()


class NodeView(msgspec.Struct, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def words(self) -> str:
        """``Ready``, ``NotReady`` or ``Unknown``, and whether it is cordoned."""
        ready = next((condition.status for condition in self.status.conditions or () if condition.type == "Ready"), "")
        word = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
        return f"{word},SchedulingDisabled" if self.spec.unschedulable else word


class PodStatus(msgspec.Struct, frozen=True):
    phase: str = ""


class PodView(msgspec.Struct, frozen=True):
    spec: AskingSpec = AskingSpec()
    status: PodStatus = PodStatus()


class EventView(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None


def render_nodes(nodes: Sequence[Object], output: str | None) -> str:
    """Nodes as ``output`` says: ``name``, ``json``, ``yaml``, ``wide``, or a table."""
    if output == "name":
        return "".join(f"node/{node.name}\n" for node in nodes)
    if output in {"json", "yaml"}:
        items = [node.to_dict() for node in nodes]
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        if output == "yaml":
            return str(yaml.safe_dump(listed, sort_keys=False))
        return json.encode_for_people(listed) + "\n"
    if not nodes:
        return "no nodes\n"
    head = ["NAME", "STATUS", "ROLES", "CPU", "MEMORY", "PODS", "VERSION", "CREATED"]
    rows = [head + (["INTERNAL-IP", "OS-IMAGE", "RUNTIME", "TAINTS"] if output == "wide" else [])]
    for node in nodes:
        view = node.decode(NodeView)
        allocatable, info = view.status.allocatable or {}, view.status.node_info
        row = [node.name, view.words, _roles(node), *(allocatable.get(name, "-") for name in ("cpu", "memory", "pods"))]
        row += [info.kubelet_version or "-", node.metadata.creation_timestamp or "-"]
        if output == "wide":
            internal = [address.address for address in view.status.addresses or () if address.type == "InternalIP"]
            row += [(internal or ["-"])[0], info.os_image or "-", info.container_runtime_version or "-"]
            row += [",".join(map(str, view.spec.taints or ())) or "-"]
        rows.append(row)
    return table(rows)


def _roles(node: Object) -> str:
    roles = sorted(label.removeprefix(ROLE_LABEL) for label in node.labels if label.startswith(ROLE_LABEL))
    return ",".join(roles) or "-"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, three spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def render_description(described: NodeDescription) -> str:
    """The long form: what it is, its conditions and taints, its Pods, and what they ask for of what it has."""
    node, view = described.node, described.node.decode(NodeView)
    info = view.status.node_info
    facts = [
        ("Name", node.name),
        ("Status", view.words),
        ("Roles", _roles(node)),
        ("Created", node.metadata.creation_timestamp or "-"),
        ("Provider id", view.spec.provider_id or "-"),
        ("Addresses", ", ".join(f"{a.type} {a.address}" for a in view.status.addresses or ()) or "-"),
        ("Kubelet", info.kubelet_version or "-"),
        ("Runtime", info.container_runtime_version or "-"),
        ("System", f"{info.os_image}, kernel {info.kernel_version}" if info.os_image else "-"),
        ("Labels", ", ".join(f"{name}={value}" for name, value in sorted(node.labels.items())) or "-"),
        ("Taints", ", ".join(map(str, view.spec.taints or ())) or "-"),
    ]
    text = table([[f"{name}:", value] for name, value in facts])
    conditions = [[c.type, c.status, c.reason or "-", c.message or "-"] for c in view.status.conditions or ()]
    text += _section("Conditions", ["TYPE", "STATUS", "REASON", "MESSAGE"], conditions)
    running = [pod for pod in described.pods if pod.decode(PodView).status.phase not in {"Succeeded", "Failed"}]
    asked = {str(pod.key): requests(pod.decode(PodView).spec) for pod in running}
    pods = [
        [str(pod.key), pod.decode(PodView).status.phase or "-", *(_amount(asked[str(pod.key)], n) for n in _SHOWN)]
        for pod in running
    ]
    text += _section(f"Pods ({len(running)})", ["NAME", "PHASE", *map(str.upper, _SHOWN)], pods)
    text += _section("Resources", ["NAME", "CAPACITY", "ALLOCATABLE", "REQUESTED", "SHARE"], _resources(view, asked))
    events = [event.decode(EventView) for event in described.events][-EVENTS_SHOWN_MAX:]
    rows = [[event.type, event.reason, str(event.count or 1), event.message] for event in events]
    return text + _section("Events", ["TYPE", "REASON", "COUNT", "MESSAGE"], rows)


_SHOWN: Final = ("cpu", "memory")


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = "".join(f"  {line}\n" for line in table([head, *rows]).splitlines()) if rows else "  none\n"
    return f"\n{title}:\n{body}"


def _resources(view: NodeView, asked: dict[str, dict[str, Fraction]]) -> Sequence[Sequence[str]]:
    capacity, allocatable = view.status.capacity or {}, view.status.allocatable or {}
    rows: list[Sequence[str]] = []
    for name in sorted(allocatable):
        wanted = Fraction(len(asked)) if name == "pods" else _sum(amounts.get(name) for amounts in asked.values())
        there = parse_quantity(allocatable[name])
        share = f"{round(100 * wanted / there)} %" if there else "-"
        rows.append([name, capacity.get(name, "-"), allocatable[name], render_amount(name, wanted), share])
    return rows


def _sum(amounts: Iterable[Fraction | None]) -> Fraction:
    return sum((amount for amount in amounts if amount is not None), Fraction(0))


def _amount(amounts: dict[str, Fraction], name: str) -> str:
    return render_amount(name, amounts[name]) if name in amounts else "-"


def render_amount(name: str, amount: Fraction) -> str:
    """Cores as ``250m`` or ``2``, bytes in Mi (rounded up), pieces as they are."""
    if name == "memory" or name.endswith("storage") or name.startswith("hugepages-"):
        return f"{-(-amount // 2**20)}Mi" if amount else "0"
    if amount.denominator == 1:
        return str(amount)
    return f"{-(-amount * 1000 // 1)}m"
