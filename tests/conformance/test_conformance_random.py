"""Random conversations: whatever is asked in whatever order, both servers answer alike, and tell the same events."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from conformance import APPLY, JSON_PATCH, MERGE, STRATEGIC, Step, assert_alike, delete, get, patch, post, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconcile.testing.envtest import ControlPlane

COLLECTIONS = {
    "configmaps": "/api/v1/namespaces/NAMESPACE/configmaps",
    "pods": "/api/v1/namespaces/NAMESPACE/pods",
    "jobs": "/apis/batch/v1/namespaces/NAMESPACE/jobs",
    "leases": "/apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases",
}
KINDS = {
    "configmaps": ("v1", "ConfigMap"),
    "pods": ("v1", "Pod"),
    "jobs": ("batch/v1", "Job"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
}
NAMES = st.sampled_from(["a", "b"])
LABELS = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2)
DRY = st.sampled_from(["", "", "", "?dryRun=All"])
_numbers = itertools.count()


def content(plural: str, number: int) -> dict[str, Any]:
    """What an object holds beside its metadata."""
    container = {"name": "main", "image": f"image-{number}"}
    match plural:
        case "configmaps":
            return {"data": {f"key{number}": str(number)}}
        case "pods":
            return {"spec": {"containers": [container]}}
        case "leases":
            return {"spec": {"holderIdentity": f"holder-{number}"}}
        case _:
            template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
            return {"spec": {"parallelism": number, "template": template}}


@st.composite
def one_step(draw: st.DrawFn, marker: str) -> Step:
    plural = draw(st.sampled_from(sorted(COLLECTIONS)))
    base, name, number = COLLECTIONS[plural], f"{marker}{draw(NAMES)}", draw(st.integers(0, 2))
    path, dry = f"{base}/{name}", draw(DRY)
    api_version, kind = KINDS[plural]
    metadata: dict[str, Any] = {"name": name, "labels": {"run": marker, **draw(LABELS)}}
    if draw(st.booleans()):
        metadata["finalizers"] = ["example.com/hold"]
    obj = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content(plural, number)}
    change = draw(
        st.sampled_from(
            [
                {"metadata": {"labels": {"x": "3", "y": None}}},
                {"metadata": {"finalizers": None}},
                {"metadata": {"annotations": {"note": str(number)}}},
                {"metadata": {"labels": {"bad label": "1"}}},
                content(plural, number),
                {"spec": {"unknown": number}},
            ]
        )
    )
    match draw(st.integers(0, 11)):
        case 0 | 1 | 2:
            return post(f"{base}{dry}", obj)
        case 3:
            return put(f"{path}{dry}", obj)
        case 4:
            return patch(f"{path}{dry}", change, MERGE)
        case 5:
            return patch(f"{path}{dry}", change, STRATEGIC)
        case 6:
            operation = draw(st.sampled_from(["add", "replace", "test", "remove"]))
            value = {} if operation == "remove" else {"value": str(number)}
            return patch(f"{path}{dry}", [{"op": operation, "path": "/metadata/labels/x", **value}], JSON_PATCH)
        case 7 | 8:
            force = draw(st.sampled_from(["", "&force=true"]))
            applied = {**obj, "metadata": {"name": name, "labels": metadata["labels"]}}
            return patch(f"{path}?fieldManager=manager{number}{force}", applied, APPLY)
        case 9:
            policy = draw(st.sampled_from(["", "Background", "Foreground", "Orphan"]))
            options = {"propagationPolicy": policy} if policy else {}
            return delete(path, options | ({"gracePeriodSeconds": number} if draw(st.booleans()) else {}))
        case 10:
            status = (
                {"phase": draw(st.sampled_from(["Running", "Succeeded"]))} if plural == "pods" else {"active": number}
            )
            return patch(f"{path}/status", {"status": status}, MERGE)
        case _:
            selector = draw(st.sampled_from(["", ",x%3D1", ",!y", ",x+in+(1,3)"]))
            return get(f"{base}?labelSelector=run%3D{marker}{selector}&limit={number}")


@st.composite
def conversations(draw: st.DrawFn) -> list[Step]:
    marker = f"r{os.getpid()}-{next(_numbers)}x"
    steps = draw(st.lists(one_step(marker), min_size=1, max_size=25))
    anchor = post(f"{COLLECTIONS['configmaps']}", {"metadata": {"name": f"{marker}anchor"}})
    base = COLLECTIONS[draw(st.sampled_from(sorted(COLLECTIONS)))]
    told = get(
        lambda seen: (
            f"{base}?watch=1&timeoutSeconds=1&labelSelector=run%3D{marker}"
            f"&resourceVersion={seen[0]['metadata']['resourceVersion']}"
        )
    )
    # A watch costs a second on the real server: one conversation in five has one.
    return [anchor, *steps, *([told] if draw(st.integers(0, 4)) == 4 else [])]


SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=25, **SETTINGS)
@given(steps=conversations())
def test_random_requests_are_answered_alike(steps: list[Step], control_plane: ControlPlane, namespace: str) -> None:
    """The same random requests in the same order have the same answers; now and then the watches are compared too."""
    assert_alike(steps, control_plane, namespace)


@pytest.mark.long
@settings(max_examples=3000, **(SETTINGS | {"derandomize": False}))
@given(steps=conversations())
def test_many_random_requests_are_answered_alike(
    steps: list[Step], control_plane: ControlPlane, namespace: str
) -> None:
    """As above, for as long as a coffee takes: `pytest -m long tests/conformance`."""
    assert_alike(steps, control_plane, namespace)
