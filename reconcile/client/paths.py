"""Request paths: a resource, a key and a subresource in; a percent-encoded path out. Pure.

Source: Kubernetes API concepts, "Resource URIs", and the API server's rule for names as path segments.
"""

from __future__ import annotations

from urllib.parse import quote

from reconcile.errors import UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Kind, Resource


def group_version_path(kind: Kind) -> str:
    """``/api/v1`` or ``/apis/batch/v1``."""
    return f"/apis/{_segment(kind.group)}/{_segment(kind.version)}" if kind.group else f"/api/{_segment(kind.version)}"


def collection_path(resource: Resource, namespace: str = "") -> str:
    """Where a resource is listed: in one namespace, or (``""``) in all.

    Raises:
        UsageError: a namespace for a resource that has none.
    """
    base = group_version_path(resource.kind)
    if not namespace:
        return f"{base}/{_segment(resource.plural)}"
    if not resource.namespaced:
        raise UsageError(f"{resource} is cluster-scoped: it has no namespace {namespace!r}; leave the namespace empty")
    return f"{base}/namespaces/{_segment(namespace)}/{_segment(resource.plural)}"


def object_path(resource: Resource, key: ObjectKey, subresource: str = "") -> str:
    """Where one object, or a subresource of it, is read and written.

    Raises:
        UsageError: a missing or superfluous namespace, or a name that cannot stand in a path.
    """
    if not key.name:
        raise UsageError(f"{resource}: the object has no name")
    path = f"{_scope(resource, key)}/{_segment(key.name)}"
    return f"{path}/{_segment(subresource)}" if subresource else path


def create_path(resource: Resource, key: ObjectKey) -> str:
    """Where an object is created: the collection of its namespace. Raises UsageError."""
    return _scope(resource, key)


def _scope(resource: Resource, key: ObjectKey) -> str:
    if resource.namespaced and not key.namespace:
        raise UsageError(f"{resource} {key.name!r}: a namespaced object needs a namespace")
    return collection_path(resource, key.namespace)


def _segment(text: str) -> str:
    """One path segment. What the API server refuses in names is refused here, before it can leave the segment."""
    if not text or text in {".", ".."} or "/" in text or "%" in text:
        raise UsageError(f"{text!r} cannot be part of a request path: want a name without '/' and '%', not '.' or '..'")
    return quote(text, safe=":")
