"""CREATE, UPDATE and PATCH: from a body to a stored object, in the order in which the real server does it.

Read → admit → defaults and system fields → validate → note who owns what → store. A dry run stops before the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from reconcile.cluster.api_server import failure, semantics
from reconcile.cluster.api_server.admission import admit_change, admit_creation, check_namespace
from reconcile.cluster.api_server.backend import Backend, Call, encoded
from reconcile.cluster.api_server.body import check_options, read_object, read_patch
from reconcile.cluster.api_server.failure import Failure, bad_request, cause
from reconcile.cluster.api_server.representation import form_of
from reconcile.cluster.api_server.request import Response
from reconcile.cluster.api_server.storage import Stored, stored
from reconcile.cluster.api_server.stored_form import from_stored, to_stored
from reconcile.cluster.api_server.strategy import before_reading, prepare_create, prepare_update
from reconcile.model import json, timestamp

Operation = Literal["Update", "Apply"]
Change = Callable[[dict[str, Any]], dict[str, Any]]
"""From the live object, in the form of the resource, to the wanted one. It must not change the live one."""

_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def create(backend: Backend, call: Call) -> Response:
    """POST to a collection."""
    request, resource, target = call.request, call.resource, call.target
    check_options(request.query, "CreateOptions")
    obj = read_object(request, resource.gvk)
    metadata = _metadata_of(resource.gvk.kind, obj)
    _take_namespace(call, metadata)
    if resource.namespaced:
        check_namespace(backend, call, target.namespace, metadata.get("name") or metadata.get("generateName") or "")
    before_reading(resource, obj)
    return created(backend, call, _read(call, obj))


def created(backend: Backend, call: Call, obj: dict[str, Any], *, operation: Operation = "Update") -> Response:
    """Store a new object, read already."""
    request, resource, namespace = call.request, call.resource, call.target.namespace
    metadata = obj["metadata"]
    if metadata.get("resourceVersion"):
        raise Failure(500, "resourceVersion should not be set on objects to be created")
    name = metadata.get("name")
    if not name and metadata.get("generateName"):
        name = metadata["name"] = backend.generated_name(metadata["generateName"])
    for field in (*_SYSTEM_FIELDS, "resourceVersion"):
        metadata.pop(field, None)
    metadata["uid"] = backend.uid()
    metadata["creationTimestamp"] = timestamp.render(call.now)
    if operation == "Update":
        obj = semantics.tracked(call, None, obj, "Update", "")
    admit_creation(backend, call, obj)
    has_more_defaults = prepare_create(resource, obj)
    causes = semantics.creation_causes(resource, obj)
    if causes:
        raise failure.invalid(resource.group, resource.kind, name or "", causes)
    if has_more_defaults:
        obj = semantics.with_defaults(resource, obj)
    key = resource.key(namespace, obj["metadata"]["name"])
    present = call.table.get(key)
    if present is not None:
        is_going = bool(present.decode()["metadata"].get("deletionTimestamp"))
        raise failure.already_exists(resource.group, resource.plural, obj["metadata"]["name"], is_going=is_going)
    convert = to_stored(resource)
    obj = encoded(obj if convert is None else convert(obj))
    if request.is_dry_run:
        obj["metadata"].pop("resourceVersion", None)
        one = stored(call.table, key, obj, 0)
        return _answer(backend, call, 201, one)
    backend.notice(resource, obj)
    return _answer(backend, call, 201, backend.storage.put(call.table, key, obj))


def replace(backend: Backend, call: Call) -> Response:
    """PUT of an object or its status."""
    check_options(call.request.query, "UpdateOptions")
    resource = call.resource
    obj = read_object(call.request, resource.gvk)
    metadata = _metadata_of(resource.kind, obj)
    _take_namespace(call, metadata)
    if metadata.get("name") != call.target.name:
        if not metadata.get("name"):
            raise bad_request("name must be provided")
        raise _wrong_name(str(metadata["name"]), call.target.name)
    wanted = _read(call, obj)
    found = call.table.get(call.key)
    if found is None and resource.created_by_update and not call.target.subresource:
        if resource.namespaced:
            check_namespace(backend, call, call.target.namespace, call.target.name)
        before_reading(resource, wanted)
        wanted["metadata"].pop("resourceVersion", None)
        return created(backend, call, wanted)
    uid = metadata.get("uid", "")
    return updated(backend, call, lambda _live: wanted, uid=uid if isinstance(uid, str) else "")


def patch(backend: Backend, call: Call) -> Response:
    """PATCH of an object or its status, by any kind of patch but server-side apply (``applying``)."""
    request = call.request
    check_options(request.query, "PatchOptions")
    media_type = request.media_type
    if media_type not in _PATCHES:
        raise semantics.unsupported_patch()
    if call.resource.is_custom and media_type == "application/strategic-merge-patch+json":
        raise Failure(415, _NO_STRATEGIC)
    change = read_patch(request)
    resource = call.resource

    def patched(live: dict[str, Any]) -> dict[str, Any]:
        found = semantics.patched(resource, media_type, live, change)
        metadata = _metadata_of(resource.kind, found)
        if not metadata.get("name"):
            raise bad_request(
                f"the name of the object ({call.target.name} based on URL) was undeterminable: name must be provided"
            )
        if metadata["name"] != call.target.name:
            raise _wrong_name(str(metadata["name"]), call.target.name)
        try:
            return _read(call, {**found, "kind": resource.kind, "apiVersion": resource.api_version})
        except Failure as refusal:
            raise _bad_patch(refusal, found) if refusal.code == 400 else refusal from None

    return updated(backend, call, patched)


def _bad_patch(refusal: Failure, found: dict[str, Any]) -> Failure:
    """What a patch makes cannot be read: then the patch is invalid, not the request."""
    reason = refusal.message.partition(" cannot be handled as a ")[2].partition(": ")[2] or refusal.message
    value = json.encode(json.encode(found).decode()).decode()
    one = cause("FieldValueInvalid", f"Invalid value: {value}: {reason}", "patch")
    return Failure(422, f' "" is invalid: patch: {one["message"]}', details={"causes": [one]})


_NO_STRATEGIC = (
    "the body of the request was in an unknown format - accepted media types include: application/json-patch+json,"
    " application/merge-patch+json, application/apply-patch+yaml"
)
_PATCHES = frozenset(
    {"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
)


def updated(
    backend: Backend,
    call: Call,
    change: Change,
    *,
    uid: str = "",
    operation: Operation = "Update",
    subresource: str | None = None,
) -> Response:
    """Change the object that is there. ``uid``: it must be this one."""
    found = call.table.get(call.key)
    if found is None:
        raise failure.not_found(call.resource.group, call.resource.plural, call.target.name)
    return _answer(
        backend, call, 200, changed(backend, call, found, change, uid=uid, operation=operation, subresource=subresource)
    )


def changed(
    backend: Backend,
    call: Call,
    found: Stored,
    change: Change,
    *,
    uid: str = "",
    operation: Operation = "Update",
    subresource: str | None = None,
) -> Stored:
    """The object after a change: stored, removed where nothing holds it any more, or left where nothing changed."""
    resource, table, name = call.resource, call.table, call.target.name
    subresource = call.target.subresource if subresource is None else subresource
    back = from_stored(resource)
    live = found.decode() if back is None else back(found.decode())
    new = change(live)
    old_metadata, metadata = live["metadata"], new["metadata"]
    if uid and uid != found.uid:
        raise _other_uid(call, uid, found.uid)
    version = metadata.get("resourceVersion")
    if not version and resource.needs_version_to_update and operation == "Update" and call.request.method == "PUT":
        text = "Invalid value: 0: must be specified for an update"
        raise failure.invalid(
            resource.group, resource.plural, name, [cause("FieldValueInvalid", text, "metadata.resourceVersion")]
        )
    if version and version != old_metadata["resourceVersion"]:
        raise failure.modified(resource.group, resource.plural, name)
    metadata["resourceVersion"] = old_metadata["resourceVersion"]
    _keep_system_fields(resource.kind, resource.group, old_metadata, metadata)
    admit_change(call, subresource, live, new)
    prepare_update(resource, subresource, live, new)
    causes = semantics.update_causes(resource, live, new, subresource)
    if causes:
        raise failure.invalid(resource.group, resource.kind, name, causes)
    if operation == "Update":
        new = semantics.tracked(call, live, new, operation, subresource)
    if semantics.is_same(live, new):
        return found
    forward = to_stored(resource)
    new = encoded(new if forward is None else forward(new))
    if call.request.is_dry_run:
        return stored(table, found.key, new, found.version)
    if is_released(call, new):
        kept = stored(table, found.key, new, found.version)
        backend.forget(resource, new)
        backend.storage.remove(table, found.key, new)
        return kept
    backend.notice(resource, new)
    return backend.storage.put(table, found.key, new)


def is_released(call: Call, obj: dict[str, Any]) -> bool:
    """Whether an object that is to go has nothing left that holds it."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if call.resource.name == "namespaces":
        return not (obj.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def _keep_system_fields(kind: str, group: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """What only the server writes. A given value that differs is refused where it would be lost silently."""
    immutable = []
    for field in ("uid", "creationTimestamp"):
        said = new.get(field)
        if said and said != old.get(field):
            if field == "uid":
                immutable.append(
                    cause("FieldValueInvalid", f'Invalid value: "{said}": field is immutable', "metadata.uid")
                )
            else:
                new[field] = old.get(field)
    if immutable:
        raise failure.invalid(group, kind, str(old.get("name", "")), immutable)
    for field in (*_SYSTEM_FIELDS, "generation", "namespace", "generateName"):
        if field in old:
            new[field] = old[field]
        elif field != "generateName":
            new.pop(field, None)


def _read(call: Call, obj: dict[str, Any]) -> dict[str, Any]:
    validation = call.request.query.get("fieldValidation", "") or "Warn"
    return semantics.read(call.resource, obj, validation=validation, warnings=call.request.warnings)


def _metadata_of(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise bad_request(f"{kind}: metadata is no object")
    return metadata


def _take_namespace(call: Call, metadata: dict[str, Any]) -> None:
    """The namespace of the path; that of the body must be the same."""
    namespace = call.target.namespace
    said = metadata.get("namespace")
    if not call.resource.namespaced:
        metadata.pop("namespace", None)
        return
    if said and said != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = namespace


def _wrong_name(said: str, wanted: str) -> Failure:
    return bad_request(f"the name of the object ({said}) does not match the name on the URL ({wanted})")


def _other_uid(call: Call, asked: str, found: str) -> Failure:
    group, resource = call.resource.group, call.resource
    place = f"/registry/{resource.plural if not group or '.' not in group else f'{group}/{resource.plural}'}/{call.key}"
    return failure.conflict(
        group,
        resource.plural,
        call.target.name,
        f"StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition"
        f" failed: UID in precondition: {asked}, UID in object meta: {found}",
    )


def _answer(backend: Backend, call: Call, status: int, one: Stored) -> Response:
    form = form_of(call.request.accept)
    return Response(status, backend.representation(call, form).object(one))
