"""kopf: an in-memory index of all Pods, its way to cache a resource; complete when it holds the number asked for."""

import asyncio
import sys
from typing import Any

import kopf
from measurement import SETTLE_SECONDS, Measurement

WANTED = int(sys.argv[1])


async def main() -> None:
    registry = kopf.OperatorRegistry()
    seen: set[tuple[str, str]] = set()
    complete = asyncio.Event()

    @kopf.index("pods", registry=registry)
    def pods(namespace: str, name: str, body: kopf.Body, **_: Any) -> dict[tuple[str, str], kopf.Body]:
        seen.add((namespace, name))
        if len(seen) == WANTED:
            complete.set()
        return {(namespace, name): body}

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    stop = asyncio.Event()
    measurement = Measurement.begin()
    operator = asyncio.create_task(
        kopf.operator(registry=registry, settings=settings, clusterwide=True, standalone=True, stop_flag=stop)
    )
    await complete.wait()
    measurement.end()
    await asyncio.sleep(SETTLE_SECONDS)
    measurement.report(len(seen))
    stop.set()
    await asyncio.wait([operator], timeout=10)


asyncio.run(main())
