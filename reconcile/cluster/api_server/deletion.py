"""DELETE: preconditions, grace, propagation and finalizers; of one object, or of all that a list would show.

Source: "Garbage Collection" and "Finalizers" in the Kubernetes documentation, and ``meta/v1`` DeleteOptions. What
becomes of dependents is the garbage collector's work: here only its finalizers are set.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from reconcile.cluster.api_server import failure
from reconcile.cluster.api_server.admission import IMMORTAL_NAMESPACES
from reconcile.cluster.api_server.backend import Backend, Call, encoded
from reconcile.cluster.api_server.body import read_object
from reconcile.cluster.api_server.failure import bad_request, cause, invalid
from reconcile.cluster.api_server.reading import page_of
from reconcile.cluster.api_server.representation import form_of
from reconcile.cluster.api_server.request import Request, Response
from reconcile.cluster.api_server.storage import Stored, stored
from reconcile.cluster.api_server.writing import is_released
from reconcile.model import timestamp
from reconcile.model.resource import Kind

_OPTIONS = Kind("", "v1", "DeleteOptions")
_POLICIES = ("Foreground", "Background", "Orphan")
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
_GRACE_SECONDS_DEFAULT = 30
_JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set"
    " propagationPolicy=Orphan to suppress this warning"
)


@attrs.frozen
class Options:
    """What a delete asks for. ``policy`` is empty where nothing is said."""

    grace_seconds: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    is_dry_run: bool = False

    @classmethod
    def of(cls, request: Request) -> Options:
        """From the body, else from the query. Raises Failure (400, 422)."""
        obj = read_options(request)
        policy, orphans = obj.get("propagationPolicy"), obj.get("orphanDependents")
        causes = []
        if policy is not None and orphans is not None:
            text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
            causes.append(cause("FieldValueInvalid", text, "propagationPolicy"))
        if policy is not None and policy not in _POLICIES:
            supported = ", ".join(f'"{one}"' for one in (*_POLICIES, "nil"))
            text = f'Unsupported value: "{policy}": supported values: {supported}'
            causes.append(cause("FieldValueNotSupported", text, "propagationPolicy"))
        dry_run = obj.get("dryRun") or []
        if dry_run not in ([], ["All"]):
            shown = ",".join(f'"{one}"' for one in dry_run)
            text = f'Unsupported value: [{shown}]: supported values: "All"'
            causes.append(cause("FieldValueNotSupported", text, "dryRun"))
        if causes:
            raise invalid("meta.k8s.io", "DeleteOptions", "", causes)
        grace = obj.get("gracePeriodSeconds")
        if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
            raise bad_request(f"DeleteOptions: gracePeriodSeconds is {grace!r}: want a whole number")
        if policy is None and orphans is not None:
            policy = "Orphan" if orphans else "Background"
        conditions = obj.get("preconditions") or {}
        return cls(
            grace if grace is None or grace >= 0 else 1,
            policy or "",
            conditions.get("uid") or "",
            conditions.get("resourceVersion") or "",
            is_dry_run=bool(dry_run),
        )


def read_options(request: Request) -> dict[str, Any]:
    """The options as plain values."""
    if request.body:
        obj = read_object(request, _OPTIONS, any_version=True)
    else:
        query = request.query
        obj = {}
        if query.get("gracePeriodSeconds"):
            obj["gracePeriodSeconds"] = request.integer("gracePeriodSeconds")
        if query.get("propagationPolicy"):
            obj["propagationPolicy"] = query["propagationPolicy"]
        if query.get("orphanDependents"):
            obj["orphanDependents"] = request.flag("orphanDependents")
    if request.query.get("dryRun") and not obj.get("dryRun"):
        obj["dryRun"] = [request.query["dryRun"]]
    return obj


def delete(backend: Backend, call: Call) -> Response:
    """DELETE of one object."""
    options = Options.of(call.request)
    found = call.table.get(call.key)
    resource = call.resource
    if resource.name == "jobs.batch" and not options.policy:
        call.request.warnings.append(_JOB_WARNING)
    if found is None:
        raise failure.not_found(resource.group, resource.plural, call.target.name)
    if resource.name == "namespaces" and found.name in IMMORTAL_NAMESPACES:
        raise failure.forbidden("", "namespaces", found.name, "this namespace may not be deleted")
    one, is_gone = deleted(backend, call, found, options)
    if is_gone and not resource.shows_deleted:
        details = {"name": found.name, "group": resource.group, "kind": resource.plural, "uid": found.uid}
        return Response(200, failure.success({name: text for name, text in details.items() if text}))
    form = form_of(call.request.accept)
    return Response(200, backend.representation(call, form).object(one))


def delete_collection(backend: Backend, call: Call) -> Response:
    """DELETE of a collection: each object by itself; the answer is the list of before."""
    options = Options.of(call.request)
    form = form_of(call.request.accept)
    items, metadata = page_of(backend, call)
    for one in items:
        deleted(backend, call, one, options)
    return Response(200, backend.representation(call, form).list(items, metadata))


def deleted(backend: Backend, call: Call, found: Stored, options: Options) -> tuple[Stored, bool]:
    """The object after its deletion was asked for, and whether it is gone. Raises Failure (409)."""
    resource, table = call.resource, call.table
    _check_preconditions(call, found, options)
    obj = found.decode()
    metadata = obj["metadata"]
    finalizers = _finalizers(call, obj, options)
    grace = _grace_seconds(call, obj, options)
    before = (metadata.get("finalizers") or [], metadata.get("deletionTimestamp"))
    _set_finalizers(metadata, finalizers)
    was_deleting = bool(metadata.get("deletionTimestamp"))
    if resource.name not in ("namespaces", "pods") and not finalizers:
        return _removed(backend, call, found, obj, options), True  # at once, so nobody sees it marked
    if resource.name == "namespaces":
        if not was_deleting:
            metadata["deletionTimestamp"] = timestamp.render(call.now)
            obj.setdefault("status", {})["phase"] = "Terminating"
    elif was_deleting:
        current = metadata.get("deletionGracePeriodSeconds") or 0
        if grace < current:  # never longer than it was
            _mark(call, metadata, grace)
    else:
        _mark(call, metadata, grace)
        if metadata.get("generation"):
            metadata["generation"] = int(metadata["generation"]) + 1
    if is_released(call, obj):
        return _removed(backend, call, found, obj, options), True
    after = (metadata.get("finalizers") or [], metadata.get("deletionTimestamp"))
    if before == after:
        return found, False
    if options.is_dry_run:
        return stored(table, found.key, encoded(obj), found.version), False
    backend.notice(resource, obj)
    return backend.storage.put(table, found.key, encoded(obj)), False


def _removed(backend: Backend, call: Call, found: Stored, obj: dict[str, Any], options: Options) -> Stored:
    if options.is_dry_run:
        return stored(call.table, found.key, encoded(obj), found.version)
    backend.forget(call.resource, obj)
    return backend.storage.remove(call.table, found.key, encoded(obj))


def _mark(call: Call, metadata: dict[str, Any], grace: int) -> None:
    metadata["deletionTimestamp"] = timestamp.render(call.now + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace


def _grace_seconds(call: Call, obj: dict[str, Any], options: Options) -> int:
    """How long a Pod's containers may take; nothing else has a grace period."""
    if call.resource.name != "pods":
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    asked = options.grace_seconds
    if asked is None:
        asked = spec.get("terminationGracePeriodSeconds")
        asked = _GRACE_SECONDS_DEFAULT if asked is None else int(asked)
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return max(asked, 0) if asked >= 0 else 1


def _finalizers(call: Call, obj: dict[str, Any], options: Options) -> list[str]:
    """The finalizers with the garbage collector's, as the propagation policy wants them."""
    current = [str(one) for one in obj["metadata"].get("finalizers") or ()]
    policy = options.policy
    if not policy:
        if any(one in current for one in _FINALIZERS.values()):
            return current
        policy = "Orphan" if call.resource.orphans_by_default else "Background"
    kept = [one for one in current if one not in _FINALIZERS.values()]
    added = _FINALIZERS.get(policy)
    if added in current:
        return [one for one in current if one == added or one not in _FINALIZERS.values()]
    return [*kept, added] if added is not None else kept


def _set_finalizers(metadata: dict[str, Any], finalizers: list[str]) -> None:
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _check_preconditions(call: Call, found: Stored, options: Options) -> None:
    resource = call.resource
    if options.uid and options.uid != found.uid:
        raise failure.conflict(
            resource.group,
            resource.kind,
            found.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({found.uid})."
            " The object might have been deleted and then recreated",
        )
    if options.resource_version and options.resource_version != str(found.version):
        raise failure.conflict(
            resource.group,
            resource.kind,
            found.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion"
            f" in record ({found.version}). The object might have been modified",
        )
