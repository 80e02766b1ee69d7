"""Reconcile: the cache of an app, filled with all Pods, in the loop that `app.run()` and `reconcile run` use."""

import asyncio
import os

import anyio
from measurement import SETTLE_SECONDS, Measurement

from reconcile import Kind, connect, load_config
from reconcile.app import run_in_loop
from reconcile.runtime.cache import Cache
from reconcile.runtime.clock import SYSTEM_CLOCK


async def main() -> None:
    async with connect(load_config(os.environ["KUBECONFIG"])) as client, anyio.create_task_group() as group:
        measurement = Measurement.begin()
        cache = Cache(client, clock=SYSTEM_CLOCK)
        pods = cache.informer(await client.resource(Kind.parse("v1/Pod")))
        group.start_soon(cache.run)
        await cache.wait_synced(120)
        measurement.end()
        await asyncio.sleep(SETTLE_SECONDS)
        measurement.report(len(pods.store))
        group.cancel_scope.cancel()


run_in_loop(main)
