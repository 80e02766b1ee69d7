"""A connection to a real API server that is kept open: hundreds of requests a second, for differential tests."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from typing import Any

from reconcile.testing.envtest import Rest

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class RealServer:
    """Requests as the administrator, one after the other. Its answers are not errors but what is compared."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = JSON, **query: str
    ) -> tuple[int, dict[str, Any]]:
        """The status and the decoded answer."""
        if query:
            path = f"{path}?{urllib.parse.urlencode(query)}"
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Accept": JSON, "Authorization": f"Bearer {self._rest.token}", "User-Agent": "conformance/1"}
        if sent is not None:
            headers["Content-Type"] = content_type
        connection = self._connect()
        connection.request(method, path, sent, headers)
        response = connection.getresponse()
        content = response.read()
        if (response.getheader("Content-Type") or "").startswith(JSON):
            return response.status, json.loads(content)
        return response.status, {"kind": "Status", "message": content.decode(errors="replace")}

    def dry_run(
        self, method: str, path: str, body: Any, content_type: str = JSON, **query: str
    ) -> tuple[int, dict[str, Any]]:
        """The answer to a write that is not kept."""
        return self.request(method, path, body, content_type, dryRun="All", **query)

    def _connect(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._rest.host, self._rest.port, context=self._rest.tls, timeout=30
            )
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._connection
