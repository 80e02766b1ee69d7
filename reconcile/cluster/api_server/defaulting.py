"""What the API server fills in: the defaults of OpenAPI, and those that only the server's code knows.

Defaults belong to types, so that a Pod's apply to every template of one. ``simple_defaults.py`` has those that are a
value; here are those that depend on other fields, and the walk.

Source of the rules: the API reference of each kind; held field by field against a real server.

Guarantees: the input is not changed; defaulting what is defaulted changes nothing.
Assumptions: the object was decoded (``decoding.py``).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from reconcile.cluster.api_server.schema import SCHEMA, Field, ListType, MapType, StructType, Type
from reconcile.cluster.api_server.simple_defaults import SIMPLE_DEFAULTS

__all__ = ["default"]

_Rule = Callable[[dict[str, Any]], None]


def default(group: str, version: str, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    """``obj`` with the defaults of a built-in kind; an unknown kind has none."""
    struct = SCHEMA.type_for(group, version, kind)
    return obj if struct is None else _struct(struct, obj)


def _struct(struct: StructType, value: dict[str, Any]) -> dict[str, Any]:
    filled = dict(value)
    rule = _RULES.get(struct.name)
    if rule is not None:
        rule(filled)
    for name, fallback in SIMPLE_DEFAULTS.get(struct.name, _NOTHING).items():
        if name not in filled or filled[name] in _UNSET:
            filled[name] = dict(fallback) if isinstance(fallback, dict) else fallback
    for name, field in struct.fields.items():
        item = filled.get(name)
        if item is None:
            if field.default not in _UNSET or (field.default == "" and field.presence == "kept"):
                filled[name] = field.default
        elif _has_defaults(field.type, ()):
            filled[name] = _value(field.type, item)
        elif item == "" and field.default not in _UNSET:
            filled[name] = field.default
    return filled


def _value(kind: Type, value: Any) -> Any:
    if isinstance(kind, StructType):
        return _struct(kind, value)
    if isinstance(kind, ListType):
        return [_value(kind.items, item) for item in value]
    if isinstance(kind, MapType):
        return {name: _value(kind.values, item) for name, item in value.items()}
    return value


_UNSET: tuple[Any, ...] = (None, "")
_NOTHING: Mapping[str, Any] = {}
_known: dict[Type, bool] = {}


def _has_defaults(kind: Type, above: tuple[Type, ...]) -> bool:
    """Whether anything below has defaults: most of an object has none, and is not walked."""
    if kind in _known:
        return _known[kind]
    if kind in above:
        return False
    if isinstance(kind, StructType):
        found = (
            kind.name in _RULES
            or kind.name in SIMPLE_DEFAULTS
            or any(_field_has_defaults(field, (*above, kind)) for field in kind.fields.values())
        )
    elif isinstance(kind, ListType):
        found = _has_defaults(kind.items, above)
    else:
        found = isinstance(kind, MapType) and _has_defaults(kind.values, above)
    if not above:
        _known[kind] = found
    return found


def _field_has_defaults(field: Field, above: tuple[Type, ...]) -> bool:
    return field.default is not None or _has_defaults(field.type, above)


# ── rules that look at more than one field ────────────────────────────────────────────────────────────────────────


def _container(container: dict[str, Any]) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = _pull_policy(container.get("image", ""))


def _pull_policy(image: str) -> str:
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or (not tag and not digest) else "IfNotPresent"


def _image_volume(source: dict[str, Any]) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = _pull_policy(source.get("reference", ""))


def _volume(volume: dict[str, Any]) -> None:
    if not any(value is not None for name, value in volume.items() if name != "name"):
        volume["emptyDir"] = {}


def _pod_spec(spec: dict[str, Any]) -> None:
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _pod(pod: dict[str, Any]) -> None:
    spec = dict(pod["spec"])
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for name in ("containers", "initContainers"):
        if spec.get(name):
            spec[name] = [_pod_container(one, on_host=bool(spec.get("hostNetwork"))) for one in spec[name]]
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    pod["spec"] = spec


def _pod_container(container: dict[str, Any], *, on_host: bool) -> dict[str, Any]:
    """Requests follow limits and, on the host's network, host ports container ports: in a Pod, not in a template."""
    container = dict(container)
    resources = container.get("resources") or {}
    if resources.get("limits"):
        requests = {**resources["limits"], **(resources.get("requests") or {})}
        container["resources"] = {**resources, "requests": requests}
    if on_host and container.get("ports"):
        container["ports"] = [
            port if port.get("hostPort") else {**port, "hostPort": port["containerPort"]} for port in container["ports"]
        ]
    return container


def _pod_status(status: dict[str, Any]) -> None:
    address, addresses = status.get("podIP"), status.get("podIPs")
    if address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        status["podIP"] = addresses[0].get("ip", "")


def _service_spec(spec: dict[str, Any]) -> None:
    kind = spec["type"] = spec.get("type") or "ClusterIP"
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if client.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    is_external = kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if is_external and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and kind in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True


def _service_port(port: dict[str, Any]) -> None:
    if port.get("targetPort") in (0, "", None):
        port["targetPort"] = port.get("port", 0)


def _namespace(namespace: dict[str, Any]) -> None:
    metadata = namespace["metadata"]
    if name := metadata.get("name"):
        labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}
        namespace["metadata"] = {**metadata, "labels": labels}


