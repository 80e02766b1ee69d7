"""What ``reconcile nodes`` shows, and the flags it reads."""

import argparse
from fractions import Fraction

import pytest

from reconcile.cli.nodes import duration
from reconcile.cli.nodes.report import render_amount, render_description, render_nodes
from reconcile.model.json import convert
from reconcile.model.object import Object, from_plain
from reconcile.model.pod_request import AskingSpec, requests
from reconcile.nodes import NodeDescription


def node(name: str, *, ready: str = "True", **spec: object) -> Object:
    return from_plain(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"node-role.kubernetes.io/worker": ""}},
            "spec": spec,
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"},
                "capacity": {"cpu": "2"},
            },
        }
    )


def test_the_table_says_ready_and_cordoned() -> None:
    """One line a node under a head, columns aligned."""
    lines = render_nodes([node("a"), node("longer", ready="False", unschedulable=True)], None).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["a", "Ready", "worker"],
        ["longer", "NotReady,SchedulingDisabled", "worker"],
    ]
    assert len({line.index(word) for line, word in zip(lines, ("STATUS", "Ready", "NotReady"), strict=True)}) == 1


def test_what_pods_ask_for_is_summed_against_what_the_node_has() -> None:
    """Ended Pods take nothing; the share is of the allocatable."""

    def pod(name: str, phase: str) -> Object:
        container = {"name": "main", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
        spec = {"containers": [container]}
        metadata = {"namespace": "default", "name": name}
        return from_plain(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}
        )

    text = render_description(NodeDescription(node("a"), [pod("one", "Running"), pod("two", "Succeeded")], []))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}
    assert rows["cpu"] == ["2", "2", "500m", "25", "%"]
    assert rows["memory"] == ["-", "4Gi", "1024Mi", "25", "%"]
    assert rows["pods"] == ["-", "10", "1", "10", "%"]
    assert "default/two" not in text


def test_init_containers_count_for_their_moment_and_sidecars_for_good() -> None:
    """KEP-753: max(init beside the sidecars before it, all that run) + overhead."""

    def container(cpu: str, **more: str) -> dict[str, object]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("1")],
        "initContainers": [container("2"), container("300m", restartPolicy="Always"), container("1500m")],
        "overhead": {"cpu": "100m"},
    }
    assert requests(convert(spec, AskingSpec)) == {"cpu": Fraction(21, 10)}
    spec["initContainers"] = [container("300m", restartPolicy="Always"), container("1500m")]
    assert requests(convert(spec, AskingSpec)) == {"cpu": Fraction(19, 10)}


@pytest.mark.parametrize(
    ("name", "amount", "shown"),
    [
        ("cpu", Fraction(1, 4), "250m"),
        ("cpu", Fraction(2), "2"),
        ("memory", Fraction(2**20 + 1), "2Mi"),
        ("ephemeral-storage", Fraction(0), "0"),
        ("example.com/gpu", Fraction(3), "3"),
    ],
)
def test_amounts_are_short(name: str, amount: Fraction, shown: str) -> None:
    """Never less than what is asked for."""
    assert render_amount(name, amount) == shown


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5m", 90), ("0", 0), ("500ms", 0.5)])
def test_a_timeout_is_read_as_kubectl_reads_it(text: str, seconds: float) -> None:
    """Go's durations."""
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "m", "5 m", "-5m", "5x", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The error shows the text, and what is wanted."""
    with pytest.raises(argparse.ArgumentTypeError, match="90s, 5m or 1h30m"):
        duration(text)
