"""Server-side apply, and who owns which field (``metadata.managedFields``).

Source of the rules: the API concepts page "Server-Side Apply", KEP-555, and what a real server answers.

Guarantees:
    * No argument is changed.
    * A field in an applied configuration becomes the applier's; one that it applied last time and not now, and that
      nobody else owns, is removed. Changing what another manager owns is a conflict, unless forced.
    * A write of any other kind takes the fields that it changes from everybody else, without conflict.
Caveats: the returned object is merged, not checked: decode and default it, then call ``keep_times``. One version a
kind is assumed: a field's path means the same in every entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from reconcile.cluster.api_server.apply_check import check_applied
from reconcile.cluster.api_server.decoding import decode
from reconcile.cluster.api_server.field_set import FieldPath, FieldSet, path_text, with_parents
from reconcile.cluster.api_server.last_applied import allowed_conflicts, with_last_applied
from reconcile.cluster.api_server.managed_fields import Managed, ManagerKey, capped, decode_managed, encode_managed
from reconcile.cluster.api_server.patching import PatchError
from reconcile.cluster.api_server.schema import StructType
from reconcile.cluster.api_server.typed_value import Difference, compare, field_set_of, merge, remove
from reconcile.errors import DecodeError, ReconcileError, StatusCause

__all__ = ["ApplyConflict", "apply", "keep_times", "track_update"]

KUBECTL = "kubectl"
"""The manager whose client-side apply a server-side apply takes over from."""

_UNTRACKED: FieldSet = frozenset(
    [
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        ),
    ]
)
"""What nobody owns."""


_ZEROES_KEPT_MAX = 1_000
"""Empty objects kept: one a kind, and versions of custom resources."""


class ApplyConflict(ReconcileError):  # noqa: N818 - the API's word
    """Fields that other managers own (409).

    Attributes:
        causes: one for each field and owner.
    """

    def __init__(self, message: str, causes: tuple[StatusCause, ...]) -> None:
        super().__init__(message)
        self.causes = causes


def apply(
    struct: StructType,
    live: dict[str, Any] | None,
    applied: dict[str, Any],
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    force: bool = False,
    now: datetime,
) -> dict[str, Any]:
    """``live`` with ``applied`` merged into it.

    Args:
        struct: the kind's type.
        live: the stored object; None: the object is created.
        applied: the configuration as it was sent.
        manager: who applies; empty: ``unknown``.
        api_version: the group and version of the request.
        subresource: through which the request came, such as ``status``.
        force: take what other managers own.
        now: the wall clock.

    Raises:
        ApplyConflict: another manager owns what would change.
        PatchError: ``applied`` is not of the kind's shape.
    """
    if "managedFields" in (applied.get("metadata") or {}) and applied["metadata"]["managedFields"] is not None:
        raise PatchError("metadata.managedFields must be nil")
    check_applied(struct, applied)
    managed = _managed_of(live)
    zero = _zero(struct)
    base = zero if live is None else _without_managed_fields(live)
    if not managed and live is not None:
        first = ManagerKey("before-first-apply", "Update", api_version, subresource)
        managed = _updated(struct, (zero, base), {}, first, now=now)
    key = ManagerKey(manager or "unknown", "Apply", "", subresource)
    try:
        merged, after = _applied(struct, base, applied, managed, key, api_version=api_version, force=force)
    except _Conflicts as conflicts:
        found = conflicts.paths
        if manager == KUBECTL and live is not None:
            allowed = allowed_conflicts(struct, base, api_version)
            if allowed is not None:
                found = [(owner, path) for owner, path in found if path not in allowed]
        if found:
            raise _conflict(found) from None
        merged, after = _applied(struct, base, applied, managed, key, api_version=api_version, force=True)
    _strip_untracked(after, key)
    if key in after:
        after[key] = after[key].at(now)
    if manager == KUBECTL:
        merged = with_last_applied(merged, applied)
    return _with_managed_fields(merged, after)


def track_update(
    struct: StructType,
    live: dict[str, Any] | None,
    new: dict[str, Any],
    *,
    manager: str,
    operation: str = "Update",
    api_version: str,
    subresource: str = "",
    now: datetime,
) -> dict[str, Any]:
    """``new`` with ``managedFields`` for a write that is no apply, which made ``new`` out of ``live``.

    ``managedFields`` of ``new`` count if it has some that can be read; ``[{}]`` forgets all owners, and so does ``[]``,
    but not in a custom resource.
    """
    sent = new.get("metadata", {}).get("managedFields")
    managed: Mapping[ManagerKey, Managed]
    if subresource:
        managed = _managed_of(live)
    elif (sent == [] and not struct.is_custom) or (
        isinstance(sent, list) and len(sent) == 1 and not any((sent[0] or {}).values())
    ):
        managed = {}
    else:
        managed = _managed_of(new) or _managed_of(live)
    if not managed and live is not None:
        return _without_managed_fields(new)
    key = ManagerKey(manager or "unknown", operation, api_version, subresource)
    old = _zero(struct) if live is None else _without_managed_fields(live)
    after = _updated(struct, (old, _without_managed_fields(new)), managed, key, now=now)
    return _with_managed_fields(new, after)


def keep_times(live: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """``new``, with the times of ``live``'s managedFields where nothing else than them changed: then it is no write."""
    old_entries, entries = live["metadata"].get("managedFields"), new["metadata"].get("managedFields")
    if old_entries == entries or _timeless(old_entries) != _timeless(entries):
        return new
    if _without_managed_fields(live) != _without_managed_fields(new):
        return new
    return {**new, "metadata": {**new["metadata"], "managedFields": old_entries}}


