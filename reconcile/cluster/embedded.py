"""The embedded cluster: an API server and what makes it a cluster, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import attrs

from reconcile.client.api import Client
from reconcile.cluster.api_server.memory import memory_transport
from reconcile.cluster.api_server.server import APIServer
from reconcile.cluster.garbage_collector.collector import GarbageCollector
from reconcile.cluster.namespace_controller import NamespaceController
from reconcile.cluster.node_agent.agent import NodeAgent
from reconcile.cluster.node_agent.node import NodeConfig
from reconcile.cluster.node_lifecycle import NodeLifecycle
from reconcile.cluster.runtimes.process import ProcessRuntime
from reconcile.cluster.runtimes.runtime import Runtime
from reconcile.cluster.scheduler.scheduler import Scheduler
from reconcile.errors import ConfigurationError
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock

__all__ = ["NODES_MAX", "EmbeddedCluster"]

NODES_MAX = 100
"""Each has its own part of the loopback addresses."""


class _Part(Protocol):
    async def run(self) -> None: ...


@attrs.frozen(kw_only=True)
class EmbeddedCluster:
    """An API server in this process, a scheduler, and nodes that run Pods.

    Attributes:
        server: the API server; reach it through ``client``, or give it to an ``HTTPFront``.
        nodes: one node agent each, with a runtime of its own.
        runtime: makes a node's runtime.
    """

    server: APIServer
    nodes: Sequence[NodeConfig] = (NodeConfig("node-0"),)
    runtime: Callable[[Clock], Runtime] = ProcessRuntime
    clock: Clock = SYSTEM_CLOCK

    @classmethod
    def of_size(cls, server: APIServer, nodes: int) -> EmbeddedCluster:
        """With so many nodes alike. Raises ConfigurationError."""
        if not 0 <= nodes <= NODES_MAX:
            raise ConfigurationError(f"{nodes} nodes: want a number from 0 to {NODES_MAX}")
        return cls(server=server, nodes=tuple(NodeConfig(f"node-{number}", number) for number in range(nodes)))

    def client(self, name: str = "embedded") -> Client:
        """A client through memory, as the administrator. Close it with ``async with``."""
        return Client(memory_transport(self.server, self.clock, user_agent=name), name=name)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything beside the API server runs for as long as the body; without nodes that is nothing."""
        if not self.nodes:
            yield
            return
        parts: list[_Part] = [
            Scheduler(self.client("scheduler"), self.clock),
            NodeLifecycle(self.client("node-lifecycle"), self.clock),
            GarbageCollector(self.client("garbage-collector"), self.clock),
            NamespaceController(self.client("namespace-controller"), self.clock),
        ]
        for config in self.nodes:
            runtime = self.runtime(self.clock)
            parts += [runtime, NodeAgent(self.client(f"node-{config.name}"), runtime, config, self.clock)]
        try:
            async with anyio.create_task_group() as group:
                for part in parts:
                    group.start_soon(part.run)
                yield
                group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the body's own error, or that of the part which ended the others
