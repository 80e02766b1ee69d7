"""Server-side apply, as a request: what is applied, by whom, to which object; the merge itself is ``apply``'s.

Source: "Server-Side Apply" in the Kubernetes documentation.
"""

from __future__ import annotations

from typing import Any

from reconcile.cluster.api_server import semantics
from reconcile.cluster.api_server.admission import check_namespace
from reconcile.cluster.api_server.backend import Backend, Call
from reconcile.cluster.api_server.body import check_options, read_patch
from reconcile.cluster.api_server.failure import bad_request, cause, invalid, not_found
from reconcile.cluster.api_server.request import Response
from reconcile.cluster.api_server.strategy import before_reading
from reconcile.cluster.api_server.writing import created, updated


def apply(backend: Backend, call: Call) -> Response:
    """PATCH with ``application/apply-patch+yaml``: makes the object where it is not there."""
    request, resource, target = call.request, call.resource, call.target
    check_options(request.query, "PatchOptions")
    if not request.query.get("fieldManager"):
        text = "Required value: is required for apply patch"
        raise invalid("meta.k8s.io", "PatchOptions", "", [cause("FieldValueRequired", text, "fieldManager")])
    wanted = read_patch(request)
    if not isinstance(wanted, dict):
        raise bad_request("error decoding YAML: want an object")
    _check_identity(call, wanted)
    found = call.table.get(call.key)
    if found is not None:
        return updated(backend, call, lambda live: semantics.applied(call, live, wanted), operation="Apply")
    if target.subresource:
        raise not_found(resource.group, resource.plural, target.name)
    if resource.namespaced:
        check_namespace(backend, call, target.namespace, target.name)
    wanted = {**wanted}
    before_reading(resource, wanted)
    return created(backend, call, semantics.applied(call, None, wanted), operation="Apply")


def _check_identity(call: Call, wanted: dict[str, Any]) -> None:
    """The object in the body must be the object of the path."""
    resource, target = call.resource, call.target
    said = (wanted.get("apiVersion", ""), wanted.get("kind", ""))
    if said != (resource.api_version, resource.kind):
        if not said[0] or not said[1]:
            raise bad_request(f"{target.name}: apiVersion and kind must be set in what is applied")
        raise bad_request(
            f"the kind in the data ({said[0]}, Kind={said[1]}) does not match the expected"
            f" ({resource.api_version}, Kind={resource.kind})"
        )
    metadata = wanted.get("metadata")
    if metadata is None:
        metadata = wanted["metadata"] = {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata: want an object")
    if metadata.setdefault("name", target.name) != target.name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )
    if resource.namespaced and metadata.setdefault("namespace", target.namespace) != target.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
