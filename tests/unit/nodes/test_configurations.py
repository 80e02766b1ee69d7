"""What is written for containerd, the kubelet and the CNI plugins."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from reconcile.nodes import Taint
from reconcile.nodes.machine.containerd import Containerd
from reconcile.nodes.machine.kubelet import Kubelet
from reconcile.nodes.machine.network import conflist
from reconcile.nodes.machine.requirements import Programs

VIEW = Path("/view")
PROGRAMS = Programs(
    ctr=Path("/usr/bin/ctr"),
    containerd=Path("/usr/bin/containerd"),
    busybox=Path("/bin/busybox"),
    plugin_directory=Path("/usr/lib/cni"),
)


def kubelet(**changes) -> Kubelet:
    values = {
        "name": "n1",
        "binary": Path("/bin/kubelet"),
        "kubeconfig": Path("/etc/kubeconfig"),
        "address": "203.0.113.7",
        "port": 20001,
        "endpoint": "unix:///view/containerd.sock",
        "directory": VIEW,
        "labels": {},
        "taints": (),
        "system_reserved": {},
        "pods_max": 110,
    }
    return Kubelet(**{**values, **changes})


def test_containerd_keeps_everything_below_the_nodes_directory():
    """Root, state, socket, runc's state, network configuration: nothing is shared with another node."""
    config = tomllib.loads(Containerd(VIEW, PROGRAMS).config())
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    places = [
        config["root"],
        config["state"],
        config["grpc"]["address"],
        config["plugins"]["io.containerd.internal.v1.opt"]["path"],
        cri["cni"]["conf_dir"],
        cri["containerd"]["runtimes"]["runc"]["options"]["Root"],
    ]
    assert all(place.startswith("/view/") for place in places)
    assert len(set(places)) == len(places)
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["cni"]["bin_dir"] == "/usr/lib/cni"
    assert cri["sandbox_image"] == "local/pause:1"


def test_images_are_loaded_through_the_nodes_own_socket():
    """Where a kubelet looks for them, and not unpacked for a snapshotter that no container uses."""
    containerd = Containerd(VIEW, PROGRAMS)
    command = containerd.import_command(VIEW / "images.tar")
    assert command[:5] == ["/usr/bin/ctr", "--address", "/view/containerd.sock", "--namespace", "k8s.io"]
    assert "--no-unpack" in command
    assert containerd.endpoint == "unix:///view/containerd.sock"


def test_the_kubelet_listens_on_the_nodes_address_only():
    """Its API is open to whoever reaches it, so it must not be reachable from the network."""
    config = json.loads(kubelet().config())
    assert (config["address"], config["port"]) == ("203.0.113.7", 20001)
    assert (config["healthzPort"], config["readOnlyPort"]) == (0, 0)
    assert "--node-ip=203.0.113.7" in kubelet().command(VIEW / "kubelet.json")


def test_the_kubelet_leaves_the_machine_alone():
    """No cgroups at the root, no firewall rules, no demand on swap, no eviction for a full disk of somebody else."""
    config = json.loads(kubelet().config())
    assert config["cgroupsPerQOS"] is False
    assert config["enforceNodeAllocatable"] == []
    assert config["makeIPTablesUtilChains"] is False
    assert config["failSwapOn"] is False
    assert config["evictionHard"]["nodefs.available"] == "0%"


def test_what_the_caller_asks_for_reaches_the_kubelet():
    """Labels by flag, the rest by configuration."""
    asked = kubelet(
        labels={"zone": "a", "example.com/pool": "small"},
        taints=(Taint("dedicated", "NoSchedule", "jobs"), Taint("new", "NoExecute")),
        system_reserved={"cpu": "1500m"},
        pods_max=7,
    )
    config = json.loads(asked.config())
    assert config["registerWithTaints"] == [
        {"key": "dedicated", "value": "jobs", "effect": "NoSchedule"},
        {"key": "new", "value": "", "effect": "NoExecute"},
    ]
    assert (config["systemReserved"], config["maxPods"]) == ({"cpu": "1500m"}, 7)
    assert "--node-labels=zone=a,example.com/pool=small" in asked.command(VIEW / "kubelet.json")


def test_no_labels_and_no_taints_are_not_mentioned():
    """An empty --node-labels is an error to the kubelet, and an empty registerWithTaints would still be a value."""
    assert not any(argument.startswith("--node-labels") for argument in kubelet().command(VIEW / "kubelet.json"))
    assert "registerWithTaints" not in json.loads(kubelet().config())


def test_the_network_takes_its_addresses_from_the_nodes_subnet():
    """Each node has a subnet of its own."""
    network = json.loads(conflist("127.9.0.0/16"))
    [plugin] = network["plugins"]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "127.9.0.0/16"}]]
    assert plugin["ipMasq"] is False
