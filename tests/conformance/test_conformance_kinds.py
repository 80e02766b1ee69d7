"""Custom resources and kinds with columns or rules of their own: alike on the embedded and on a real API server."""

from __future__ import annotations

import pytest
from conformance import APPLY, METADATA_LIST, STRATEGIC, TABLE, Step, assert_alike, delete, get, patch, post, put
from conformance_objects import DEPLOYMENT, JOB, LEASES, NS, PODS, pod

from reconcile.testing.envtest import ControlPlane

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "NAMESPACE.example.com"
WIDGETS = f"/apis/{GROUP}/v1/namespaces/NAMESPACE/widgets"
DEFINITION = {
    "metadata": {"name": f"widgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count"},
                },
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
                ],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1},
                                    "count": {"type": "integer", "default": 2},
                                    "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                                },
                            },
                            "status": {
                                "type": "object",
                                "properties": {"count": {"type": "integer"}, "seen": {"type": "integer"}},
                            },
                        },
                    }
                },
            }
        ],
    },
}


def widget(**spec: object) -> dict:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


CASES: dict[str, list[Step]] = {
    "custom resource": [
        post(DEFINITIONS, DEFINITION, settles=True),
        get(WIDGETS, settles=True),
        post(f"{WIDGETS}?dryRun=All", widget(size=1), settles=True),
        post(WIDGETS, widget(size=3, lost="x")),
        post(WIDGETS, widget(size=3)),
        post(WIDGETS, {**widget(size=0), "metadata": {"name": "small"}}),
        post(WIDGETS, {**widget(), "metadata": {"name": "none"}}),
        post(WIDGETS, {**widget(size=1, color="green"), "metadata": {"name": "green"}}),
        get(f"{WIDGETS}/w"),
        get(WIDGETS),
        get(WIDGETS, accept=TABLE),
        get(f"{WIDGETS}?fieldSelector=spec.color%3Dred", accept=METADATA_LIST),
        get(f"{WIDGETS}?fieldSelector=spec.size%3D3"),
        patch(f"{WIDGETS}/w", {"spec": {"size": 4}, "status": {"seen": 1}}),
        patch(f"{WIDGETS}/w", {"spec": {"size": 4}}, STRATEGIC),
        patch(f"{WIDGETS}/w/status", {"spec": {"size": 9}, "status": {"seen": 1}}),
        put(f"{WIDGETS}/w", widget(size=5)),
        patch(f"{WIDGETS}/w?fieldManager=me", widget(size=6), APPLY),
        patch(f"{WIDGETS}/w?fieldManager=me&force=true", widget(size=6), APPLY),
        get(f"{WIDGETS}/w/scale"),
        patch(f"{WIDGETS}/w/scale", {"spec": {"replicas": 7}}),
        get(f"{WIDGETS}/w"),
        delete(f"{WIDGETS}/w"),
        delete(f"{DEFINITIONS}/widgets.{GROUP}", settles=True),
    ],
    "other kinds": [
        post(f"{NS}/secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
        get(f"{NS}/secrets", accept=TABLE),
        post(f"{NS}/serviceaccounts", {"metadata": {"name": "sa"}}),
        delete(f"{NS}/serviceaccounts/sa"),
        post(LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x", "leaseDurationSeconds": 15}}),
        get(LEASES, accept=TABLE),
        post(
            "/apis/batch/v1/namespaces/NAMESPACE/cronjobs",
            {"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": JOB["spec"]}}},
        ),
        get("/apis/batch/v1/namespaces/NAMESPACE/cronjobs", accept=TABLE),
        post(
            "/apis/apps/v1/namespaces/NAMESPACE/replicasets",
            {
                "metadata": {"name": "rs"},
                "spec": {"replicas": 2, **{k: DEPLOYMENT["spec"][k] for k in ("selector", "template")}},
            },
        ),
        get("/apis/apps/v1/namespaces/NAMESPACE/replicasets", accept=TABLE),
        post(
            "/apis/apps/v1/namespaces/NAMESPACE/statefulsets",
            {"metadata": {"name": "ss"}, "spec": {"serviceName": "x", **DEPLOYMENT["spec"]}},
        ),
        post("/apis/apps/v1/namespaces/NAMESPACE/daemonsets", {"metadata": {"name": "ds"}, "spec": DEPLOYMENT["spec"]}),
        post(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/NAMESPACE/roles",
            {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        ),
        post(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/NAMESPACE/rolebindings",
            {
                "metadata": {"name": "r"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}],
            },
        ),
        post("/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "NAMESPACE"}, "value": 7}),
        post(PODS, {"metadata": {"name": "p"}, "spec": {**pod("p")["spec"], "priorityClassName": "NAMESPACE"}}),
        post(PODS, {"metadata": {"name": "q"}, "spec": {**pod("p")["spec"], "priorityClassName": "no-such"}}),
        delete("/apis/scheduling.k8s.io/v1/priorityclasses/NAMESPACE"),
        get(PODS, accept=TABLE),
        post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "NAMESPACE"}}},
        ),
    ],
}


@pytest.mark.parametrize("name", list(CASES))
def test_both_servers_say_the_same_of_these_kinds(name: str, control_plane: ControlPlane, namespace: str) -> None:
    """Status, body, warnings and watch events are equal, but for uids, versions, times and chance."""
    assert_alike(CASES[name], control_plane, namespace)
