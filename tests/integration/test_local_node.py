"""Real nodes on a real control plane: kubelet, containerd, runc, and what is left of them afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
import pytest_asyncio
from node_cluster import local_node, shared_control_plane

from reconcile.client.api import Client
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.client.transport import HTTPRequest
from reconcile.errors import ConfigurationError, NotFoundError, UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.resource import Kind, Resource
from reconcile.nodes import LocalNode, MachineError, Taint
from reconcile.nodes.machine.registration import NODES
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

pytestmark = [pytest.mark.nodes, pytest.mark.asyncio]

PODS = Resource(Kind("", "v1", "Pod"), "pods")
SECONDS_MAX = 60.0

CONTROLLERS = (
    "node-lifecycle-controller",  # takes the taint off a ready node
    "serviceaccount-controller",  # a Pod is refused without its ServiceAccount
    "root-ca-certificate-publisher-controller",  # a Pod's volume of credentials holds the cluster's certificate
)
CONFIG = ControlPlaneConfig(controllers=",".join(CONTROLLERS), scheduler=True)


@pytest.fixture(scope="module")
def cluster(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of these tests' own (Pods of others must not land on our nodes), shared by all workers."""
    with shared_control_plane(CONFIG, "nodes", pytestconfig, tmp_path_factory) as control_plane:
        yield control_plane


@pytest_asyncio.fixture
async def client(cluster: ControlPlane) -> AsyncIterator[Client]:
    async with connect(load_config(cluster.admin_kubeconfig)) as client:
        yield client


@pytest_asyncio.fixture
async def space(cluster: ControlPlane) -> AsyncIterator[str]:
    """A namespace of the test's own, which is also the name of its first node."""
    name = f"node-{os.urandom(4).hex()}"
    await cluster.create_namespace(name)
    yield name
    cluster.rest.request("DELETE", f"/api/v1/namespaces/{name}")


async def create_pod(client: Client, namespace: str, name: str, node: str, *command: str, **spec: Any) -> ObjectKey:
    pod = {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "busybox:1", "command": list(command)}],
            **spec,
        },
    }
    await client.request(HTTPRequest("POST", f"/api/v1/namespaces/{namespace}/pods", body=json.dumps(pod).encode()))
    return ObjectKey(namespace, name)


async def until(client: Client, key: ObjectKey, is_true: Callable[[Object], bool]) -> Object:
    """The Pod, as soon as it is as it should be."""
    seen: Object | None = None
    try:
        with anyio.fail_after(SECONDS_MAX):
            watch = client.watch(
                PODS, namespace=key.namespace, field_selector=f"metadata.name={key.name}", resource_version="0"
            )
            async with watch as stream:
                async for events in stream:
                    for event in events:
                        seen = getattr(event, "object", seen)
                    if seen is not None and is_true(seen):
                        return seen
    except TimeoutError:
        pytest.fail(f"{key}: {seen and seen.field('status')}")
    raise AssertionError("the watch ended")


def phase(*phases: str) -> Callable[[Object], bool]:
    return lambda pod: pod.field("status").get("phase") in phases