def _node_status(status: dict[str, Any]) -> None:
    if status.get("allocatable") is None and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])


def _limit_range_item(item: dict[str, Any]) -> None:
    if item.get("type") == "Container":
        limits = {**(item.get("max") or {}), **(item.get("default") or {})}
        requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
        item.update({name: value for name, value in (("default", limits), ("defaultRequest", requests)) if value})


def _deployment_strategy(strategy: dict[str, Any]) -> None:
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        update = strategy.get("rollingUpdate") or {}
        strategy["rollingUpdate"] = {"maxUnavailable": "25%", "maxSurge": "25%", **update}


def _daemon_set_strategy(strategy: dict[str, Any]) -> None:
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        update = strategy.get("rollingUpdate") or {}
        strategy["rollingUpdate"] = {"maxUnavailable": 1, "maxSurge": 0, **update}


def _stateful_set_strategy(strategy: dict[str, Any]) -> None:
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"] = {**_STATEFUL_SET_UPDATE, **strategy["rollingUpdate"]}


_STATEFUL_SET_UPDATE: Mapping[str, Any] = {"partition": 0, "maxUnavailable": 1}


def _stateful_set_spec(spec: dict[str, Any]) -> None:
    """The templates of claims are whole objects."""
    if claims := spec.get("volumeClaimTemplates"):
        spec["volumeClaimTemplates"] = [{**one, "apiVersion": "v1", "kind": "PersistentVolumeClaim"} for one in claims]


def _labels_of_template(obj: dict[str, Any]) -> None:
    labels = (obj["spec"].get("template") or {}).get("metadata", {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        # The very same labels: what is added to the template's, as to a Job's, is added to both.
        obj["metadata"] = {**obj["metadata"], "labels": labels}


def _replication_controller(obj: dict[str, Any]) -> None:
    labels = (obj["spec"].get("template") or {}).get("metadata", {}).get("labels")
    if labels and not obj["spec"].get("selector"):
        obj["spec"] = {**obj["spec"], "selector": dict(labels)}
    _labels_of_template(obj)


def _job_spec(spec: dict[str, Any]) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6
    if spec.get("podReplacementPolicy") is None:
        spec["podReplacementPolicy"] = "Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed"


def _job(job: dict[str, Any]) -> None:
    _labels_of_template(job)
    spec = dict(job["spec"])
    _job_spec(spec)
    job["spec"] = {**spec, **{name: value for name, value in _JOB.items() if spec.get(name) is None}}


_JOB: Mapping[str, Any] = {
    "parallelism": 1,
    "completionMode": "NonIndexed",
    "suspend": False,
    "manualSelector": False,
}
"""Defaults of a Job's spec that a CronJob's template of one does not get."""


def _subject(subject: dict[str, Any]) -> None:
    if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = "rbac.authorization.k8s.io"


def _definition_spec(spec: dict[str, Any]) -> None:
    names = dict(spec["names"])
    kind = names.get("kind", "")
    if kind:
        names["singular"] = names.get("singular") or kind.lower()
        names["listKind"] = names.get("listKind") or f"{kind}List"
    spec["names"] = names


def _lease_spec(spec: dict[str, Any]) -> None:
    """Coordinated leader election is off: a server drops what belongs to it."""
    for name in ("strategy", "preferredHolder"):
        spec.pop(name, None)


def _secret(secret: dict[str, Any]) -> None:
    """``stringData`` is a way to write: it is read as ``data``."""
    texts = secret.pop("stringData", None)
    if texts:
        coded = {name: b64encode(text.encode()).decode() for name, text in texts.items()}
        secret["data"] = {**(secret.get("data") or {}), **coded}


def _node_spec(spec: dict[str, Any]) -> None:
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs") and not spec.get("podCIDR"):
        spec["podCIDR"] = spec["podCIDRs"][0]


_RULES: Mapping[str, _Rule] = {
    "core.v1.Container": _container,
    "core.v1.EphemeralContainer": _container,
    "core.v1.ImageVolumeSource": _image_volume,
    "core.v1.LimitRangeItem": _limit_range_item,
    "core.v1.Namespace": _namespace,
    "core.v1.NodeSpec": _node_spec,
    "core.v1.NodeStatus": _node_status,
    "core.v1.Pod": _pod,
    "core.v1.PodSpec": _pod_spec,
    "core.v1.PodStatus": _pod_status,
    "core.v1.ReplicationController": _replication_controller,
    "core.v1.Secret": _secret,
    "core.v1.ServicePort": _service_port,
    "core.v1.ServiceSpec": _service_spec,
    "core.v1.Volume": _volume,
    "apiextensions.v1.CustomResourceDefinitionSpec": _definition_spec,
    "apps.v1.DaemonSetUpdateStrategy": _daemon_set_strategy,
    "apps.v1.DeploymentStrategy": _deployment_strategy,
    "apps.v1.StatefulSetSpec": _stateful_set_spec,
    "apps.v1.StatefulSetUpdateStrategy": _stateful_set_strategy,
    "batch.v1.Job": _job,
    "coordination.v1.LeaseSpec": _lease_spec,
    "rbac.v1.Subject": _subject,
}
