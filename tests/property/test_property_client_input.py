"""What comes from outside is decoded or refused in the declared way, whatever it is."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconcile.client import answers, codec, exec_plugin, proxy
from reconcile.client.codec import ListPage
from reconcile.client.config import ClusterConfig, load_config
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import ApiError, ConfigurationError, DecodeError, TransportError
from reconcile.model.object import Object
from reconcile.model.resource import Kind
from reconcile.model.watch_event import Bookmark, Deleted, ServerError, Undecodable, Upserted

POD = Kind("", "v1", "Pod")

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False)
NAMES = st.sampled_from(
    [
        "name",
        "namespace",
        "metadata",
        "labels",
        "resourceVersion",
        "annotations",
        "items",
        "kind",
        "code",
        "details",
        "continue",
        "causes",
        "message",
        "apiVersion",
        "finalizers",
        "ownerReferences",
    ]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=5)
)
TYPES = st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "OTHER"])


@given(
    st.binary(max_size=200)
    | st.builds(lambda kind, value: json.dumps({"type": kind, "object": value}).encode(), TYPES, JSON)
)
def test_any_line_is_an_event_or_quarantined(line: bytes) -> None:
    """Never an exception that ends the watch; objects have names."""
    event = codec.decode_event(line, POD)
    assert isinstance(event, Upserted | Deleted | Bookmark | ServerError | Undecodable)
    if isinstance(event, Upserted | Deleted):
        assert event.object.name


@given(st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), JSON))
def test_any_page_is_decoded_or_refused(body: bytes) -> None:
    """DecodeError and nothing else; every item is an object or quarantined."""
    try:
        objects, bad = ListPage(body, POD).decode()
    except DecodeError:
        return
    items = json.loads(body).get("items") or []
    assert len(items) == len(objects) + len(bad)
    assert all(isinstance(obj, Object) for obj in objects)


@given(
    status=st.integers(200, 599),
    body=st.binary(max_size=100) | st.builds(lambda value: json.dumps(value).encode(), JSON),
    content_type=st.sampled_from(
        ["application/json", "text/plain", "text/html", "", "application/json; charset=utf-8"]
    ),
    retry_after=st.text(max_size=12),
    method=st.sampled_from(["GET", "POST", "PATCH"]),
)
def test_any_answer_is_read_in_the_declared_way(
    status: int, body: bytes, content_type: str, retry_after: str, method: str
) -> None:
    """TransportError or ApiError; nobody waits longer than a minute for whatever was asked."""
    request = HTTPRequest(method, "/x")
    response = HTTPResponse(status, {"content-type": content_type, "retry-after": retry_after}, body)
    wait = answers.retry_after(request, response)
    assert wait is None or 0 <= wait <= answers.RETRY_AFTER_SECONDS_MAX
    try:
        answers.check(request, response)
    except TransportError:
        return
    if status >= 400:
        error = answers.error_of(request, response)
        assert isinstance(error, ApiError)
        assert error.code == status
        assert error.retry_after_seconds is None or 0 <= error.retry_after_seconds <= answers.RETRY_AFTER_SECONDS_MAX
        assert answers.may_have_been_executed(response, error) in {True, False}


FIELDS = st.sampled_from(
    [
        "name",
        "cluster",
        "user",
        "server",
        "token",
        "tokenFile",
        "exec",
        "command",
        "args",
        "env",
        "as",
        "as-groups",
        "certificate-authority-data",
        "client-certificate-data",
        "client-key-data",
        "auth-provider",
        "config",
        "proxy-url",
        "apiVersion",
        "username",
        "insecure-skip-tls-verify",
        "extensions",
        "idp-certificate-authority-data",
    ]
)
TEXTS = st.sampled_from(
    ["", "a", "https://a", "https://a:b", "http://[", "client.authentication.k8s.io/v1", "oidc", "AAAA"]
)
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5)
)
PART = st.dictionaries(FIELDS, VALUES, max_size=6)


@given(
    cluster=PART | VALUES, user=PART | VALUES, context=PART | VALUES, more=st.dictionaries(FIELDS, VALUES, max_size=2)
)
def test_any_kubeconfig_is_a_configuration_or_a_configuration_error(
    cluster: Any, user: Any, context: Any, more: dict[str, Any]
) -> None:
    """No other exception for whatever the file holds."""
    if isinstance(context, dict):
        context = {"cluster": "a", "user": "a", **context}
    if isinstance(cluster, dict):
        cluster = {"server": "https://a", **cluster}
    document = {
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": context}],
        **more,
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config"
        path.write_text(json.dumps(document))
        said = str(path)
        try:
            assert isinstance(load_config(path), ClusterConfig)
        except ConfigurationError as error:
            said = str(error)
        assert str(path) in said


@given(st.text(max_size=60), st.text(max_size=40))
def test_any_proxy_environment_is_used_or_refused(url: str, no_proxy: str) -> None:
    """Environments hold anything."""
    with contextlib.suppress(ConfigurationError):
        proxy.proxy_for("https://10.0.0.1:6443", environ={"HTTPS_PROXY": url, "NO_PROXY": no_proxy})


@given(st.text(max_size=200), st.from_regex(r"[A-Za-z0-9+/_.-]{20,60}", fullmatch=True))
def test_what_looks_like_a_secret_is_never_shown(before: str, secret: str) -> None:
    """Wherever it stands in what a plugin says."""
    assert secret not in exec_plugin.redact(f"{before} {secret} and so on")