def is_ready(pod: Object) -> bool:
    conditions = pod.field("status").get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def all_processes() -> list[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


def namespaces_of(pid: str) -> set[str]:
    """Its PID, mount and network namespaces; nothing of a process that has just ended."""
    links: set[str] = set()
    for kind in ("pid", "mnt", "net"):
        with contextlib.suppress(OSError):
            links.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
    return links


def name_of(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def descendants(pid: str) -> list[str]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += thread.read_text().split()
    return found


class Traces:
    """What a running node can be known by, noted while it runs, looked for when it should be gone."""

    def __init__(self, supervisor: int, directory: Path) -> None:
        [inner] = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        self.directory = directory
        members = descendants(inner)
        self.programs = {name_of(pid) for pid in members}
        self.namespaces = {link for pid in members for link in namespaces_of(pid)} - namespaces_of("self")
        self.containers = {path.name for path in directory.glob("runc/k8s.io/*")}
        config = json.loads((directory / "kubelet.json").read_text())
        self.address: str = config["address"]
        self.pod_prefix = f"127.{self.address.rpartition('.')[2]}."

    def processes(self) -> list[str]:
        """Processes in a namespace of the node's own, or of one of its containers."""
        return [pid for pid in all_processes() if namespaces_of(pid) & self.namespaces]

    def remaining(self) -> list[str]:
        """Everything of the node that is still there."""
        left = [f"process {pid} {name_of(pid)}" for pid in self.processes()]
        if self.directory.exists():
            left.append(f"directory {self.directory}")
        left += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.directory) in line]
        ip = subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout
        ip += subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True, text=True, check=True).stdout
        pattern = rf".*\b(?:{re.escape(self.address)}|{re.escape(self.pod_prefix)}\d+\.\d+)\b.*"
        left += [line.strip() for line in re.findall(pattern, ip)]
        left += [
            f"cgroup {path}/{name}"
            for path, names, _ in os.walk("/sys/fs/cgroup")
            for name in names
            if name in self.containers
        ]
        return left

    def assert_nothing_is_left(self) -> None:
        """The kernel takes a network namespace down a moment after its last process: that is waited for."""
        deadline = time.monotonic() + 10.0
        while left := self.remaining():
            if time.monotonic() > deadline:
                pytest.fail("left: " + "\n".join(left))
            select.select([], [], [], 0.02)


def traces_of(node: LocalNode) -> Traces:
    return Traces(node._running.pid, node.directory)


def kernel_settings() -> dict[str, str]:
    names = ("net/ipv4/ip_forward", "kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory")
    return {name: Path("/proc/sys", name).read_text() for name in names}


async def test_a_node_gets_ready_runs_pods_and_leaves_nothing(
    cluster: ControlPlane, client: Client, space: str, capsys: pytest.CaptureFixture[str]
):
    """The whole life: Ready, a Pod that fails with 3, one that succeeds, one that runs, logs; then nothing is left."""
    settings = kernel_settings()
    started = time.monotonic()
    async with await local_node(cluster, space) as node:
        await node.start()
        await node.wait_ready(timeout_seconds=SECONDS_MAX)
        with capsys.disabled():
            print(f"\nReady after {time.monotonic() - started:.2f} s", end=" ")

        fails = await create_pod(client, space, "fails", space, "sh", "-c", "echo said; exit 3")
        succeeds = await create_pod(client, space, "succeeds", space, "true")
        probed = {"name": "main", "image": "busybox:1", "command": ["sleep", "1000"]}
        probed["readinessProbe"] = {"exec": {"command": ["true"]}, "periodSeconds": 1}
        runs = await create_pod(client, space, "runs", space, containers=[probed])
        failed = await until(client, fails, phase("Failed", "Succeeded"))
        [container] = failed.field("status")["containerStatuses"]
        assert container["state"]["terminated"]["exitCode"] == 3
        assert failed.field("status")["phase"] == "Failed"
        await until(client, succeeds, phase("Succeeded"))
        await until(client, runs, is_ready)

        log = await client.request(HTTPRequest("GET", f"/api/v1/namespaces/{space}/pods/fails/log", accept="*/*"))
        assert log.body == b"said\n"

        traces = traces_of(node)
        assert {"kubelet", "containerd", "containerd-shim", "sleep"} <= traces.programs
        assert traces.containers
        assert any(link.startswith("net:") for link in traces.namespaces)
        found = "\n".join(traces.remaining())
        signs = ("process", "directory", "cgroup", traces.address, traces.pod_prefix)
        assert [sign for sign in signs if sign not in found] == []
        assert kernel_settings() == settings
        await node.stop()
    traces.assert_nothing_is_left()
    assert (await client.get(NODES, ObjectKey("", space))).name == space

    await node.stop(delete_with=cluster.admin_kubeconfig)
    with pytest.raises(NotFoundError):
        await client.get(NODES, ObjectKey("", space))


