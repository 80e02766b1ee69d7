"""lightkube: an asynchronous list of all Pods, kept by namespace and name."""

import asyncio

from lightkube import ALL_NS, AsyncClient
from lightkube.resources.core_v1 import Pod
from measurement import SETTLE_SECONDS, Measurement


async def main() -> None:
    client = AsyncClient()
    measurement = Measurement.begin()
    cache = {(pod.metadata.namespace, pod.metadata.name): pod async for pod in client.list(Pod, namespace=ALL_NS)}
    measurement.end()
    await asyncio.sleep(SETTLE_SECONDS)
    measurement.report(len(cache))


asyncio.run(main())
