"""Serving: the probes and the metrics of one manager, where they were asked for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from reconcile.instrumentation.hooks import Hooks
from reconcile.instrumentation.metric import Metric
from reconcile.instrumentation.reading import Collector
from reconcile.runtime.health import Health
from reconcile.runtime.http_server import Address, Answer, HTTPServer, loopback_only

if TYPE_CHECKING:
    from reconcile.instrumentation.prometheus import Metrics

Observers = tuple[Callable[[float], None] | None, Callable[[float], None] | None]
"""What a queue calls with the seconds that a key waited, and with those that it was worked on."""


class Serving:
    """Two binds, each off unless it has an address.

    Args:
        health: the checks behind ``/healthz`` and ``/readyz``.
        health_bind_address: ``host:port`` of the probes; any interface will do, they tell no cluster data.
        metrics_bind_address: ``host:port`` of ``/metrics``; loopback only.
        collector: gives the readings of each scrape.
        metrics: what the controllers measure themselves.
    """

    def __init__(
        self,
        health: Health,
        *,
        health_bind_address: str | None,
        metrics_bind_address: str | None,
        hooks: Hooks,
        collector: Collector,
        metrics: Iterable[Metric] = (),
    ) -> None:
        self._health = health
        self._health_bind_address = health_bind_address
        self._metrics_bind_address = metrics_bind_address
        self._hooks = hooks
        self._collector = collector
        self._declared = metrics
        self._metrics: Metrics | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Bound and answering for as long as the body runs. Raises ConfigurationError for an address that cannot be."""
        async with contextlib.AsyncExitStack() as stack:
            if self._health_bind_address is not None:
                address = Address.parse(self._health_bind_address, flag="--health-bind-address")
                await self._start(stack, HTTPServer("probes", address, self._health.routes()))
            if self._metrics_bind_address is not None:
                flag = "--metrics-bind-address"
                address = loopback_only(Address.parse(self._metrics_bind_address, flag=flag), flag=flag)
                metrics = self._metrics = self._measure()

                def render(_query: Mapping[str, str]) -> Answer:
                    return Answer(200, metrics.render(), "text/plain; version=0.0.4; charset=utf-8")

                await self._start(stack, HTTPServer("metrics", address, {"/metrics": render}))
            yield

    def observers(self, queue: str) -> Observers:
        """For the queue of that name; None each where nothing is measured."""
        return (None, None) if self._metrics is None else self._metrics.queue_observer(queue, queue)

    @staticmethod
    async def _start(stack: contextlib.AsyncExitStack, server: HTTPServer) -> None:
        await server.start()
        stack.push_async_callback(server.stop)

    def _measure(self) -> Metrics:
        from reconcile.instrumentation.prometheus import Metrics  # noqa: PLC0415  20 ms, only where something is served

        metrics = Metrics()
        for metric in self._declared:
            metrics.declare(metric)
        self._hooks.add(metrics.hook)
        metrics.add_collector(self._collector)
        return metrics
