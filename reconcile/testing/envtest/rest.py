"""A few plain requests to a control plane: blocking, without an event loop, as whoever the TLS context says.

The fixtures use it to make namespaces; it is no client for controllers (``reconcile.client`` is).
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any

import attrs

from reconcile.errors import Status, api_error
from reconcile.testing.envtest.credentials import Credentials

__all__ = ["Rest"]

_TIMEOUT_SECONDS = 10.0
"""One request to an idle server on loopback takes milliseconds; ten seconds outlast a garbage collection."""


@attrs.frozen
class Rest:
    """Requests to the server on ``host:port``, with a bearer token, or as nobody."""

    host: str
    port: int
    tls: ssl.SSLContext = attrs.field(repr=False)
    token: str | None = attrs.field(repr=False)

    @classmethod
    def to(cls, port: int, credentials: Credentials) -> Rest:
        """To the API server on ``port``, as the administrator."""
        return attrs.evolve(cls.anonymous(port, credentials), token=credentials.admin_token)

    @classmethod
    def anonymous(cls, port: int, credentials: Credentials) -> Rest:
        """To whatever serves on ``port`` with a certificate of this control plane, as nobody."""
        tls = ssl.create_default_context(cafile=str(credentials.ca_file))
        return cls("127.0.0.1", port, tls, token=None)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request; the answer as decoded JSON, or as text where it is none.

        Raises:
            ApiError: the server refused.
            OSError: there was no answer (``ssl.SSLError``: from somebody else's server).
        """
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=_TIMEOUT_SECONDS)
        headers = {"Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            raw = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        is_json = (response.getheader("Content-Type") or "").startswith("application/json")
        if response.status >= 400:
            answer = (
                json.loads(raw) if is_json else {"reason": response.reason, "message": raw.decode(errors="replace")}
            )
            status = Status(
                code=response.status, reason=answer.get("reason", ""), message=answer.get("message", "").strip()
            )
            raise api_error(f"{method} {path}", status)
        return json.loads(raw) if is_json else raw.decode(errors="replace")