def _timeless(entries: Any) -> list[Any]:
    return sorted(({**entry, "time": ""} for entry in entries or ()), key=repr)


class _Conflicts(Exception):  # noqa: N818 - never leaves this file
    def __init__(self, paths: list[tuple[ManagerKey, FieldPath]]) -> None:
        super().__init__()
        self.paths = paths


def _applied(
    struct: StructType,
    live: dict[str, Any],
    applied: dict[str, Any],
    managed: Mapping[ManagerKey, Managed],
    key: ManagerKey,
    *,
    api_version: str,
    force: bool,
) -> tuple[dict[str, Any], dict[ManagerKey, Managed]]:
    merged = merge(struct, live, applied)
    last = managed.get(key)
    own = _tracked(field_set_of(struct, applied), struct, key.subresource)
    managed = {**managed, key: Managed(own, api_version)}
    if last is not None and last.fields:
        merged = _pruned(struct, merged, managed, last.fields)
    after, _ = _taken(struct, (live, merged), managed, key, force=force)
    return merged, after


def _pruned(
    struct: StructType, merged: dict[str, Any], managed: Mapping[ManagerKey, Managed], last: FieldSet
) -> dict[str, Any]:
    """``merged`` without what this applier owned alone and does not apply any more."""
    last = with_parents(last, struct)
    before = with_parents(field_set_of(struct, merged), struct)
    pruned = remove(struct, merged, last)
    owned: FieldSet = frozenset().union(*(entry.fields for entry in managed.values()))
    kept = with_parents(field_set_of(struct, pruned), struct) | with_parents(owned, struct)
    pruned = remove(struct, merged, before - kept)
    left = with_parents(field_set_of(struct, pruned), struct)
    result: dict[str, Any] = remove(struct, merged, (before - left) & last)
    return result


def _updated(
    struct: StructType,
    change: tuple[dict[str, Any], dict[str, Any]],
    managed: Mapping[ManagerKey, Managed],
    key: ManagerKey,
    *,
    now: datetime,
) -> dict[ManagerKey, Managed]:
    """The owners after ``key`` made the second object of ``change`` out of the first."""
    after, difference = _taken(struct, change, managed, None, force=True, subresource=key.subresource)
    own = _tracked(difference.modified | difference.added, struct, key.subresource) - _UNTRACKED
    if own:
        before = after.get(key)
        after[key] = Managed(own | before.fields if before is not None else own, key.api_version).at(now)
    return capped(after)


def _taken(
    struct: StructType,
    change: tuple[dict[str, Any], dict[str, Any]],
    managed: Mapping[ManagerKey, Managed],
    key: ManagerKey | None,
    *,
    force: bool,
    subresource: str = "",
) -> tuple[dict[ManagerKey, Managed], Difference]:
    """The owners after ``change`` by ``key``, or by somebody who owns nothing yet. Raises _Conflicts."""
    subresource = key.subresource if key is not None else subresource
    whole = compare(struct, *change)
    seen = Difference(*(_tracked(paths, struct, subresource) for paths in whole))
    changed = seen.added | seen.modified
    if not force:
        conflicts = [
            (owner, path)
            for owner in sorted(managed, key=str)
            if owner != key
            for path in sorted(managed[owner].fields & changed)
        ]
        if conflicts:
            raise _Conflicts(conflicts)
    after: dict[ManagerKey, Managed] = {}
    for owner, entry in managed.items():
        fields = entry.fields if owner == key else entry.fields - changed - seen.removed
        if fields:
            after[owner] = entry.with_fields(fields)
    return after, seen


def _tracked(paths: FieldSet, struct: StructType, subresource: str) -> FieldSet:
    """``paths`` without those that this way in does not write: a kind's status and the rest have an endpoint each."""
    if "status" not in struct.fields:
        return paths
    foreign = "f:spec" if subresource == "status" else "f:status" if not subresource else ""
    return frozenset(path for path in paths if path[:1] != (foreign,))


def _strip_untracked(managed: dict[ManagerKey, Managed], key: ManagerKey) -> None:
    fields = managed[key].fields - _UNTRACKED
    if fields:
        managed[key] = managed[key].with_fields(fields)
    else:
        del managed[key]


def _conflict(found: list[tuple[ManagerKey, FieldPath]]) -> ApplyConflict:
    causes = tuple(
        StatusCause("FieldManagerConflict", f"conflict with {owner.text}", path_text(path)) for owner, path in found
    )
    if len(found) == 1:
        owner, path = found[0]
        text = f"Apply failed with 1 conflict: conflict with {owner.text}: {path_text(path)}"
    else:
        lines: list[str] = []
        for owner in dict.fromkeys(owner for owner, _ in found):
            lines.append(f"conflicts with {owner.text}:")
            lines.extend(f"- {path_text(path)}" for one, path in found if one == owner)
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return ApplyConflict(text, causes)


@lru_cache(maxsize=_ZEROES_KEPT_MAX)
def _zero(struct: StructType) -> dict[str, Any]:
    """An object of the kind before anything is set: what is always there is nobody's."""
    return decode(struct, {}).value


def _managed_of(obj: dict[str, Any] | None) -> dict[ManagerKey, Managed]:
    try:
        return decode_managed(obj["metadata"].get("managedFields")) if obj is not None else {}
    except DecodeError:
        return {}


def _without_managed_fields(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj.get("metadata", {})
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def _with_managed_fields(obj: dict[str, Any], managed: Mapping[ManagerKey, Managed]) -> dict[str, Any]:
    bare = _without_managed_fields(obj)
    entries = encode_managed(managed)
    return {**bare, "metadata": {**(bare.get("metadata") or {}), "managedFields": entries}} if entries else bare
