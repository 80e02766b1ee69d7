"""Where a Pod can run: the predicates, the choice, and the message where there is none. Pure.

Guarantees:
    * The predicates are asked in kube-scheduler's order, and the first that fails is what is said of a node; of
      resources and ports all that lack.
    * The same Pods on the same nodes give the same choice.

Source: "Assigning Pods to Nodes", "Taints and Tolerations" and "Resource Management" in the Kubernetes documentation.
Caveats: preferences, affinity between Pods, topology spread and volumes are not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import attrs
import msgspec

from reconcile.cluster.scheduler.view import Affinity, NodeView, PodSpec, Port, Taint, Term, Toleration
from reconcile.errors import DecodeError
from reconcile.model import json
from reconcile.model.object import Object
from reconcile.model.pod_request import AskingSpec, amounts, requests
from reconcile.model.selector import LabelSelector

_UNSCHEDULABLE: Final = Taint("node.kubernetes.io/unschedulable", "NoSchedule")
_SELECTOR_MISSES: Final = "node(s) didn't match Pod's node affinity/selector"


@attrs.frozen
class Candidate:
    """A node, and what the Pods on it have taken already."""

    name: str
    labels: Mapping[str, str]
    view: NodeView
    allocatable: Mapping[str, Fraction]
    taken: Mapping[str, Fraction]
    ports: frozenset[tuple[str, str, int]]
    """Protocol, address and port."""
    pods: int

    @classmethod
    def of(cls, node: Object, specs: Iterable[PodSpec]) -> Candidate:
        """From a node and the specs of the Pods on it that have not ended. Raises DecodeError."""
        view = node.decode(NodeView)
        taken: dict[str, Fraction] = {}
        ports: set[tuple[str, str, int]] = set()
        number = 0
        for spec in specs:
            number += 1
            ports.update(map(_port, _host_ports(spec)))
            for name, amount in asked(spec).items():
                taken[name] = taken.get(name, Fraction(0)) + amount
        return cls(node.name, node.labels, view, amounts(view.status.allocatable), taken, frozenset(ports), number)


@attrs.frozen
class Choice:
    """Where a Pod goes; ``node`` is empty where it can go nowhere, and ``message`` says why."""

    node: str
    message: str = ""


def asked(spec: PodSpec) -> dict[str, Fraction]:
    """What a Pod asks for. Raises DecodeError."""
    return requests(json.convert(msgspec.to_builtins(spec), AskingSpec))


def choose(spec: PodSpec, candidates: Sequence[Candidate]) -> Choice:
    """The node with the most room left among those where the Pod fits; of equals the first by name."""
    if not candidates:
        return Choice("", "no nodes available to schedule pods")
    reasons: Counter[str] = Counter()
    fitting: list[Candidate] = []
    wanted = asked(spec)
    for candidate in candidates:
        failed = obstacles(spec, wanted, candidate)
        reasons.update(failed)
        if not failed:
            fitting.append(candidate)
    if not fitting:
        said = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
        return Choice("", f"0/{len(candidates)} nodes are available: {said}.")
    return Choice(min(fitting, key=lambda one: (_fullness(wanted, one), one.pods, one.name)).name)


def obstacles(spec: PodSpec, wanted: Mapping[str, Fraction], node: Candidate) -> Sequence[str]:
    """Why the Pod cannot run on the node, in kube-scheduler's words; empty where it can."""
    tolerations = spec.tolerations or ()
    if node.view.spec.unschedulable and not _is_tolerated(_UNSCHEDULABLE, tolerations):
        return ["node(s) were unschedulable"]
    if not _is_selected(spec.node_selector, spec.affinity, node):
        return [_SELECTOR_MISSES]
    for taint in node.view.spec.taints or ():
        if taint.effect in ("NoSchedule", "NoExecute") and not _is_tolerated(taint, tolerations):
            return ["node(s) had untolerated taint(s)"]
    if any(_is_taken(port, node.ports) for port in map(_port, _host_ports(spec))):
        return ["node(s) didn't have free ports for the requested pod ports"]
    lacking = ["Too many pods"] if node.pods + 1 > node.allocatable.get("pods", 0) else []
    for name, amount in wanted.items():
        if amount and amount > node.allocatable.get(name, 0) - node.taken.get(name, 0):
            lacking.append(f"Insufficient {name}")
    return lacking


def _is_tolerated(taint: Taint, tolerations: Iterable[Toleration]) -> bool:
    return any(one.tolerates(taint) for one in tolerations)


def _is_selected(selector: Mapping[str, str] | None, affinity: Affinity | None, node: Candidate) -> bool:
    if any(node.labels.get(name) != value for name, value in (selector or {}).items()):
        return False
    required = affinity.node_affinity.required if affinity and affinity.node_affinity else None
    return required is None or any(_matches(term, node) for term in required.node_selector_terms)


def _matches(term: Term, node: Candidate) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    labels = all(_meets(one, node.labels) for one in term.match_expressions or ())
    return labels and all(_meets(one, {"metadata.name": node.name}) for one in term.match_fields or ())


def _meets(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """One requirement. A term that makes no sense matches nothing, as in kube-scheduler."""
    if requirement.get("operator") in ("Gt", "Lt"):
        try:
            bound, has = int(requirement["values"][0]), int(labels[requirement["key"]])
        except (KeyError, ValueError, IndexError, TypeError):
            return False
        return has > bound if requirement["operator"] == "Gt" else has < bound
    try:
        return LabelSelector.from_plain({"matchExpressions": [requirement]}).matches(labels)
    except DecodeError:
        return False


def _host_ports(spec: PodSpec) -> Iterable[Port]:
    sidecars = (one for one in spec.init_containers or () if one.restart_policy == "Always")
    for container in (*spec.containers, *sidecars):
        yield from (port for port in container.ports or () if port.host_port)


def _port(port: Port) -> tuple[str, str, int]:
    return (port.protocol or "TCP", port.host_ip or "0.0.0.0", port.host_port)  # noqa: S104  no socket: all addresses


def _is_taken(port: tuple[str, str, int], taken: Iterable[tuple[str, str, int]]) -> bool:
    protocol, address, number = port
    return any(
        (protocol, number) == (other[0], other[2]) and (address == other[1] or "0.0.0.0" in (address, other[1]))  # noqa: S104  no socket
        for other in taken
    )


def _fullness(wanted: Mapping[str, Fraction], node: Candidate) -> Fraction:
    """The mean share of cores and memory that is gone with the Pod on it (kube-scheduler's "least allocated")."""
    shares = [
        (node.taken.get(name, Fraction(0)) + wanted.get(name, Fraction(0))) / node.allocatable[name]
        for name in ("cpu", "memory")
        if node.allocatable.get(name)
    ]
    return sum(shares, Fraction(0)) / len(shares) if shares else Fraction(0)
