"""What the API means beyond storing, resource by resource: decoding, defaults, validation, patches, owned fields.

The one seam between the handlers, which store and answer, and the rules, which know types.
"""

from __future__ import annotations

from typing import Any

from reconcile.cluster.api_server.apply import ApplyConflict, apply, keep_times, track_update
from reconcile.cluster.api_server.backend import Call
from reconcile.cluster.api_server.decoding import Decoded, WrongTypeError, decode
from reconcile.cluster.api_server.defaulting import default
from reconcile.cluster.api_server.failure import Failure, bad_request
from reconcile.cluster.api_server.first_owner import FirstOwners
from reconcile.cluster.api_server.patching import PatchError, json_patch, merge_patch
from reconcile.cluster.api_server.registry import ResourceType
from reconcile.cluster.api_server.schema import SCHEMA, StructType
from reconcile.cluster.api_server.strategic_merge import strategic_merge_patch
from reconcile.cluster.api_server.structural import read_custom
from reconcile.cluster.api_server.validation import (
    validate_create,
    validate_custom_create,
    validate_custom_update,
    validate_update,
)
from reconcile.model.resource import Kind

UNKNOWN_FIELDS_SHOWN_MAX = 100
"""Warnings of one answer; the real server cuts its headers at 16 KiB."""


def type_of(resource: ResourceType) -> StructType | None:
    """The type of a resource's objects; None where it is not known."""
    if resource.is_custom:
        return resource.custom_type
    return SCHEMA.type_for(resource.group, resource.version, resource.kind)


def read(resource: ResourceType, obj: dict[str, Any], *, validation: str, warnings: list[str]) -> dict[str, Any]:
    """``obj`` as the server understands it: unknown fields dropped, wrong types refused. Raises Failure (400).

    ``validation`` is ``Strict``, ``Warn`` or ``Ignore`` (``fieldValidation``); ``warnings`` gets the unknown fields.
    """
    struct, kind = type_of(resource), resource.gvk
    if struct is None:
        return obj
    try:
        decoded: Decoded = read_custom(resource.schema, obj) if resource.is_custom else decode(struct, obj)
    except WrongTypeError as error:
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}'
        ) from None
    if decoded.unknown and validation != "Ignore":
        texts = [f'unknown field "{path}"' for path in decoded.unknown]
        if validation == "Strict":
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}:'
                f" strict decoding error: {', '.join(texts)}"
            )
        warnings.extend(texts[:UNKNOWN_FIELDS_SHOWN_MAX])
    return with_defaults(resource, decoded.value)


def patched(
    resource: ResourceType, content_type: str, obj: dict[str, Any], patch: Any, *, kind: Kind | None = None
) -> dict[str, Any]:
    """``obj`` after a patch of one of the three kinds; ``kind`` where it is not the resource's. Raises Failure."""
    try:
        match content_type:
            case "application/json-patch+json":
                return json_patch(obj, patch)
            case "application/merge-patch+json":
                return merge_patch(obj, patch)
            case "application/strategic-merge-patch+json" if not resource.is_custom:
                kind = kind or resource.gvk
                struct = SCHEMA.type_for(kind.group, kind.version, kind.kind)
                if struct is not None:
                    return strategic_merge_patch(struct, obj, patch)
                return merge_patch(obj, patch)
            case _:
                raise unsupported_patch()
    except PatchError as error:
        raise Failure(error.code, str(error), reason=error.reason, details=error.details) from None


def unsupported_patch() -> Failure:
    """The content type of a PATCH is none that the resource takes."""
    return Failure(415, "415: Unsupported Media Type", details={})


def with_defaults(resource: ResourceType, obj: dict[str, Any]) -> dict[str, Any]:
    """``obj`` with what nobody said and the server says."""
    return default(resource.group, resource.version, resource.kind, obj)


def creation_causes(resource: ResourceType, obj: dict[str, Any]) -> list[dict[str, str]]:
    """What is wrong with a new object."""
    if resource.is_custom:
        found = validate_custom_create(resource.schema, obj, is_namespaced=resource.namespaced)
    else:
        found = validate_create(resource.kind, obj, is_namespaced=resource.namespaced)
    return [one.cause() for one in found]


def update_causes(
    resource: ResourceType, old: dict[str, Any], new: dict[str, Any], subresource: str
) -> list[dict[str, str]]:
    """What is wrong with a change."""
    if resource.is_custom:
        found = validate_custom_update(resource.schema, old, new)
    else:
        found = validate_update(resource.kind, old, new, subresource)
    return [one.cause() for one in found]


def tracked(
    call: Call, live: dict[str, Any] | None, new: dict[str, Any], operation: str, subresource: str
) -> dict[str, Any]:
    """``new`` with the note of who wrote which fields (``metadata.managedFields``)."""
    struct = type_of(call.resource)
    if struct is None:
        return new
    if live is None and operation == "Update":
        return _first_owners.of(
            struct,
            call.request.field_manager,
            new,
            call.now,
            lambda: _tracked(call, struct, None, new, operation=operation, subresource=subresource),
        )
    return _tracked(call, struct, live, new, operation=operation, subresource=subresource)


_first_owners = FirstOwners()


def _tracked(
    call: Call,
    struct: StructType,
    live: dict[str, Any] | None,
    new: dict[str, Any],
    *,
    operation: str,
    subresource: str,
) -> dict[str, Any]:
    resource = call.resource
    return track_update(
        struct,
        live,
        new,
        manager=call.request.field_manager,
        operation=operation,
        api_version=resource.api_version,
        subresource=subresource,
        now=call.now,
    )


def applied(call: Call, live: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """The object after ``wanted`` was applied. Raises Failure (409, 400)."""
    resource, struct, request = call.resource, type_of(call.resource), call.request
    if struct is None:
        return merge_patch(live or {}, wanted)
    validation = request.query.get("fieldValidation", "") or "Warn"
    read(resource, wanted, validation=validation, warnings=request.warnings)
    try:
        found = apply(
            struct,
            live,
            wanted,
            manager=request.field_manager,
            api_version=resource.api_version,
            subresource=call.target.subresource,
            force=request.flag("force"),
            now=call.now,
        )
    except ApplyConflict as error:
        causes = [{"reason": one.reason, "message": one.message, "field": one.field} for one in error.causes]
        raise Failure(409, str(error), details={"causes": causes}) from None
    except PatchError as error:
        raise Failure(error.code, str(error), reason=error.reason, details=error.details) from None
    found = {**found, "kind": resource.kind, "apiVersion": resource.api_version}
    return read(resource, found, validation="Ignore", warnings=[])


def is_same(live: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a change changes nothing: then nothing is written."""
    return live == keep_times(live, new)
