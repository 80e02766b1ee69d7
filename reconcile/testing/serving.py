"""The embedded API server over HTTPS on loopback, with credentials of this start."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from reconcile.cluster.api_server.http import HTTPFront, admin_only
from reconcile.cluster.api_server.server import APIServer
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.http_server import Address
from reconcile.testing.envtest.credentials import Credentials, token_kubeconfig


@attrs.frozen
class Served:
    """Where the server is, and the text of a kubeconfig that reaches it as the administrator."""

    url: str
    kubeconfig: str = attrs.field(repr=False)


@asynccontextmanager
async def served(server: APIServer, address: Address, *, expose: bool = False) -> AsyncIterator[Served]:
    """Serve for as long as the body runs. Raises ConfigurationError, as ``HTTPFront``."""
    with tempfile.TemporaryDirectory(prefix="reconcile-serving-") as directory:
        credentials = Credentials.create(Path(directory), SYSTEM_CLOCK.wall())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(credentials.serving_certificate_file, credentials.serving_key_file)
        ca_pem, token = credentials.authority.certificate_pem, credentials.admin_token
    front = HTTPFront(server, SYSTEM_CLOCK, address, admin_only(token), expose=expose, tls=tls)
    await front.start()
    try:
        yield Served(front.url, token_kubeconfig(front.url, ca_pem, token, name="reconcile-embedded"))
    finally:
        await front.stop()
