"""Builders of writes: what to change in, a ``Write`` that can be sent again byte for byte out. Pure.

Every name is fixed before sending: with ``generateName`` a lost answer could not be asked for again
without making a second object.
"""

from __future__ import annotations

from typing import Any, Literal, assert_never

from reconcile.client import paths
from reconcile.errors import UsageError
from reconcile.model import json
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.patch import ApplyPatch, JSONPatch, MergePatch, Patch, StrategicMergePatch
from reconcile.model.resource import Resource
from reconcile.model.write import Verb, Write

Propagation = Literal["Background", "Foreground", "Orphan"]


def create(resource: Resource, obj: Object, *, field_manager: str = "") -> Write:
    """POST ``obj``. Raises UsageError where it has no name, or is not of the resource's kind."""
    _same_kind(resource, obj)
    if not obj.name:
        raise UsageError(
            f"create {resource}: the object has no metadata.name"
            + (" (generateName cannot be sent twice safely; choose the name)" if obj.metadata.generate_name else "")
        )
    return Write(
        Verb.CREATE,
        resource,
        obj.key,
        paths.create_path(resource, obj.key),
        query=_field_manager(field_manager),
        body=obj.to_json(),
    )


def update(resource: Resource, obj: Object, *, subresource: str = "", field_manager: str = "") -> Write:
    """PUT the whole of ``obj``.

    Raises:
        UsageError: without a resourceVersion it would overwrite whatever stands there.
    """
    _same_kind(resource, obj)
    if not obj.resource_version:
        raise UsageError(f"update {resource} {obj.key}: no metadata.resourceVersion; read the object first")
    return Write(
        Verb.UPDATE,
        resource,
        obj.key,
        paths.object_path(resource, obj.key, subresource),
        subresource,
        _field_manager(field_manager),
        obj.to_json(),
    )


def patch(
    resource: Resource,
    key: ObjectKey,
    patch: Patch,
    *,
    subresource: str = "",
    uid: str = "",
    resource_version: str = "",
    field_manager: str = "",
    dry_run: bool = False,
) -> Write:
    """PATCH one object.

    Args:
        resource: where the kind is served.
        key: which object.
        patch: one of the four kinds of patch.
        subresource: ``status``, ``scale``, or empty.
        uid: refuse (ConflictError) if the object of that name is another one by now.
        resource_version: refuse (ConflictError) if the object has changed since.
        field_manager: who owns the fields; an ApplyPatch names its own.
        dry_run: the server does all but persist it.

    A JSONPatch states both preconditions as leading ``test`` operations. Of those that fail the server says no more
    than of any other operation that fails: InvalidError.
    """
    query = _field_manager(field_manager)
    wire: Any
    match patch:
        case MergePatch(body):
            content_type, wire = "application/merge-patch+json", _with_preconditions(body, uid, resource_version)
        case StrategicMergePatch(body):
            content_type = "application/strategic-merge-patch+json"
            wire = _with_preconditions(body, uid, resource_version)
        case JSONPatch(operations):
            content_type = "application/json-patch+json"
            wire = [*_tests(uid, resource_version), *operations]
        case ApplyPatch(body, manager, force):
            content_type = "application/apply-patch+yaml"  # JSON is YAML
            query = _field_manager(manager) + ((("force", "true"),) if force else ())
            wire = _apply_body(resource, key, body, uid, resource_version)
        case _:
            assert_never(patch)
    path = paths.object_path(resource, key, subresource)
    query += (("dryRun", "All"),) if dry_run else ()
    return Write(Verb.PATCH, resource, key, path, subresource, query, json.encode(wire), content_type)


def delete(
    resource: Resource,
    key: ObjectKey,
    *,
    uid: str = "",
    resource_version: str = "",
    propagation: Propagation | None = None,
    grace_period_seconds: int | None = None,
    dry_run: bool = False,
) -> Write:
    """DELETE one object; ``uid`` and ``resource_version`` are preconditions (409 where they do not hold)."""
    options = _delete_options(uid, resource_version, grace_period_seconds)
    if propagation is not None:
        options["propagationPolicy"] = propagation
    if dry_run:
        options["dryRun"] = ["All"]
    return Write(Verb.DELETE, resource, key, paths.object_path(resource, key), body=json.encode(options))


def evict(
    pods: Resource, key: ObjectKey, *, uid: str = "", grace_period_seconds: int | None = None, dry_run: bool = False
) -> Write:
    """POST an Eviction (``policy/v1``): a delete that PodDisruptionBudgets may refuse with 429.

    A ``uid`` that is not the Pod's is answered (409) only after some 10 s: the server takes it for a passing conflict
    and tries again by itself.
    """
    body: dict[str, Any] = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": key.name, "namespace": key.namespace},
    }
    if uid or grace_period_seconds is not None:
        body["deleteOptions"] = _delete_options(uid, "", grace_period_seconds)
    if dry_run:
        body.setdefault("deleteOptions", _delete_options("", "", None))["dryRun"] = ["All"]
    path = paths.object_path(pods, key, "eviction")
    return Write(Verb.CREATE, pods, key, path, "eviction", body=json.encode(body))


def bind(pods: Resource, key: ObjectKey, node: str, *, uid: str) -> Write:
    """POST a Binding: the Pod of this ``uid`` goes to ``node`` (409 where it has one, or is another Pod)."""
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    return Write(Verb.CREATE, pods, key, paths.object_path(pods, key, "binding"), "binding", body=json.encode(body))


def _delete_options(uid: str, resource_version: str, grace_period_seconds: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if uid or resource_version:
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options["preconditions"] = {name: value for name, value in preconditions.items() if value}
    if grace_period_seconds is not None:
        options["gracePeriodSeconds"] = grace_period_seconds
    return options


def _field_manager(name: str) -> tuple[tuple[str, str], ...]:
    return (("fieldManager", name),) if name else ()


def _same_kind(resource: Resource, obj: Object) -> None:
    if obj.kind != resource.kind:
        raise UsageError(f"{obj} is a {obj.kind}, not the {resource.kind} that {resource} holds")


def _with_preconditions(body: dict[str, Any], uid: str, resource_version: str) -> dict[str, Any]:
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    wanted = {name: value for name, value in preconditions.items() if value}
    if not wanted:
        return body
    metadata = body.get("metadata")
    return {**body, "metadata": {**(metadata if isinstance(metadata, dict) else {}), **wanted}}


def _tests(uid: str, resource_version: str) -> list[dict[str, Any]]:
    tests = {"/metadata/uid": uid, "/metadata/resourceVersion": resource_version}
    return [{"op": "test", "path": path, "value": value} for path, value in tests.items() if value]


def _apply_body(resource: Resource, key: ObjectKey, body: Any, uid: str, resource_version: str) -> dict[str, Any]:
    """The wanted fields with the identity that server-side apply asks for."""
    plain = body.to_dict() if isinstance(body, Object) else json.to_plain(body)
    if not isinstance(plain, dict):
        raise UsageError(f"apply {resource} {key}: the body is a {type(body).__name__}, not an object")
    said = (plain.get("apiVersion", resource.api_version), plain.get("kind", resource.kind.kind))
    if said != (resource.api_version, resource.kind.kind):
        raise UsageError(f"apply {resource} {key}: the body is a {said[0]}/{said[1]}, not a {resource.kind}")
    metadata = plain.get("metadata")
    identity = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
    plain = {
        **plain,
        "apiVersion": resource.api_version,
        "kind": resource.kind.kind,
        "metadata": {**(metadata if isinstance(metadata, dict) else {}), **identity},
    }
    return _with_preconditions(plain, uid, resource_version)
