"""Paths and objects of the conversations with API servers. NAMESPACE stands for the test's namespace."""

from __future__ import annotations

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
