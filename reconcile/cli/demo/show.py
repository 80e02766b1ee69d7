"""The demo itself: a cluster, embedded or real, the service, Jobs, and a verdict."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
import yaml

from reconcile.cli.demo.progress import Row, Screen
from reconcile.cli.demo.service import Service
from reconcile.cli.demo.stand_in import StandIn
from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.cluster.api_server.server import APIServer
from reconcile.cluster.embedded import EmbeddedCluster
from reconcile.errors import ConfigurationError, ReconcileError
from reconcile.model.delta import Delta
from reconcile.model.object import Object, from_plain
from reconcile.model.patch import MergePatch
from reconcile.model.resource import Kind
from reconcile.model.write import Applied, Refused, Write
from reconcile.nodes import LocalNode, MachineError, missing_requirements
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.http_server import Address
from reconcile.runtime.informer import Informer
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig
from reconcile.testing.envtest.binaries import CONTROL_PLANE_PROGRAMS, provide_binaries
from reconcile.testing.envtest.credentials import write_private
from reconcile.testing.serving import served

NAMESPACE = "demo"
USER = "reconcile-job"
ROLE = "system:controller:job-controller"

JOBS_SECONDS_MAX = 120.0
"""The longest of the Jobs waits 10 s for its backoff; twelve times that is stuck."""

SYNC_SECONDS_MAX = 30.0
REFRESH_SECONDS = 0.25
"""How often the display is renewed while nothing happens."""


class DemoError(ReconcileError):
    """The demo did not come to its end."""


def show_embedded() -> int:
    """Run the demo on the embedded cluster, whose containers are local processes. Returns the exit status."""
    return anyio.run(_demonstrate_embedded, Screen())


async def _demonstrate_embedded(screen: Screen) -> int:
    began = SYSTEM_CLOCK.monotonic()
    screen.say("Starting an embedded cluster in this process: API server, scheduler, a node, garbage collector.")
    screen.say("Its containers are processes of this machine; with --real (make demo REAL=1) they are containers.")
    server = APIServer(random=SYSTEM_CLOCK.random, now=SYSTEM_CLOCK.wall())
    cluster = EmbeddedCluster.of_size(server, 1)
    async with served(server, Address("127.0.0.1", 0)) as front, cluster.client() as client, cluster.running():
        screen.say(f"It is ready after {SYSTEM_CLOCK.monotonic() - began:.1f} s, at {front.url}.")
        namespace = from_plain({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await _send(client, writes.create(await client.resource(namespace.kind), namespace))
        screen.say("Starting the service: reconcile run job, over HTTPS, as it would run on any cluster.")
        with tempfile.TemporaryDirectory(prefix="reconcile-demo-") as directory:
            kubeconfig = Path(directory) / "kubeconfig"
            write_private(kubeconfig, front.kubeconfig)
            return await _judged(screen, client, kubeconfig, began, has_stand_in=False)


def show(release: str | None) -> int:
    """Run the demo on a real control plane. Returns the exit status."""
    if sys.platform != "linux":
        raise ConfigurationError("the demo's control plane needs Linux; run it in a container or a virtual machine")
    return anyio.run(_demonstrate, Screen(), release)


async def _demonstrate(screen: Screen, release: str | None) -> int:
    missing = missing_requirements()
    await provide_binaries(CONTROL_PLANE_PROGRAMS, release, alongside=() if missing else ("kubelet",))
    began = SYSTEM_CLOCK.monotonic()
    screen.say("Starting a control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.")
    config = ControlPlaneConfig(release=release, controllers="*", scheduler=True)
    async with ControlPlane(config) as control_plane, contextlib.AsyncExitStack() as stack:
        screen.say(f"It is ready after {SYSTEM_CLOCK.monotonic() - began:.1f} s, at {control_plane.url}.")
        client = await stack.enter_async_context(connect(load_config(control_plane.admin_kubeconfig)))
        has_node = not missing and await _start_node(screen, control_plane, stack)
        if not has_node:
            screen.say("No node runs here: a stand-in plays Pods by writing their status. No container runs.")
            for reason in missing:
                screen.say(f"  A real node is missing this: {reason}")
        await control_plane.create_namespace(NAMESPACE)
        await _send(client, writes.create(await client.resource(_BINDING.kind), _BINDING))
        screen.say(f"Starting the service: reconcile run job, as a user with the role {ROLE} and no more.")
        kubeconfig = control_plane.kubeconfig(user=USER)
        return await _judged(screen, client, kubeconfig, began, has_stand_in=not has_node)


async def _judged(screen: Screen, client: Client, kubeconfig: Path, began: float, *, has_stand_in: bool) -> int:
    """Run the service and the Jobs, and say how they ended. Returns the exit status."""
    async with _service(kubeconfig) as service:
        rows = await _jobs(screen, client, service, has_stand_in=has_stand_in)
        stopped = await service.stop()
    screen.say("")
    screen.summary(rows)
    screen.say(
        f"The service ended with exit status {stopped}. All of it took {SYSTEM_CLOCK.monotonic() - began:.1f} s."
    )
    return 0 if stopped == 0 and all(row.is_as_expected for row in rows) else 1


_BINDING = from_plain(
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }
)


async def _start_node(screen: Screen, control_plane: ControlPlane, stack: contextlib.AsyncExitStack) -> bool:
    """Whether a real node is there. One that cannot start is said to be so."""
    began = SYSTEM_CLOCK.monotonic()
    screen.say("Starting a real node: containerd and kubelet.")
    kubelet = await control_plane.binary("kubelet")
    node = LocalNode("demo-node", kubeconfig=control_plane.admin_kubeconfig, kubelet=kubelet)
    try:
        await stack.enter_async_context(node)
        await node.start()
        await node.wait_ready()
    except (ConfigurationError, MachineError) as error:
        await node.stop()
        screen.say(f"It does not start: {error}")
        return False
    screen.say(f"It is ready after {SYSTEM_CLOCK.monotonic() - began:.1f} s.")
    return True


@contextlib.asynccontextmanager
async def _service(kubeconfig: Path) -> AsyncGenerator[Service, None]:
    service = Service()
    await service.start(kubeconfig)
    try:
        yield service
    finally:
        await service.stop()


async def _send(client: Client, write: Write) -> Object:
    match await client.send(write):
        case Applied(object=Object() as obj):
            return obj
        case Refused(error=error):
            raise error
        case other:
            raise DemoError(f"{write}: {other}")


def _manifests() -> Sequence[dict[str, Any]]:
    return list(yaml.safe_load_all(resources.files("reconcile.cli.demo").joinpath("jobs.yaml").read_text()))


async def _jobs(screen: Screen, client: Client, service: Service, *, has_stand_in: bool) -> Sequence[Row]:
    """Apply the Jobs and show them until all have ended, or the bound is over."""
    cache = Cache(client, clock=SYSTEM_CLOCK)
    jobs = cache.informer(await client.resource(Kind.parse("batch/v1/Job")))
    pods = cache.informer(await client.resource(Kind.parse("v1/Pod")))
    changes = _Changes()
    jobs.subscribe(changes)
    pods.subscribe(changes)
    manifests = _manifests()
    rows: Sequence[Row] = ()
    failure: str | None = None
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(service.follow_log)
            group.start_soon(cache.run)
            if has_stand_in:
                pods.subscribe(StandIn(client, pods.resource, SYSTEM_CLOCK, group).pods_changed)
            await cache.wait_synced(SYNC_SECONDS_MAX)
            for manifest in manifests:
                manifest["metadata"]["namespace"] = NAMESPACE
                await _send(client, writes.create(jobs.resource, from_plain(manifest)))
            screen.say(f"Applied {len(manifests)} Jobs.\n")
            deadline = SYSTEM_CLOCK.monotonic() + JOBS_SECONDS_MAX
            resumed: set[str] = set()
            while failure is None:
                rows = [_row(job, pods) for job in sorted(jobs.store.list(NAMESPACE), key=lambda one: one.name)]
                screen.update(rows, service.queue)
                await _resume(client, jobs, rows, resumed)
                if len(rows) == len(manifests) and all(row.has_ended for row in rows):
                    break
                if service.exit_status is not None:
                    failure = f"the service ended with exit status {service.exit_status}"
                elif SYSTEM_CLOCK.monotonic() > deadline:
                    failure = f"not all Jobs ended within {JOBS_SECONDS_MAX:g} s"
                await changes.wait(REFRESH_SECONDS)
                await service.read_queue()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    if failure is not None:
        raise DemoError(f"{failure}; its log ends with:\n{service.log_tail}")
    return rows


def _row(job: Object, pods: Informer) -> Row:
    return Row.of(job.to_dict(), [_pod_state(pod.to_dict()) for pod in pods.store.owned_by(job.uid)])


def _pod_state(pod: Mapping[str, Any]) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    return str(pod.get("status", {}).get("phase", "Pending"))


async def _resume(client: Client, jobs: Informer, rows: Sequence[Row], resumed: set[str]) -> None:
    """Resume, once, what the controller has suspended."""
    for row in rows:
        if row.state == "Suspended" and row.name not in resumed:
            resumed.add(row.name)
            key = next(job.key for job in jobs.store.list(NAMESPACE) if job.name == row.name)
            await _send(client, writes.patch(jobs.resource, key, MergePatch({"spec": {"suspend": False}})))


class _Changes:
    """Subscriber that wakes whoever waits."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def __call__(self, deltas: Sequence[Delta], /) -> None:  # noqa: ARG002  what changed is read from the store
        self._event.set()

    async def wait(self, seconds_max: float) -> None:
        """Until something has changed since the last call, or the time is over."""
        with anyio.move_on_after(seconds_max):
            await self._event.wait()
        self._event = anyio.Event()
