"""The same request to a real API server and to the embedded one, and what of the two answers must be equal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from real_server import JSON, RealServer

from reconcile.cluster.api_server.request import Request, Response
from reconcile.cluster.api_server.server import APIServer

VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "selfLink")


class Answers(NamedTuple):
    """What the two said; ``equal`` compares what must be equal."""

    real_status: int
    real: dict[str, Any]
    embedded_status: int
    embedded: dict[str, Any]

    @property
    def is_equal(self) -> bool:
        return self.real_status == self.embedded_status and comparable(self.real) == comparable(self.embedded)

    def __str__(self) -> str:
        return (
            f"real {self.real_status}: {json.dumps(comparable(self.real))}\n"
            f"embedded {self.embedded_status}: {json.dumps(comparable(self.embedded))}"
        )


class Twins:
    """One real server and an embedded one, which start alike: with nothing but namespaces."""

    def __init__(self, real: RealServer) -> None:
        state = [0.5]

        def random() -> float:
            state[0] = (state[0] * 9301 + 0.49297) % 1
            return state[0]

        self.real = real
        self.server = APIServer(random=random, now=datetime.now(UTC))

    def request(self, method: str, path: str, body: Any = None, content_type: str = JSON, **query: str) -> Answers:
        """Both answers."""
        status, real = self.real.request(method, path, body, content_type, **query)
        embedded = self.embedded(method, path, body, content_type, **query)
        return Answers(status, real, embedded.status, json.loads(embedded.body))

    def dry_run(self, method: str, path: str, body: Any, content_type: str = JSON, **query: str) -> Answers:
        """Both answers to a write that is not kept."""
        return self.request(method, path, body, content_type, dryRun="All", **query)

    def embedded(self, method: str, path: str, body: Any = None, content_type: str = JSON, **query: str) -> Response:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method, path, dict(query), content, content_type, user_agent="conformance/1", warnings=[])
        answer = self.server.handle(request, datetime.now(UTC))
        assert isinstance(answer, Response)
        return answer


def comparable(answer: dict[str, Any]) -> Any:
    """An object without what differs from server to server; of a refusal its reason and its causes."""
    if answer.get("kind") == "Status":
        causes = (answer.get("details") or {}).get("causes") or ()
        return {
            "reason": answer.get("reason"),
            "message": "" if causes else answer.get("message"),
            "causes": sorted({(one["reason"], one.get("field", ""), told(one["message"])) for one in causes}),
        }
    text = json.dumps(answer)
    uid = answer.get("metadata", {}).get("uid")
    plain = json.loads(text.replace(uid, "UID") if uid else text)
    for name in VOLATILE:
        plain.get("metadata", {}).pop(name, None)
    status = plain.get("status")
    for condition in (status.get("conditions") or ()) if isinstance(status, dict) else ():
        condition["lastTransitionTime"] = condition.get("lastTransitionTime") is not None
    for entry in plain.get("metadata", {}).get("managedFields", ()):
        entry.pop("time", None)
    plain.get("metadata", {}).get("managedFields", []).sort(key=lambda one: json.dumps(one, sort_keys=True))
    return plain


def told(message: str) -> str:
    """A cause's message without a composite value, which a real server shows in a form of its own language."""
    composite = r'"?\{.*\}"?|\[.*\]|null|[a-z.]+\w*\{.*\}'
    message = re.sub(rf"((?:Invalid|Duplicate|Unsupported) value: )(?:{composite})(: |$)", r"\1…\2", message)
    message = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "UID", message)
    return re.sub(r"(pod updates may not change fields other than .*?\))\n.*", r"\1", message, flags=re.DOTALL)
