"""``metadata``: names, labels, annotations, owners, finalizers; what of it may change.

Source of the rules: the API conventions ("Metadata"), and what a real server answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    at_least_zero,
    forbidden,
    immutable,
    invalid,
    required,
    too_long,
)
from reconcile.cluster.api_server.name_rules import dns_label, label_value, qualified_name

__all__ = [
    "NameRule",
    "check_annotations",
    "check_finalizer_prefixes",
    "check_labels",
    "check_metadata",
    "check_metadata_update",
    "check_selector",
]

NameRule = Callable[[str], list[str]]
ANNOTATIONS_BYTES_MAX = 256 * 1024


def check_finalizer_prefixes(metadata: Mapping[str, Any]) -> list[Invalid]:
    """Of built-in kinds: a finalizer is one of the server's, or its name says whose it is."""
    return [
        invalid(
            f"metadata.finalizers[{index}]", name, "name is neither a standard finalizer name nor is it fully qualified"
        )
        for index, name in enumerate(metadata.get("finalizers") or ())
        if "/" not in name and name not in _STANDARD_FINALIZERS
    ]


_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def check_metadata(metadata: Mapping[str, Any], *, is_namespaced: bool, name_rule: NameRule) -> list[Invalid]:
    """What is wrong with a new object's metadata."""
    problems: list[Invalid] = []
    if prefix := metadata.get("generateName"):
        # What comes after the prefix makes a name of one that ends in a hyphen.
        sample = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        problems += [invalid("metadata.generateName", prefix, text) for text in name_rule(sample)]
    name = metadata.get("name", "")
    if not name:
        problems.append(required("metadata.name", "name or generateName is required"))
    else:
        problems += [invalid("metadata.name", name, text) for text in name_rule(name)]
    namespace = metadata.get("namespace", "")
    if is_namespaced:
        if not namespace:
            problems.append(required("metadata.namespace"))
        else:
            problems += [invalid("metadata.namespace", namespace, text) for text in dns_label(namespace)]
    elif namespace:
        problems.append(forbidden("metadata.namespace", "not allowed on this type"))
    return [*problems, *_check_common(metadata), *_check_finalizers(metadata.get("finalizers") or ())]


def check_metadata_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of metadata."""
    problems: list[Invalid] = []
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            shown = ", ".join(f'"{one}"' for one in added)
            problems.append(
                forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{shown}}}",
                )
            )
    generation, before = new.get("generation", 0), old.get("generation", 0)
    if generation < before:
        problems.append(invalid("metadata.generation", generation, "must not be decremented"))
    for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        problems += immutable(f"metadata.{name}", old.get(name), new.get(name))
    return [*problems, *_check_common(new)]


def _check_common(metadata: Mapping[str, Any]) -> list[Invalid]:
    return [
        *at_least_zero("metadata.generation", metadata.get("generation")),
        *check_labels("metadata.labels", metadata.get("labels")),
        *check_annotations("metadata.annotations", metadata.get("annotations")),
        *_check_owners(metadata.get("ownerReferences") or ()),
    ]


def check_labels(field: str, labels: Mapping[str, str] | None) -> list[Invalid]:
    """Keys and values."""
    problems: list[Invalid] = []
    for key, value in (labels or {}).items():
        problems += [invalid(field, key, text) for text in qualified_name(key)]
        problems += [invalid(field, value, text) for text in label_value(value)]
    return problems


def check_annotations(field: str, annotations: Mapping[str, str] | None) -> list[Invalid]:
    """Keys, and the size of all together."""
    problems: list[Invalid] = []
    size = 0
    for key, value in (annotations or {}).items():
        problems += [invalid(field, key, text) for text in qualified_name(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        problems.append(too_long(field, ANNOTATIONS_BYTES_MAX))
    return problems


def _check_owners(owners: Sequence[Mapping[str, Any]]) -> list[Invalid]:
    problems: list[Invalid] = []
    controller = ""
    for index, owner in enumerate(owners):
        where = f"metadata.ownerReferences[{index}]"
        version = owner.get("apiVersion", "")
        if version and (version.count("/") > 1 or version.endswith("/")):
            problems.append(invalid(f"{where}.apiVersion", version, "must be <group>/<version> or <version>"))
        problems += [
            required(f"{where}.{name}", "must not be empty")
            for name in ("apiVersion", "kind", "name", "uid")
            if not owner.get(name)
        ]
        if version == "v1" and owner.get("kind") == "Event":
            problems.append(invalid(where, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            name = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                problems.append(
                    invalid(
                        "metadata.ownerReferences",
                        owners,
                        'Only one reference can have Controller set to true. Found "true" in references for '
                        f"{controller} and {name}",
                    )
                )
            else:
                controller = name
    return problems


def _check_finalizers(finalizers: Sequence[str]) -> list[Invalid]:
    field = "metadata.finalizers"
    problems = [invalid(field, name, text) for name in finalizers for text in qualified_name(name)]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        problems.append(invalid(field, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))
    return problems


def check_selector(field: str, selector: Mapping[str, Any] | None) -> list[Invalid]:
    """A label selector."""
    if selector is None:
        return []
    problems = check_labels(f"{field}.matchLabels", selector.get("matchLabels"))
    for index, one in enumerate(selector.get("matchExpressions") or ()):
        where, values = f"{field}.matchExpressions[{index}]", one.get("values") or ()
        match one.get("operator"):
            case "In" | "NotIn":
                if not values:
                    problems.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
            case "Exists" | "DoesNotExist":
                if values:
                    text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    problems.append(forbidden(f"{where}.values", text))
            case other:
                problems.append(invalid(f"{where}.operator", other or "", "not a valid selector operator"))
        problems += [invalid(f"{where}.key", one.get("key", ""), text) for text in qualified_name(one.get("key", ""))]
        for number, value in enumerate(values):
            problems += [invalid(f"{where}.values[{number}]", value, text) for text in label_value(value)]
    return problems
