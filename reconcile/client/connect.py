"""From a configuration to a client: the one line that a second cluster costs."""

from __future__ import annotations

from urllib.parse import urlsplit

from reconcile.client.api import Client
from reconcile.client.clock import LOOP_CLOCK, Clock
from reconcile.client.config import ClusterConfig
from reconcile.client.kubernetes_transport import KubernetesTransport
from reconcile.instrumentation.hooks import Hooks


def connect(
    config: ClusterConfig, *, hooks: Hooks | None = None, user_agent: str = "", clock: Clock = LOOP_CLOCK
) -> Client:
    """A client of the cluster. Nothing is sent before the first request.

    Args:
        config: from ``load_config`` or made by hand.
        hooks: who hears of each request.
        user_agent: how the server's logs and its flow control know us; ``reconcile/VERSION`` if empty.
        clock: monotonic seconds, waiting and jitter.

    Raises:
        ConfigurationError: a proxy that cannot be used. Certificates are read with the first request.
    """
    transport = KubernetesTransport(config, clock, user_agent=user_agent)
    return Client(transport, hooks=hooks, clock=clock, name=urlsplit(config.server).netloc)
