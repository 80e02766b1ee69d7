"""Conversations that the embedded API server and a real kube-apiserver must lead alike, word for word."""

from __future__ import annotations

import attrs
import pytest
from conformance import (
    APPLY,
    JSON_PATCH,
    METADATA,
    METADATA_LIST,
    STRATEGIC,
    TABLE,
    Normal,
    Step,
    delete,
    get,
    patch,
    play_embedded,
    play_real,
    post,
    put,
)
from embedded import api_server

from reconcile.model import json
from reconcile.testing.envtest import ControlPlane

NS = "/api/v1/namespaces/NAMESPACE"
MAPS = f"{NS}/configmaps"
PODS = f"{NS}/pods"
JOBS = "/apis/batch/v1/namespaces/NAMESPACE/jobs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/NAMESPACE/deployments"
BUDGETS = "/apis/policy/v1/namespaces/NAMESPACE/poddisruptionbudgets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/NAMESPACE/leases"
EVENTS = f"{NS}/events"
NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/NAMESPACE/events"


def config_map(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, *, node: str = "", labels: dict | None = None) -> dict:
    spec = {"containers": [{"name": "c", "image": "i"}]} | ({"nodeName": node} if node else {})
    metadata = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
JOB = {"metadata": {"name": "j"}, "spec": {"template": TEMPLATE}}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "e"}}
READY = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}

