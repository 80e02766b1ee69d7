"""A cluster with two real nodes on this machine: python examples/cluster_with_nodes.py, as root; Ctrl-C ends it.

kube-controller-manager runs without its Job controller, so that `reconcile run job --replace` can run the Jobs.
"""

import anyio

from reconcile.nodes import LocalNode
from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

CONFIG = ControlPlaneConfig(controllers="*,-job-controller", scheduler=True)
NAMES = ("node-1", "node-2")


async def node(control_plane: ControlPlane, name: str) -> LocalNode:
    kubeconfig = control_plane.kubeconfig(user=f"system:node:{name}", groups=["system:nodes"])
    return LocalNode(name, kubeconfig=kubeconfig, kubelet=await control_plane.binary("kubelet"))


async def run(control_plane: ControlPlane, name: str) -> None:
    async with await node(control_plane, name) as running:
        await running.start()
        await running.wait_ready()
        print(f"# {name} is ready", flush=True)
        await anyio.sleep_forever()


async def main() -> None:
    async with ControlPlane(CONFIG) as control_plane, anyio.create_task_group() as nodes:
        kubectl = await control_plane.binary("kubectl")
        print(f"export KUBECONFIG={control_plane.admin_kubeconfig} PATH={kubectl.parent}:$PATH", flush=True)
        for name in NAMES:
            nodes.start_soon(run, control_plane, name)


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        print("# everything is gone")
