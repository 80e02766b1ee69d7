"""kopf: every Pod seen by an event handler and kept; complete when as many are held as were asked for.

Its own in-memory index (``@kopf.index``) would be the documented way, but takes time that grows with the square of the
number of objects: the handler is the quicker of the two.
"""

import asyncio
import sys
from typing import Any

import kopf
from measurement import SETTLE_SECONDS, Measurement

WANTED = int(sys.argv[1])


async def main() -> None:
    cache: dict[tuple[str, str], kopf.Body] = {}
    complete = asyncio.Event()

    @kopf.on.event("pods")
    async def pods(namespace: str, name: str, body: kopf.Body, **_: Any) -> None:
        cache[namespace, name] = body
        if len(cache) == WANTED:
            complete.set()

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    stop = asyncio.Event()
    measurement = Measurement.begin()
    operator = asyncio.create_task(kopf.operator(settings=settings, clusterwide=True, standalone=True, stop_flag=stop))
    done = asyncio.create_task(complete.wait())
    await asyncio.wait([operator, done], return_when=asyncio.FIRST_COMPLETED)
    if operator.done():
        operator.result()
        raise SystemExit("the operator ended before it had seen every Pod")
    measurement.end()
    await asyncio.sleep(SETTLE_SECONDS)
    measurement.report(len(cache))
    stop.set()
    await asyncio.wait([operator], timeout=10)


asyncio.run(main())