OWNER = """
import sys, anyio
from pathlib import Path
from reconcile.nodes import LocalNode

async def main():
    name, kubeconfig, kubelet, directory = sys.argv[1:]
    node = LocalNode(name, kubeconfig=Path(kubeconfig), kubelet=Path(kubelet), directory=Path(directory))
    await node.start()
    await node.wait_ready()
    print(node._running.pid, flush=True)
    await anyio.wait_readable(sys.stdin)  # until the test that started this process is gone

anyio.run(main)
"""


class Owner:
    """Another process that owns a node."""

    def __init__(self, cluster: ControlPlane, name: str, kubelet: Path, directory: Path) -> None:
        kubeconfig = cluster.kubeconfig(user=f"system:node:{name}", groups=["system:nodes"])
        self._process = subprocess.Popen(
            [sys.executable, "-c", OWNER, name, str(kubeconfig), str(kubelet), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.supervisor = int(self._process.stdout.readline())
        self._end = os.pidfd_open(self.supervisor)

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.signal(signal.SIGKILL)
        os.close(self._end)

    def kill_supervisor(self) -> None:
        os.kill(self.supervisor, signal.SIGKILL)

    def wait_for_the_supervisor(self) -> None:
        readable, _, _ = select.select([self._end], [], [], SECONDS_MAX)
        assert readable, "the supervisor lives on"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "Ctrl-C"])
async def test_the_end_of_the_owner_leaves_nothing(
    cluster: ControlPlane, client: Client, space: str, tmp_path: Path, number: signal.Signals
):
    """A test run that is killed runs no clean-up of its own, and Ctrl-C reaches its whole process group."""
    kubelet = await cluster.binary("kubelet")
    with Owner(cluster, space, kubelet, tmp_path / "node") as owner:
        await until(client, await create_pod(client, space, "runs", space, "sleep", "1000"), phase("Running"))
        traces = Traces(owner.supervisor, tmp_path / "node")
        assert {"kubelet", "containerd", "sleep"} <= traces.programs
        owner.signal(number)
        owner.wait_for_the_supervisor()
    traces.assert_nothing_is_left()


async def test_the_next_node_removes_what_a_killed_supervisor_left(
    cluster: ControlPlane, client: Client, space: str, tmp_path: Path
):
    """With the supervisor killed too, the kernel ends the processes at once, and the next node removes the rest."""
    kubelet = await cluster.binary("kubelet")
    with Owner(cluster, space, kubelet, tmp_path / "node") as owner:
        await until(client, await create_pod(client, space, "runs", space, "sleep", "1000"), phase("Running"))
        traces = Traces(owner.supervisor, tmp_path / "node")
        owner.kill_supervisor()
        owner.wait_for_the_supervisor()
    assert traces.directory.exists()
    # Nodes are started until one has that slot: others, of tests that run beside this one, may hold lower ones.
    nodes: list[LocalNode] = []
    try:
        while traces.directory.exists():
            nodes.append(await local_node(cluster, f"{space}-{len(nodes)}", directory=tmp_path / f"next-{len(nodes)}"))
            await nodes[-1].start()
    finally:
        for node in nodes:
            await node.stop()
    traces.assert_nothing_is_left()


async def test_a_node_that_dies_stays_registered_and_leaves_nothing(cluster: ControlPlane, client: Client, space: str):
    """``kill`` is the machine's sudden death: containers get no SIGTERM, and the Node does not hear of it."""
    node = await local_node(cluster, space)
    await node.start()
    await node.wait_ready(timeout_seconds=SECONDS_MAX)
    await until(client, await create_pod(client, space, "runs", space, "sleep", "1000"), phase("Running"))
    traces = traces_of(node)
    node.kill()
    await node.stop()
    traces.assert_nothing_is_left()
    assert (await client.get(PODS, ObjectKey(space, "runs"))).field("status")["phase"] == "Running"

    # And it comes back under the same name; what its former life had reported is not taken for its own.
    async with await local_node(cluster, space) as again:
        await again.start()
        await again.wait_ready(timeout_seconds=SECONDS_MAX)
        port = json.loads((again.directory / "kubelet.json").read_text())["port"]
        reported = (await client.get(NODES, ObjectKey("", space))).field("status")
        assert reported["daemonEndpoints"]["kubeletEndpoint"]["Port"] == port