CASES: dict[str, list[Step]] = {
    "create": [
        post(MAPS, config_map("a", x="1")),
        post(MAPS, config_map("a", x="1")),
        post(MAPS, {"metadata": {"generateName": "gen-"}}),
        post(MAPS, {"metadata": {}}),
        post(MAPS, config_map("A_b")),
        post(MAPS, {"metadata": {"name": "q", "namespace": "default"}}),
        post(MAPS, {"metadata": {"name": "q", "resourceVersion": "5"}}),
        post("/api/v1/namespaces/no-such/configmaps", config_map("a")),
        post(MAPS, pod("a")),
        post(MAPS, b'{"a":'),
        post(MAPS, b"text", content_type="text/plain"),
        post(MAPS, b'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "y"}\n', content_type="application/yaml"),
        post(f"{MAPS}?fieldValidation=Strict", {"metadata": {"name": "q"}, "foo": 1}),
        post(MAPS, {"metadata": {"name": "w"}, "foo": 1}),
        post(f"{MAPS}?fieldValidation=Ignore", {"metadata": {"name": "i"}, "foo": 1}),
        post(f"{MAPS}?dryRun=All", config_map("dry")),
        get(f"{MAPS}/dry"),
        post(f"{MAPS}?dryRun=X", config_map("q")),
        post(f"{MAPS}?fieldManager={'x' * 129}", config_map("q")),
        post(f"{MAPS}?fieldValidation=X", config_map("q")),
        post(f"{MAPS}/a", {}),
        put(MAPS, {}),
    ],
    "read": [
        post(MAPS, config_map("a", x="1")),
        get(f"{MAPS}/a"),
        get(f"{MAPS}/b"),
        get(f"{MAPS}/a", accept="text/html"),
        get(f"{MAPS}/a", accept=METADATA),
        get(f"{MAPS}/a", accept=TABLE),
        get(f"{MAPS}/a?resourceVersion=999999999"),
        get(MAPS, accept=METADATA_LIST),
        get(f"{MAPS}?resourceVersion=999999999"),
        get(f"{MAPS}?resourceVersion=abc"),
        get(f"{MAPS}?watch=1&resourceVersion=abc"),
        get(f"{MAPS}?resourceVersionMatch=Exact"),
        get(f"{MAPS}?resourceVersionMatch=X&resourceVersion=1"),
        get(f"{MAPS}?resourceVersionMatch=Exact&resourceVersion=0"),
        get(f"{MAPS}?limit=abc"),
        get(f"{MAPS}?fieldSelector=a.b=c"),
        get(f"{MAPS}?fieldSelector=a"),
        get(f"{PODS}?fieldSelector=spec.foo=c"),
        get(f"{MAPS}?watch=1&sendInitialEvents=true"),
        get(f"{MAPS}?sendInitialEvents=true"),
        get("/api/v1/foos"),
        get("/apis/foo/v1/foos"),
        get("/foo"),
        get(f"{PODS}/a/foo"),
        get(f"{NS}/nodes"),
        get(PODS, is_anonymous=True),
        get("/healthz", is_anonymous=True),
        get("/livez"),
    ],
    "pages": [
        *[post(MAPS, {"metadata": {"name": f"m{n}", "labels": {"n": str(n % 2)}}}) for n in range(5)],
        get(f"{MAPS}?limit=2"),
        get(lambda seen: f"{MAPS}?limit=2&continue={seen[-1]['metadata']['continue']}"),
        delete(f"{MAPS}/m4"),
        get(lambda seen: f"{MAPS}?limit=2&continue={seen[-2]['metadata']['continue']}"),
        get(f"{MAPS}?labelSelector=n%3D1"),
        get(f"{MAPS}?labelSelector=n+in+(0)&limit=1"),
        get(f"{MAPS}?labelSelector=!n"),
        get(f"{MAPS}?fieldSelector=metadata.name%3Dm1"),
        get(f"{MAPS}?fieldSelector=metadata.name!%3Dm1"),
        get(lambda seen: f"{MAPS}?resourceVersionMatch=Exact&resourceVersion={seen[1]['metadata']['resourceVersion']}"),
        get(f"{MAPS}?continue=abc"),
        get(f"{MAPS}?resourceVersion=0"),
    ],
    "update": [
        post(MAPS, config_map("a", x="1")),
        put(f"{MAPS}/a", config_map("a", x="2")),
        put(f"{MAPS}/a", config_map("a", x="2")),
        put(f"{MAPS}/b", config_map("b", x="2")),
        put(f"{MAPS}/a", config_map("b", x="2")),
        put(f"{MAPS}/a", {"metadata": {"name": "a", "resourceVersion": "1"}, "data": {"x": "3"}}),
        put(f"{MAPS}/a", {"metadata": {"name": "a", "uid": "123"}, "data": {"x": "3"}}),
        put(f"{MAPS}/a?dryRun=All", config_map("a", x="4")),
        get(f"{MAPS}/a"),
        put(f"{LEASES}/l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}}),
        put(f"{LEASES}/l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "y"}}),
    ],
    "patch": [
        post(MAPS, config_map("a", x="1")),
        patch(f"{MAPS}/a", {"data": {"x": None, "y": "2"}}),
        patch(f"{MAPS}/a", [{"op": "add", "path": "/data/z", "value": "3"}], JSON_PATCH),
        patch(f"{MAPS}/a", [{"op": "test", "path": "/data/z", "value": "4"}], JSON_PATCH),
        patch(f"{MAPS}/a", {"metadata": {"labels": {"l": "1"}}}, STRATEGIC),
        patch(f"{MAPS}/a", {"metadata": {"labels": {"l": "1"}}}, STRATEGIC),
        patch(f"{MAPS}/a", {}, "application/json"),
        patch(f"{MAPS}/none", {}),
        patch(f"{MAPS}/a", []),
        patch(f"{MAPS}/a", {"metadata": {"name": "k"}}),
        patch(f"{MAPS}/a", {"metadata": {"resourceVersion": "1"}}),
        patch(f"{MAPS}/a", {"metadata": {"uid": "1"}}),
        patch(f"{MAPS}/a?dryRun=All", {"data": {"y": "9"}}),
        get(f"{MAPS}/a"),
    ],
    "apply": [
        patch(f"{MAPS}/a?fieldManager=one", config_map("a", x="1"), APPLY),
        patch(f"{MAPS}/a?fieldManager=one", config_map("a", x="1"), APPLY),
        patch(f"{MAPS}/a?fieldManager=two", config_map("a", x="2"), APPLY),
        patch(f"{MAPS}/a?fieldManager=two&force=true", config_map("a", x="2"), APPLY),
        patch(f"{MAPS}/a?fieldManager=one", config_map("a", y="1"), APPLY),
        patch(f"{MAPS}/a", config_map("a", y="1"), APPLY),
        patch(f"{MAPS}/a?fieldManager=one", config_map("b", y="1"), APPLY),
    ],
    "delete": [
        post(MAPS, config_map("a")),
        delete(f"{MAPS}/a", {"preconditions": {"uid": "1"}}),
        delete(f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}}),
        delete(f"{MAPS}/a?propagationPolicy=x"),
        delete(f"{MAPS}/a", {"propagationPolicy": "Background", "orphanDependents": True}),
        delete(f"{MAPS}/a?dryRun=All"),
        delete(f"{MAPS}/a"),
        delete(f"{MAPS}/a"),
        post(MAPS, {"metadata": {"name": "f", "finalizers": ["x.io/y"]}}),
        delete(f"{MAPS}/f"),
        delete(f"{MAPS}/f"),
        delete(f"{MAPS}/f?propagationPolicy=Foreground"),
        patch(f"{MAPS}/f", {"metadata": {"finalizers": ["x.io/y", "z.io/z"]}}),
        patch(f"{MAPS}/f", {"metadata": {"finalizers": None}}),
        get(f"{MAPS}/f"),
        post(MAPS, config_map("g")),
        delete(f"{MAPS}/g?propagationPolicy=Foreground"),
        post(MAPS, config_map("o")),
        delete(f"{MAPS}/o?propagationPolicy=Orphan"),
        delete(f"{MAPS}?labelSelector=a%3Db"),
        delete(MAPS),
        get(MAPS),
        delete(f"{PODS}/a/status"),
    ],
    "pod": [
        post(PODS, pod("a")),
        post(f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}),
        post(f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}),
        post(f"{PODS}/a/binding", {"metadata": {"name": "a"}, "target": {"kind": "Foo", "name": "n1"}}),
        post(f"{PODS}/x/binding", {"metadata": {"name": "x"}, "target": {"kind": "Node", "name": "n1"}}),
        get(f"{PODS}/a"),
        put(f"{PODS}/a", {**pod("a", node="n1"), "metadata": {"name": "a", "labels": {"l": "1"}}}),
        patch(f"{PODS}/a/status", READY),
        patch(f"{PODS}/a/status", {"status": {"podIP": "10.0.0.1"}, "spec": {"nodeName": "other"}}),
        get(f"{PODS}?fieldSelector=spec.nodeName%3Dn1,status.phase%3DRunning", accept=METADATA_LIST),
        delete(f"{PODS}/a?dryRun=All"),
        delete(f"{PODS}/a"),
        delete(f"{PODS}/a?gracePeriodSeconds=60"),
        delete(f"{PODS}/a?gracePeriodSeconds=5"),
        delete(f"{PODS}/a?gracePeriodSeconds=0"),
        get(f"{PODS}/a"),
        post(PODS, {"metadata": {"name": "b"}}),
        post(PODS, pod("c")),
        delete(f"{PODS}/c"),
    ],
    "eviction": [
        post(PODS, pod("e", node="n1", labels={"k": "v"})),
        post(
            BUDGETS, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"k": "v"}}}}
        ),
        patch(f"{PODS}/e/status", READY),
        post(f"{PODS}/e/eviction", EVICTION),
        patch(
            f"{BUDGETS}/b/status",
            {"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1}},
        ),
        post(f"{PODS}/e/eviction", EVICTION),
        patch(f"{BUDGETS}/b/status", {"status": {"disruptionsAllowed": 1, "currentHealthy": 2, "expectedPods": 2}}),
        post(f"{PODS}/e/eviction?dryRun=All", EVICTION),
        post(f"{PODS}/e/eviction", EVICTION),
        get(f"{BUDGETS}/b"),
        post(f"{PODS}/x/eviction", {**EVICTION, "metadata": {"name": "x"}}),
    ],
    "job": [
        post(JOBS, JOB),
        patch(f"{JOBS}/j/status", {"status": {"active": 1}, "spec": {"parallelism": 5}}),
        patch(f"{JOBS}/j", {"spec": {"parallelism": 3}, "status": {"active": 7}}),
        patch(f"{JOBS}/j", {"metadata": {"labels": {"x": "y"}}}),
        get(f"{JOBS}/j/status"),
        get(JOBS, accept=TABLE),
        delete(f"{JOBS}/j"),
        delete(f"{JOBS}/j?propagationPolicy=Background"),
    ],
    "deployment": [
        post(DEPLOYMENTS, DEPLOYMENT),
        get(f"{DEPLOYMENTS}/d/scale"),
        put(f"{DEPLOYMENTS}/d/scale", {"metadata": {"name": "d", "namespace": "NAMESPACE"}, "spec": {"replicas": 3}}),
        patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 2}}),
        patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": -2}}),
        patch(f"{DEPLOYMENTS}/d", {"metadata": {"annotations": {"x": "y"}}}),
        patch(f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 2}, "metadata": {"labels": {"not": "kept"}}}),
        get(DEPLOYMENTS, accept=TABLE),
        delete(f"{DEPLOYMENTS}/d"),
    ],
    "events": [
        post(
            NEW_EVENTS,
            {
                "metadata": {"name": "new"},
                "eventTime": "2026-01-01T00:00:00.000000Z",
                "reportingController": "c",
                "reportingInstance": "i",
                "action": "a",
                "reason": "r",
                "type": "Normal",
                "note": "n",
                "regarding": {"kind": "Pod", "namespace": "NAMESPACE", "name": "e"},
            },
        ),
        get(f"{EVENTS}/new"),
        post(
            EVENTS,
            {
                "metadata": {"name": "old"},
                "count": 3,
                "source": {"component": "cc", "host": "h"},
                "reason": "r",
                "type": "Normal",
                "message": "n",
                "firstTimestamp": "2026-01-01T00:00:00Z",
                "lastTimestamp": "2026-01-01T00:00:00Z",
                "involvedObject": {"kind": "Pod", "namespace": "NAMESPACE", "name": "e"},
            },
        ),
        get(f"{NEW_EVENTS}/old"),
        get(f"{EVENTS}?fieldSelector=involvedObject.name%3De,source%3Dcc", accept=METADATA_LIST),
    ],
    "watch": [
        post(MAPS, {"metadata": {"name": "a", "labels": {"in": "1"}}}),
        post(MAPS, config_map("b", x="1")),
        patch(f"{MAPS}/b", {"metadata": {"labels": {"in": "1"}}}),
        patch(f"{MAPS}/a", {"metadata": {"labels": {"in": "2"}}}),
        patch(f"{MAPS}/a", {"data": {"unseen": "1"}}),
        delete(f"{MAPS}/b"),
        get(
            lambda seen: (
                f"{MAPS}?watch=1&timeoutSeconds=1&labelSelector=in%3D1"
                f"&resourceVersion={seen[0]['metadata']['resourceVersion']}"
            )
        ),
        get(lambda seen: f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={seen[0]['metadata']['resourceVersion']}"),
        get(f"{MAPS}?watch=1&timeoutSeconds=1"),
        get(
            f"{MAPS}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            "&allowWatchBookmarks=true&fieldSelector=metadata.name%3Da"
        ),
        get(f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion=0", accept=METADATA),
    ],
    "namespace": [
        post("/api/v1/namespaces", {"metadata": {"name": "NAMESPACE-2"}}),
        delete("/api/v1/namespaces/NAMESPACE-2"),
        post("/api/v1/namespaces/NAMESPACE-2/configmaps", config_map("late")),
        put("/api/v1/namespaces/NAMESPACE-2/finalize", {"metadata": {"name": "NAMESPACE-2"}, "spec": {}}),
        get("/api/v1/namespaces/NAMESPACE-2"),
        delete("/api/v1/namespaces/default"),
    ],
    "node": [
        post("/api/v1/nodes", {"metadata": {"name": "NAMESPACE"}}),
        patch("/api/v1/nodes/NAMESPACE/status", {"status": {"capacity": {"cpu": "2"}}}),
        patch("/api/v1/nodes/NAMESPACE", {"spec": {"unschedulable": True}}, STRATEGIC),
        get("/api/v1/nodes?fieldSelector=metadata.name%3DNAMESPACE", accept=TABLE),
        delete("/api/v1/nodes/NAMESPACE"),
    ],
}


def in_namespace(steps: list[Step], namespace: str) -> list[Step]:
    """The steps with the name of the test's namespace put in."""

    def put_in(value):
        match value:
            case str():
                return value.replace("NAMESPACE", namespace)
            case bytes():
                return value.replace(b"NAMESPACE", namespace.encode())
            case dict() | list():
                return json.decode(json.encode(value).replace(b"NAMESPACE", namespace.encode()))
            case None:
                return None
            case _:
                return lambda seen: put_in(value(seen))

    return [attrs.evolve(step, path=put_in(step.path), body=put_in(step.body)) for step in steps]


@pytest.mark.parametrize("name", list(CASES))
def test_both_servers_say_the_same(name: str, control_plane: ControlPlane, namespace: str) -> None:
    """Status, body, warnings and watch events are equal, but for uids, versions, times and chance."""
    steps = in_namespace(CASES[name], namespace)
    server = api_server()
    play_embedded(server, [post("/api/v1/namespaces", {"metadata": {"name": namespace}})])
    ours, theirs = play_embedded(server, steps), play_real(control_plane, steps)
    normal_ours, normal_theirs = Normal(), Normal()
    for step, mine, real in zip(CASES[name], ours, theirs, strict=True):
        said = f"{step.method} {step.path if isinstance(step.path, str) else '…'}"
        assert (said, normal_ours.of(mine)) == (said, normal_theirs.of(real))
