"""Where a Pod can run: every predicate, the choice, and what is said where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.cluster.scheduler.fit import Candidate, choose
from reconcile.cluster.scheduler.view import PodSpec
from reconcile.model.json import convert
from reconcile.model.object import from_plain


def spec(**fields: Any) -> PodSpec:
    return convert({"containers": [{"name": "main"}], **fields}, PodSpec)


def asking(cpu: str, **fields: Any) -> PodSpec:
    return spec(containers=[{"name": "main", "resources": {"requests": {"cpu": cpu}}}], **fields)


def node(name: str, *pods: PodSpec, cpu: str = "4", room: str = "10", labels: Any = None, **fields: Any) -> Candidate:
    metadata = {"name": name, "labels": labels or {}}
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": room}}
    return Candidate.of(
        from_plain({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": fields, "status": status}), pods
    )


def on_port(number: int, address: str = "") -> PodSpec:
    return spec(containers=[{"name": "main", "ports": [{"hostPort": number, "hostIP": address}]}])


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}

REFUSALS = {
    "cpu": (asking("3"), node("n", asking("2")), "1 Insufficient cpu"),
    "pods": (spec(), node("n", spec(), room="1"), "1 Too many pods"),
    "cordoned": (spec(), node("n", unschedulable=True), "1 node(s) were unschedulable"),
    "selector": (spec(nodeSelector={"a": "b"}), node("n"), "1 node(s) didn't match Pod's node affinity/selector"),
    "taint": (spec(), node("n", taints=[TAINT]), "1 node(s) had untolerated taint(s)"),
    "port": (on_port(80), node("n", on_port(80)), "1 node(s) didn't have free ports for the requested pod ports"),
    "port on all addresses": (
        on_port(80, "127.0.0.1"),
        node("n", on_port(80)),
        "1 node(s) didn't have free ports for the requested pod ports",
    ),
    "empty term": (
        spec(affinity=affinity({})),
        node("n"),
        "1 node(s) didn't match Pod's node affinity/selector",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_pod_that_does_not_fit_is_told_why(case: str) -> None:
    """In kube-scheduler's words, with the number of nodes."""
    pod, there, reason = REFUSALS[case]
    found = choose(pod, [there])
    assert (found.node, found.message) == ("", f"0/1 nodes are available: {reason}.")


FITS = {
    "exactly all": (asking("2"), node("n", asking("2"))),
    "tolerated": (spec(tolerations=[{"key": "k", "operator": "Exists"}]), node("n", taints=[TAINT])),
    "tolerated value": (spec(tolerations=[{"key": "k", "value": "v"}]), node("n", taints=[TAINT])),
    "preference only": (spec(), node("n", taints=[{"key": "k", "effect": "PreferNoSchedule"}])),
    "selected": (spec(nodeSelector={"a": "b"}), node("n", labels={"a": "b"})),
    "one term of two": (
        spec(affinity=affinity({}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})),
        node("n"),
    ),
    "greater": (
        spec(affinity=affinity({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]})),
        node("n", labels={"a": "2"}),
    ),
    "another address": (on_port(80, "127.0.0.1"), node("n", on_port(80, "127.0.0.2"))),
    "daemon on a cordoned node": (
        spec(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]),
        node("n", unschedulable=True),
    ),
}


@pytest.mark.parametrize("case", FITS)
def test_a_pod_that_fits_is_placed(case: str) -> None:
    """What only looks like an obstacle is none."""
    pod, there = FITS[case]
    assert choose(pod, [there]).node == "n"


def test_a_toleration_of_another_value_does_not_help() -> None:
    """Key, value and effect must all agree."""
    assert not choose(spec(tolerations=[{"key": "k", "value": "w"}]), [node("n", taints=[TAINT])]).node


def test_reasons_are_counted_over_all_nodes() -> None:
    """Each node says the first of its obstacles; of resources, all that lack."""
    nodes = [node("a", unschedulable=True), node("b", taints=[TAINT]), node("c", cpu="1"), node("d", cpu="1", room="0")]
    assert choose(asking("2"), nodes).message == (
        "0/4 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable,"
        " 2 Insufficient cpu."
    )


def test_without_nodes_that_is_what_is_said() -> None:
    """A cluster without nodes has its own message."""
    assert choose(spec(), []).message == "no nodes available to schedule pods"


def test_the_emptiest_node_is_taken_and_of_equals_the_first() -> None:
    """By the share of cores and memory, then by the number of Pods, then by name."""
    assert choose(asking("1"), [node("b", asking("1")), node("a", asking("2"))]).node == "b"
    assert choose(spec(), [node("a", spec()), node("b")]).node == "b"
    assert choose(spec(), [node("b"), node("a")]).node == "a"
