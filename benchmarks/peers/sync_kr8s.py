"""kr8s: an asynchronous get of all Pods, kept by namespace and name."""

import asyncio

import kr8s
from kr8s import asyncio as kr8s_asyncio
from measurement import SETTLE_SECONDS, Measurement


async def main() -> None:
    api = await kr8s_asyncio.api()
    measurement = Measurement.begin()
    cache = {(pod.namespace, pod.name): pod async for pod in api.get("pods", namespace=kr8s.ALL)}
    measurement.end()
    await asyncio.sleep(SETTLE_SECONDS)
    measurement.report(len(cache))


asyncio.run(main())
