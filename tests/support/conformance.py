"""The same requests to the embedded API server and to a real one, and their answers made comparable."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import attrs
from embedded import api_server, ask, events, watch

from reconcile.cluster.api_server.request import ANONYMOUS
from reconcile.cluster.api_server.server import APIServer
from reconcile.model import json as model_json
from reconcile.testing.envtest import ControlPlane

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@attrs.frozen
class Step:
    """One request. ``body`` and ``path`` may be made from the answers before, newest last."""

    method: str
    path: str | Callable[[list[Any]], str]
    body: Any = None
    content_type: str = "application/json"
    accept: str = "application/json"
    is_anonymous: bool = False
    settles: bool = False
    """Asked again while the answer is 404, and not compared: a real server serves new kinds after a moment."""


def get(path: Any, **options: Any) -> Step:
    return Step("GET", path, **options)


def post(path: Any, body: Any, **options: Any) -> Step:
    return Step("POST", path, body, **options)


def put(path: Any, body: Any, **options: Any) -> Step:
    return Step("PUT", path, body, **options)


def patch(path: Any, body: Any, content_type: str = MERGE, **options: Any) -> Step:
    return Step("PATCH", path, body, content_type, **options)


def delete(path: Any, body: Any = None, **options: Any) -> Step:
    return Step("DELETE", path, body, **options)


def play_embedded(server: APIServer, steps: list[Step]) -> list[Any]:
    """The answers of the embedded server, as they are."""
    answers: list[Any] = []
    for step in steps:
        path, body = _made(step, answers)
        path, _, text = path.partition("?")
        query = dict(parse_qsl(text, keep_blank_values=True))
        if query.get("watch") and query.get("timeoutSeconds"):
            found = events(watch(server, path, step.accept, **query))
            answers.append((200, found, ""))
            continue
        said = ask(
            server,
            step.method,
            path,
            body,
            content_type=step.content_type,
            accept=step.accept,
            query=query,
            **({"user": ANONYMOUS} if step.is_anonymous else {}),
        )
        answers.append((said.status, said.body, said.headers.get("warning", "")))
    return answers


def play_real(control_plane: ControlPlane, steps: list[Step]) -> list[Any]:
    """The answers of the real server."""
    answers: list[Any] = []
    rest = control_plane.rest
    connection = http.client.HTTPSConnection(rest.host, rest.port, context=rest.tls, timeout=30)
    try:
        for step in steps:
            path, body = _made(step, answers)
            headers = {"Accept": step.accept, "Content-Type": step.content_type, "User-Agent": "test/1"}
            if not step.is_anonymous:
                headers["Authorization"] = f"Bearer {rest.token}"
            raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            for attempt in range(100):
                connection.request(step.method, path, raw, headers)
                answer = connection.getresponse()
                data = answer.read()
                if not step.settles or answer.status != 404:
                    break
                time.sleep(0.02 * min(attempt, 10))
            warning = answer.getheader("Warning") or ""
            kind = answer.getheader("Content-Type") or ""
            if "watch=1" in path and answer.status == 200:
                decoded: Any = [json.loads(line) for line in data.splitlines() if line]
                decoded = [one for one in decoded if one["type"] != "BOOKMARK" or _ends_initial(one)]
            else:
                decoded = json.loads(data) if kind.startswith("application/json") else data.decode()
            answers.append((answer.status, decoded, warning))
    finally:
        connection.close()
    return answers


def _ends_initial(event: Any) -> bool:
    return bool((event["object"].get("metadata") or {}).get("annotations"))


def _made(step: Step, answers: list[Any]) -> tuple[str, Any]:
    bodies = [answer[1] for answer in answers]
    path = step.path if isinstance(step.path, str) else step.path(bodies)
    return path, step.body(bodies) if callable(step.body) else step.body


_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z")
_GO_STRUCT = re.compile(r"Invalid value: \{.*?\}: ")
"""A whole struct in a message: the real server shows its internal form, with fields that the API does not have."""
_VERSION_TEXT = re.compile(r"(record \(|precondition \(|current: |version: )[0-9]+")


class Normal:
    """Makes the answers of one conversation comparable: uids, versions, times and chance become their order."""

    def __init__(self) -> None:
        self._uids: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    def of(self, value: Any, name: str = "") -> Any:
        match value:
            case dict() if value.get("type") == "BOOKMARK":
                return "BOOKMARK"  # up to which version is the whole server's business, not this conversation's
            case dict() if ("items" in value or "rows" in value) and "resourceVersion" in value.get("metadata", ()):
                metadata = {**value["metadata"]}
                del metadata["resourceVersion"]  # as above
                return {key: self.of(item, key) for key, item in {**value, "metadata": metadata}.items()}
            case list() if name == "managedFields":
                # Of one second's writes the real server's order is that of its map, and a scale's entry has no time.
                entries = [{key: item for key, item in one.items() if key != "time"} for one in value]
                return sorted(
                    (self.of(one) for one in entries),
                    key=lambda one: (one["manager"], one["operation"], one.get("subresource", "")),
                )
            case dict():
                return {key: self.of(item, key) for key, item in value.items() if key != "description"}
            case list() | tuple():
                return [self.of(item) for item in value]
            case str() if name == "resourceVersion" and value:
                return self._versions.setdefault(value, f"version {len(self._versions)}")
            case str() if name == "continue" and value:
                token = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
                return self.of({"v": token["v"], "start": token["start"]})
            case str():
                value = _GO_STRUCT.sub("Invalid value: {…}: ", value)
                value = _UID.sub(lambda found: self._uids.setdefault(found[0], f"uid {len(self._uids)}"), value)
                value = _TIME.sub("TIME", value)
                value = re.sub(r"(continue key is not valid: ).*", r"\1…", value)  # the parsers' own words
                value = re.sub(r"\bgen-[a-z0-9]{5}\b", "gen-XXXXX", value)
                return _VERSION_TEXT.sub(r"\1N", value)
            case _:
                return value


def in_namespace(steps: list[Step], namespace: str) -> list[Step]:
    """The steps with the name of the test's namespace put in."""

    def put_in(value):
        match value:
            case str():
                return value.replace("NAMESPACE", namespace)
            case bytes():
                return value.replace(b"NAMESPACE", namespace.encode())
            case dict() | list():
                return model_json.decode(model_json.encode(value).replace(b"NAMESPACE", namespace.encode()))
            case None:
                return None
            case _:
                return lambda seen: put_in(value(seen))

    return [attrs.evolve(step, path=put_in(step.path), body=put_in(step.body)) for step in steps]


def assert_alike(steps: list[Step], control_plane: ControlPlane, namespace: str) -> None:
    """Lead the conversation with both servers, and compare every answer."""
    named = in_namespace(steps, namespace)
    server = api_server()
    play_embedded(server, [post("/api/v1/namespaces", {"metadata": {"name": namespace}})])
    ours, theirs = play_embedded(server, named), play_real(control_plane, named)
    normal_ours, normal_theirs = Normal(), Normal()
    for step, mine, real in zip(steps, ours, theirs, strict=True):
        if step.settles:
            continue
        said = f"{step.method} {step.path if isinstance(step.path, str) else '…'}"
        assert (said, normal_ours.of(mine)) == (said, normal_theirs.of(real))
