"""kubectl's change from client-side to server-side apply: the annotation ``last-applied-configuration``.

What a client-side apply set last, and what still has that value, may be taken over by kubectl's server-side apply
without a conflict; the annotation then follows what is applied, so that a client-side apply can come after it.
"""

from __future__ import annotations

from typing import Any

from reconcile.cluster.api_server.field_set import FieldSet
from reconcile.cluster.api_server.schema import StructType
from reconcile.cluster.api_server.typed_value import compare, field_set_of
from reconcile.errors import DecodeError
from reconcile.model import json

__all__ = ["LAST_APPLIED_ANNOTATION", "allowed_conflicts", "with_last_applied"]

LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_ANNOTATIONS_BYTES_MAX = 256 * 1024
"""The API's limit on all annotations of an object: beyond it, the annotation is left out."""


def allowed_conflicts(struct: StructType, live: dict[str, Any], api_version: str) -> FieldSet | None:
    """What the last client-side apply set and still stands; None: there was none that can be read."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED_ANNOTATION)
    if not text:
        return None
    try:
        applied = json.decode(text)
    except DecodeError:
        return None
    if not isinstance(applied, dict) or applied.get("apiVersion") != api_version:
        return None
    difference = compare(struct, applied, live)
    return field_set_of(struct, applied) - difference.modified - difference.added - difference.removed


def with_last_applied(merged: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    """``merged`` with the annotation saying what was applied, if it has the annotation at all."""
    metadata = merged.get("metadata") or {}
    annotations = dict(metadata.get("annotations") or {})
    if LAST_APPLIED_ANNOTATION not in annotations:
        return merged
    own = {name: value for name, value in applied.items() if name != "metadata"}
    own_metadata = dict(applied.get("metadata") or {})
    own_metadata.pop("managedFields", None)
    if own_annotations := own_metadata.get("annotations"):
        own_metadata["annotations"] = {
            name: value for name, value in own_annotations.items() if name != LAST_APPLIED_ANNOTATION
        }
    annotations[LAST_APPLIED_ANNOTATION] = json.encode({**own, "metadata": own_metadata}).decode() + "\n"
    if sum(len(name.encode()) + len(value.encode()) for name, value in annotations.items()) > _ANNOTATIONS_BYTES_MAX:
        del annotations[LAST_APPLIED_ANNOTATION]
    return {**merged, "metadata": {**metadata, "annotations": annotations}}
