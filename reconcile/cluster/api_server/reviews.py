"""Resources that are asked and not stored: bindings by collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from reconcile.cluster.api_server.backend import Backend, Call
from reconcile.cluster.api_server.body import read_object
from reconcile.cluster.api_server.failure import bad_request
from reconcile.cluster.api_server.request import Answer
from reconcile.cluster.api_server.subresources import bind

Handler: TypeAlias = Callable[[Backend, Call], Answer]

HANDLERS: Mapping[str, Handler] = {}


def bind_by_collection(backend: Backend, call: Call) -> Answer:
    """POST of a Binding to ``bindings``: the Pod is named in its metadata."""
    binding = read_object(call.request, call.resource.gvk)
    name = (binding.get("metadata") or {}).get("name")
    if not name:
        raise bad_request("name must be provided")
    pods = backend.registry.find("", "v1", "pods")
    assert pods is not None  # noqa: S101  it is built in
    target = msgspec.structs.replace(call.target, plural="pods", name=name, subresource="binding")
    return bind(backend, Call(call.request, target, pods, backend.table(pods), call.now))
