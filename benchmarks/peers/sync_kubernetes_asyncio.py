"""kubernetes_asyncio: a typed list of all Pods, kept by namespace and name."""

import asyncio

from kubernetes_asyncio import client, config
from measurement import SETTLE_SECONDS, Measurement


async def main() -> None:
    await config.load_kube_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        measurement = Measurement.begin()
        pods = await core.list_pod_for_all_namespaces()
        cache = {(pod.metadata.namespace, pod.metadata.name): pod for pod in pods.items}
        del pods
        measurement.end()
        await asyncio.sleep(SETTLE_SECONDS)
        measurement.report(len(cache))


asyncio.run(main())
