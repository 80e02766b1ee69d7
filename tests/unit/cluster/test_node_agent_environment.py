"""What a container is given by the node agent."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.cluster.node_agent.environment import container_config, expanded
from reconcile.cluster.node_agent.view import PodView
from reconcile.cluster.runtimes.runtime import ContainerConfig, ContainerRefusedError
from reconcile.model.object import from_plain


def config(**container: Any) -> ContainerConfig:
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a/b": "c"}, "annotations": {"index": "4"}}
    spec = {"containers": [{"name": "main", "image": "i", **container}], "serviceAccountName": "sa"}
    pod = from_plain({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    view = pod.decode(PodView).spec
    return container_config(
        pod, view, view.containers[0], attempt=0, node="n", host_address="127.0.1.1", address="127.100.1.2"
    )


def field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def test_fields_of_the_pod_reach_the_environment() -> None:
    """The downward API: names, labels, annotations, addresses."""
    env = [
        field("NAME", "metadata.name"),
        field("INDEX", "metadata.annotations['index']"),
        field("LABEL", "metadata.labels['a/b']"),
        field("NONE", "metadata.labels['missing']"),
        field("IP", "status.podIP"),
        field("NODE", "spec.nodeName"),
    ]
    assert config(env=env).environment == {
        "HOSTNAME": "p",
        "NAME": "p",
        "INDEX": "4",
        "LABEL": "c",
        "NONE": "",
        "IP": "127.100.1.2",
        "NODE": "n",
    }


def test_references_are_expanded_in_order() -> None:
    """A variable sees those before it, the command sees all."""
    env = [{"name": "A", "value": "1$(B)"}, {"name": "B", "value": "2$(A)"}]
    found = config(env=env, command=["$(B)"], args=["$$(A)", "$(C)"])
    assert (found.command, found.args) == (("21$(B)",), ("$(A)", "$(C)"))


@pytest.mark.parametrize(("text", "wanted"), [("$", "$"), ("$$$$", "$$"), ("$(A", "$(A"), ("$A", "$A"), ("$()", "$()")])
def test_what_is_no_reference_stays(text: str, wanted: str) -> None:
    """Shell syntax is the shell's; ``$$`` is one dollar."""
    assert expanded([text], {"A": "1"}) == (wanted,)


REFUSED: dict[str, dict[str, Any]] = {
    "volumeMounts": {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
    "envFrom": {"envFrom": [{"configMapRef": {"name": "c"}}]},
    "env KEY": {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_node_cannot_give_is_refused_by_name(what: str) -> None:
    """Rather than run a container without it."""
    with pytest.raises(ContainerRefusedError, match=f"^CreateContainerConfigError: container main, {what}: this node"):
        config(**REFUSED[what])