async def test_two_nodes_run_side_by_side_as_they_were_asked_to(cluster: ControlPlane, client: Client, space: str):
    """Own addresses, labels, taints and capacity; a Pod runs on each."""
    second = f"{space}-b"
    taint = Taint("dedicated", "NoSchedule", "tests")
    async with (
        await local_node(cluster, space, labels={"example.com/pool": "small"}, system_reserved={"cpu": "1"}) as one,
        await local_node(cluster, second, taints=[taint], max_pods=5) as other,
    ):
        async with anyio.create_task_group() as group:
            for node in (one, other):
                group.start_soon(node.start)
        for node in (one, other):
            await node.wait_ready(timeout_seconds=SECONDS_MAX)
        small = await client.get(NODES, ObjectKey("", space))
        dedicated = await client.get(NODES, ObjectKey("", second))
        assert small.labels["example.com/pool"] == "small"
        capacity, allocatable = (small.field("status")[name]["cpu"] for name in ("capacity", "allocatable"))
        assert int(allocatable) == int(capacity) - 1
        assert taint.to_plain() in dedicated.field("spec")["taints"]
        assert dedicated.field("status")["capacity"]["pods"] == "5"
        addresses = {node.field("status")["addresses"][0]["address"] for node in (small, dedicated)}
        assert len(addresses) == 2

        pods = [
            await create_pod(client, space, "one", space, "true"),
            await create_pod(client, space, "other", second, "true", tolerations=[{"operator": "Exists"}]),
        ]
        for pod, name in zip(pods, (space, second), strict=True):
            assert (await until(client, pod, phase("Succeeded"))).field("spec")["nodeName"] == name


async def test_a_kubelet_that_gives_up_is_quoted(cluster: ControlPlane, space: str):
    """The error says what the kubelet said, and nothing of the node is left."""
    node = await local_node(cluster, space, labels={"kubernetes.io/forbidden": "x"})
    async with node:
        await node.start()
        directory = node.directory
        with pytest.raises(MachineError, match=r"(?s)kubelet ended with 1: .*kubernetes.io/forbidden"):
            await node.wait_ready(timeout_seconds=SECONDS_MAX)
    assert not directory.exists()


async def test_a_node_that_does_not_get_ready_says_what_was_missing(cluster: ControlPlane, space: str):
    """The API server's view and the kubelet's own last words."""
    async with await local_node(cluster, space) as node:
        await node.start()
        with pytest.raises(MachineError, match=r"is not ready after 0\.001 s: .*it has not registered.*kubelet says"):
            await node.wait_ready(timeout_seconds=0.001)


async def test_what_cannot_be_started_is_refused_in_plain_words(cluster: ControlPlane, space: str, tmp_path: Path):
    """Bad arguments and bad order are errors that name the node and the thing."""
    node = await local_node(cluster, space, directory=tmp_path / "node")
    with pytest.raises(UsageError, match=f"node {space} is not running; start it first"):
        node.kill()
    missing = LocalNode(space, kubeconfig=tmp_path / "none", kubelet=tmp_path / "none")
    with pytest.raises(ConfigurationError, match=f"node {space}: kubeconfig .*/none is not a file"):
        await missing.start()
    own = Path("/var/lib/kubelet/kubeconfig")
    if own.parent.is_dir() and not own.exists():
        own.write_text("")
        try:
            with pytest.raises(ConfigurationError, match="would be hidden by the node's own directory"):
                await LocalNode(space, kubeconfig=own, kubelet=tmp_path / "none").start()
        finally:
            own.unlink()
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "precious").write_text("data")
    with pytest.raises(ConfigurationError, match="is not empty"):
        await node.start()
    (tmp_path / "node" / "precious").unlink()
    async with node:
        await node.start()
        with pytest.raises(UsageError, match="started twice"):
            await node.start()
    assert not (tmp_path / "node").exists()
    await node.stop()
