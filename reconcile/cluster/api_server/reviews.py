"""Resources that are asked and not stored: who may do what, and bindings by collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from reconcile.cluster.api_server import semantics
from reconcile.cluster.api_server.backend import Backend, Call
from reconcile.cluster.api_server.body import read_object
from reconcile.cluster.api_server.failure import bad_request
from reconcile.cluster.api_server.request import Answer, Response, Target, User
from reconcile.cluster.api_server.subresources import bind
from reconcile.model import json

Handler: TypeAlias = Callable[[Backend, Call], Answer]


def _may_i(backend: Backend, call: Call) -> Answer:
    """``SelfSubjectAccessReview``: may who asks do it?"""
    return _reviewed(backend, _read(call), call.request.user)


def _may_somebody(backend: Backend, call: Call) -> Answer:
    """``SubjectAccessReview``: may somebody else do it?"""
    review = _read(call)
    spec = review.get("spec") or {}
    return _reviewed(backend, review, User(str(spec.get("user", "")), tuple(spec.get("groups") or ())))


def _read(call: Call) -> dict[str, Any]:
    validation = call.request.query.get("fieldValidation", "") or "Warn"
    review = read_object(call.request, call.resource.gvk)
    review = semantics.read(call.resource, review, validation=validation, warnings=call.request.warnings)
    return semantics.tracked(call, None, review, "Update", "")


def _reviewed(backend: Backend, review: dict[str, Any], user: User) -> Answer:
    asked = (review.get("spec") or {}).get("resourceAttributes") or {}
    target = Target(
        str(asked.get("group", "")),
        str(asked.get("version", "")),
        str(asked.get("namespace", "")),
        str(asked.get("resource", "")),
        str(asked.get("name", "")),
        str(asked.get("subresource", "")),
    )
    reason = backend.authorize(user, str(asked.get("verb", "get")), target)
    status: dict[str, Any] = {"allowed": reason is None}
    if reason:
        status["reason"] = reason
    return Response(201, json.encode({**review, "status": status}))


def _who_am_i(backend: Backend, call: Call) -> Answer:
    """``SelfSubjectReview``: who is it that asks?"""
    del backend
    user = call.request.user
    review = _read(call)
    info = {"username": user.name, "groups": list(user.groups)}
    return Response(201, json.encode({**review, "status": {"userInfo": info}}))


def _bind_by_collection(backend: Backend, call: Call) -> Answer:
    """POST of a Binding to ``bindings``: the Pod is named in its metadata."""
    binding = read_object(call.request, call.resource.gvk)
    name = (binding.get("metadata") or {}).get("name")
    if not name:
        raise bad_request("name must be provided")
    pods = backend.registry.find("", "v1", "pods")
    assert pods is not None  # noqa: S101  it is built in
    target = msgspec.structs.replace(call.target, plural="pods", name=name, subresource="binding")
    return bind(backend, Call(call.request, target, pods, backend.table(pods), call.now))


HANDLERS: Mapping[str, Handler] = {
    "bindings": _bind_by_collection,
    "selfsubjectaccessreviews.authorization.k8s.io": _may_i,
    "subjectaccessreviews.authorization.k8s.io": _may_somebody,
    "selfsubjectreviews.authentication.k8s.io": _who_am_i,
}
