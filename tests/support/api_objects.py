"""Random objects for differential tests: mostly good, with the mistakes that people and programs make.

Each maker takes a ``Draw``, so that a seed gives the same object again.
"""

from __future__ import annotations

import random
from typing import Any


class Draw:
    """A source of choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    def count(self, least: int, greatest: int) -> int:
        return self._random.randint(least, greatest)

    def some(self, choices: Any, least: int = 0, greatest: int | None = None) -> list[Any]:
        choices = list(choices)
        return self._random.sample(choices, self.count(least, len(choices) if greatest is None else greatest))

    def fields(self, share: float, **choices: Any) -> dict[str, Any]:
        """Each field with this chance, with one of its values."""
        return {name: self.one(*values) for name, values in choices.items() if self.chance(share)}


def labels(draw: Draw) -> dict[str, str]:
    found = {}
    for _ in range(draw.count(0, 2)):
        key = draw.one("a", "b") if draw.chance(0.9) else draw.one("x.y/z", "bad key!", "/x", "a/b/c", "A" * 64)
        found[key] = "1" if draw.chance(0.9) else draw.one("2", "bad value!", "-")
    return found


def metadata(draw: Draw, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    if draw.chance(0.04):
        found["name"] = draw.one("Bad", "x_y", "a..b", "-a", "z" * 254)
    if draw.chance(0.03):
        del found["name"]
    elif draw.chance(0.05):
        found["generateName"] = draw.one("ok-", "Bad-", "x.")
    if draw.chance(0.2):
        found["labels"] = labels(draw)
    if draw.chance(0.1):
        found["annotations"] = labels(draw)
    if draw.chance(0.07):
        found["finalizers"] = draw.some(["x.y/z", "orphan", "foregroundDeletion", "bad f", "kubernetes"], 1, 2)
    if draw.chance(0.07):
        found["ownerReferences"] = [
            {
                "apiVersion": draw.one("v1", "a/b/c", "apps/v1"),
                "kind": draw.one("Secret", "", "Event"),
                "name": draw.one("n", ""),
                "uid": f"u{number}",
                "controller": draw.one(True, None),
            }
            for number in range(draw.count(1, 2))
        ]
    return found


def probe(draw: Draw) -> dict[str, Any]:
    handlers = {
        "exec": {"command": draw.one(["x"], [])},
        "httpGet": {
            "port": draw.one(80, "http", "", 0, "BAD_", 70000),
            **draw.fields(0.3, path=["/x"], scheme=["HTTP", "HTTPS", "X"]),
        },
        "tcpSocket": {"port": draw.one(80, 0)},
        "grpc": {"port": draw.one(80, 0)},
    }
    chosen = draw.some(handlers, 1, 1) if draw.chance(0.8) else draw.some(handlers, 0, 2)
    seconds = draw.fields(0.15, initialDelaySeconds=[1, -1], timeoutSeconds=[1, 0], periodSeconds=[1, 2, -1])
    thresholds = draw.fields(
        0.15, successThreshold=[1, 2], failureThreshold=[1, 0], terminationGracePeriodSeconds=[1, 0]
    )
    return {**{name: handlers[name] for name in chosen}, **seconds, **thresholds}


def environment(draw: Draw) -> list[dict[str, Any]]:
    sources = (
        {"fieldRef": {"fieldPath": "metadata.name"}},
        {"configMapKeyRef": {"name": "c", "key": draw.one("k", "bad key")}},
        {"secretKeyRef": {"key": "k"}},
        {},
        {"fieldRef": {"fieldPath": "metadata.uid"}, "secretKeyRef": {"name": "s", "key": "k"}},
    )
    return [
        {"name": draw.one("A", "B", "C", "A", ""), **draw.fields(0.4, value=["1"], valueFrom=sources)} for _ in range(2)
    ]


def resources(draw: Draw) -> dict[str, Any]:
    names = ["cpu", "memory", "ephemeral-storage", "x.y/gpu", *(["bogus", "hugepages-2Mi"] if draw.chance(0.1) else [])]
    amounts = ("1", "2", "500m", "1Gi") if draw.chance(0.9) else ("-1", "0.0001", "2Mi")
    return {
        kind: {name: draw.one(*amounts) for name in draw.some(names, 1, 2)}
        for kind in draw.some(["limits", "requests"], 1)
    }


def container(draw: Draw, name: str) -> dict[str, Any]:
    images = ("i", "i:latest", "r/i:1", "i@sha256:" + "0" * 64)
    found: dict[str, Any] = {
        "name": name if draw.chance(0.96) else draw.one("a", "Bad_", "x.y", "a" * 64, ""),
        "image": draw.one(*images) if draw.chance(0.97) else "",
        **draw.fields(0.06, imagePullPolicy=["Always", "Never", "X", ""], terminationMessagePolicy=["File", "X"]),
        **draw.fields(0.1, command=[["x"]], lifecycle=[{"preStop": {"exec": {"command": ["x"]}}}]),
    }
    if draw.chance(0.2):
        found["env"] = environment(draw)
    if draw.chance(0.2):
        found["ports"] = [
            {
                "containerPort": draw.one(80, 81, 82) if draw.chance(0.9) else draw.one(0, 70000),
                **draw.fields(0.2, name=["a", "b", "BAD", "x--y"], protocol=["TCP", "UDP", "X"], hostPort=[80, 81, 0]),
            }
            for _ in range(2)
        ]
    if draw.chance(0.3):
        found["resources"] = resources(draw)
    if draw.chance(0.15):
        found["volumeMounts"] = [{"name": draw.one("v1", "v1", "nope"), "mountPath": draw.one("/a", "/b", "")}]
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if draw.chance(0.07):
            found[kind] = probe(draw)
    return found


VOLUMES = (
    {"name": "v2", "configMap": {"name": "c"}},
    {"name": "v2", "configMap": {}},
    {"name": "v1"},
    {"name": "V2"},
    {"name": "v2", "secret": {"secretName": "s"}},
    {"name": "v3", "hostPath": {"path": "/x"}},
    {"name": "v3", "hostPath": {"path": "/x"}, "emptyDir": {}},
    {"name": "p", "persistentVolumeClaim": {"claimName": "x"}},
    {"name": "q", "projected": {"sources": [{"configMap": {"name": "a"}}, {"serviceAccountToken": {"path": "t"}}]}},
    {"name": "d", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
)


def tolerations(draw: Draw) -> list[dict[str, Any]]:
    return [
        {
            **draw.fields(0.8, key=["k", "bad key", ""], operator=["Exists", "Equal", "X"]),
            **draw.fields(
                0.3, value=["1", "bad value"], effect=["NoExecute", "NoSchedule", "X"], tolerationSeconds=[5]
            ),
        }
        for _ in range(draw.count(1, 2))
    ]


def pod_spec(draw: Draw, restart: str | None = None) -> dict[str, Any]:
    if draw.chance(0.35):
        plain = {"containers": [{"name": "a", "image": "i"}]}
        return {**plain, "restartPolicy": restart} if restart else plain
    found: dict[str, Any] = {
        "containers": [container(draw, "abc"[index]) for index in range(draw.count(1, 2))],
        **({"restartPolicy": restart} if restart else {}),
        **draw.fields(
            0.05,
            containers=[[]],
            restartPolicy=["Always", "OnFailure", "Never", "X"],
            dnsPolicy=["Default", "X", "None"],
            activeDeadlineSeconds=[1, 10, 0, -1],
            terminationGracePeriodSeconds=[0, 1, -1],
            hostNetwork=[True, False],
            serviceAccountName=["sa", "Bad"],
            nodeName=["n", "Bad_"],
            hostname=["h", "Bad_"],
            priorityClassName=["system-node-critical", "Bad_"],
            enableServiceLinks=[True, False],
            automountServiceAccountToken=[True, False],
            securityContext=[{}, {"runAsUser": 5, "fsGroup": 1}],
            schedulingGates=[[{"name": "x.y/g"}], [{"name": "a"}, {"name": "a"}], [{"name": "bad g"}]],
        ),
    }
    if draw.chance(0.2):
        found["initContainers"] = [container(draw, "x")]
        if draw.chance(0.3):
            found["initContainers"][0]["restartPolicy"] = "Always"
    if draw.chance(0.5):
        found["volumes"] = [{"name": "v1", "emptyDir": {}}, *([draw.one(*VOLUMES)] if draw.chance(0.5) else [])]
    if draw.chance(0.1):
        found["nodeSelector"] = labels(draw)
    if draw.chance(0.15):
        found["tolerations"] = tolerations(draw)
    return found


def pod(draw: Draw, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(draw, name), "spec": pod_spec(draw)}


def config_map(draw: Draw, name: str) -> dict[str, Any]:
    keys = draw.some(["a", "b", "bad key", "..", ".x"], 1, 2) if draw.chance(0.3) else ["a"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(draw, name),
        "data": dict.fromkeys(keys, "1"),
        **draw.fields(0.25, binaryData=[{"a": "aGk="}, {"z": "aGk="}], immutable=[True, False]),
    }


SECRET_TYPES = [
    "Opaque",
    "custom",
    *(
        f"kubernetes.io/{name}"
        for name in ("tls", "basic-auth", "ssh-auth", "dockercfg", "dockerconfigjson", "service-account-token")
    ),
]


def secret(draw: Draw, name: str) -> dict[str, Any]:
    keys = draw.some(["a", "tls.crt", "tls.key", "username", "bad key"], 1, 2)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(draw, name),
        "data": {key: draw.one("aGk=", "e30=") for key in keys},
        **draw.fields(0.3, stringData=[{"s": "t"}], type=SECRET_TYPES, immutable=[True, False]),
    }


def lease(draw: Draw, name: str) -> dict[str, Any]:
    times = ["2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.100000+02:00"]
    spec = draw.fields(
        0.5, holderIdentity=["h", ""], leaseDurationSeconds=[1, 15, 0, -1], leaseTransitions=[0, 1, -1], renewTime=times
    )
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata(draw, name), "spec": spec}


def node(draw: Draw, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": metadata(draw, name)}
    found["spec"] = draw.fields(0.3, unschedulable=[True, False], podCIDR=["10.0.0.0/24"])
    if draw.chance(0.5):
        effects = ("NoSchedule", "NoExecute", "X", "")
        found["spec"]["taints"] = [{"key": draw.one("a", "b", "bad k"), "effect": draw.one(*effects)} for _ in range(2)]
    if draw.chance(0.5):
        capacity = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        found["status"] = {"capacity": capacity, "conditions": [{"type": "Ready", "status": "True"}]}
    return found


def service_account(draw: Draw, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(draw, name),
        **draw.fields(
            0.3,
            secrets=[[{"name": "a"}]],
            automountServiceAccountToken=[True, False],
            imagePullSecrets=[[{"name": "p"}]],
        ),
    }


def event(draw: Draw, name: str) -> dict[str, Any]:
    found = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata(draw, name),
        "involvedObject": {"kind": "Pod", "namespace": draw.one("default", "other", ""), "name": "p"},
        "reason": "R",
        "message": "m",
        "type": draw.one("Normal", "Warning", "X"),
    }
    if draw.chance(0.5):
        found |= {"firstTimestamp": "2026-01-01T00:00:00Z", "count": 1}
    if draw.chance(0.3):
        found |= {"eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": draw.one("a.b/c", "")}
        found |= {"reportingInstance": draw.one("i", ""), "action": draw.one("A", "")}
    return found


RBAC = "rbac.authorization.k8s.io"


def role(draw: Draw, name: str) -> dict[str, Any]:
    rules = [
        {
            "verbs": draw.one(["get"], []),
            **draw.fields(0.9, apiGroups=[[""], ["apps"], []], resources=[["pods"], []]),
            **draw.fields(0.15, nonResourceURLs=[["/x"]], resourceNames=[["a"]]),
        }
        for _ in range(draw.count(1, 2))
    ]
    return {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata(draw, name), "rules": rules}


def role_binding(draw: Draw, name: str) -> dict[str, Any]:
    subjects = [
        {
            "kind": draw.one("User", "Group", "ServiceAccount", "X"),
            "name": draw.one("a", ""),
            **draw.fields(0.4, namespace=["default"], apiGroup=[RBAC, "x"]),
        }
        for _ in range(draw.count(0, 2))
    ]
    reference = {"kind": draw.one("ClusterRole", "ClusterRole", "X"), "name": draw.one("admin", "view", "")}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(draw, name),
        "roleRef": {**reference, **draw.fields(0.5, apiGroup=[RBAC, "x"])},
        "subjects": subjects,
    }
