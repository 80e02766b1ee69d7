"""kopf: an in-memory index of all Pods, its way to cache a resource; complete when it holds the number asked for."""

import asyncio
import sys
from typing import Any

import kopf
from measurement import SETTLE_SECONDS, Measurement

WANTED = int(sys.argv[1])


async def main() -> None:
    seen: set[tuple[str, str]] = set()
    complete = asyncio.Event()

    @kopf.index("pods")
    def pods(namespace: str, name: str, body: kopf.Body, **_: Any) -> dict[tuple[str, str], kopf.Body]:
        seen.add((namespace, name))
        if len(seen) == WANTED:
            complete.set()
        return {(namespace, name): body}

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    stop = asyncio.Event()
    measurement = Measurement.begin()
    operator = asyncio.create_task(kopf.operator(settings=settings, clusterwide=True, standalone=True, stop_flag=stop))
    done = asyncio.create_task(complete.wait())
    await asyncio.wait([operator, done], return_when=asyncio.FIRST_COMPLETED)
    if operator.done():
        operator.result()
        raise SystemExit("the operator ended before its index was complete")
    measurement.end()
    await asyncio.sleep(SETTLE_SECONDS)
    measurement.report(len(seen))
    stop.set()
    await asyncio.wait([operator], timeout=10)


asyncio.run(main())
