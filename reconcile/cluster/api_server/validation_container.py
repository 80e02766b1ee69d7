"""Containers of a Pod: names, images, ports, environment, resources, probes, mounts.

Source of the rules: the API reference of Container, and what a real server answers. Not checked: security contexts, and
field paths of the downward API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    at_least_zero,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from reconcile.cluster.api_server.name_rules import (
    config_key,
    dns_label,
    dns_subdomain,
    environment_name,
    port_name,
    port_number,
    qualified_name,
)
from reconcile.cluster.api_server.quantity import quantity_value

__all__ = ["check_containers", "check_host_network", "check_init_containers"]

_HUGE_PAGES = "hugepages-"
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def check_containers(containers: Sequence[Mapping[str, Any]], path: str, volumes: set[str]) -> list[Invalid]:
    """The regular containers; there must be one."""
    if not containers:
        return [required(path)]
    problems: list[Invalid] = []
    names: set[str] = set()
    for index, container in enumerate(containers):
        where, name = f"{path}[{index}]", container.get("name", "")
        problems += _check_container(container, where, volumes)
        if name in names:
            problems.append(duplicate(f"{where}.name", name))
        names.add(name)
        problems += _check_probes(container, where)
    return [*problems, *_check_host_ports(containers, path)]


def check_init_containers(
    containers: Sequence[Mapping[str, Any]], path: str, volumes: set[str], regular: Sequence[Mapping[str, Any]]
) -> list[Invalid]:
    """The init containers; those that restart always are sidecars, and only they have probes."""
    problems: list[Invalid] = []
    names = {one.get("name", "") for one in regular}
    for index, container in enumerate(containers):
        where, name = f"{path}[{index}]", container.get("name", "")
        problems += _check_container(container, where, volumes)
        if name in names:
            problems.append(duplicate(f"{where}.name", name))
        elif name:
            names.add(name)
        if container.get("restartPolicy") == "Always":
            problems += _check_probes(container, where)
            continue
        problems += [
            forbidden(f"{where}.{one}", "may not be set for init containers without restartPolicy=Always")
            for one in ("lifecycle", *_PROBES)
            if container.get(one) is not None
        ]
    return problems


def _check_container(container: Mapping[str, Any], path: str, volumes: set[str]) -> list[Invalid]:
    problems: list[Invalid] = []
    name = container.get("name", "")
    if name:
        problems += [invalid(f"{path}.name", name, text) for text in dns_label(name)]
    else:
        problems.append(required(f"{path}.name"))
    if not container.get("image"):
        problems.append(required(f"{path}.image"))
    message_policy = container.get("terminationMessagePolicy", "")
    if message_policy not in ("File", "FallbackToLogsOnError"):
        field = f"{path}.terminationMessagePolicy"
        problems.append(not_supported(field, message_policy, ("File", "FallbackToLogsOnError")))
    problems += _check_ports(container.get("ports") or (), f"{path}.ports")
    problems += _check_environment(container, path)
    problems += _check_mounts(container, f"{path}.volumeMounts", volumes)
    pull_policy = container.get("imagePullPolicy", "")
    if pull_policy not in _PULL_POLICIES:
        problems.append(not_supported(f"{path}.imagePullPolicy", pull_policy, _PULL_POLICIES))
    return [*problems, *_check_resources(container.get("resources") or {}, f"{path}.resources")]


def _check_ports(ports: Sequence[Mapping[str, Any]], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            texts = port_name(name)
            problems += [invalid(f"{where}.name", name, text) for text in texts]
            if not texts and name in names:
                problems.append(duplicate(f"{where}.name", name))
            names.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            problems.append(required(f"{where}.containerPort"))
        else:
            problems += [invalid(f"{where}.containerPort", number, text) for text in port_number(number)]
        if host:
            problems += [invalid(f"{where}.hostPort", host, text) for text in port_number(host)]
        protocol = port.get("protocol", "")
        if not protocol:
            problems.append(required(f"{where}.protocol"))
        elif protocol not in _PROTOCOLS:
            problems.append(not_supported(f"{where}.protocol", protocol, _PROTOCOLS))
    return problems


def check_host_network(containers: Sequence[Mapping[str, Any]], path: str) -> list[Invalid]:
    """On the host's network a port is the host's."""
    return [
        invalid(
            f"{path}[{index}].ports[{number}].hostPort",
            port["hostPort"],
            "must match `containerPort` when `hostNetwork` is true",
        )
        for index, container in enumerate(containers)
        for number, port in enumerate(container.get("ports") or ())
        if port.get("hostPort") and port["hostPort"] != port.get("containerPort")
    ]


def _check_host_ports(containers: Sequence[Mapping[str, Any]], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                shown = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
                if shown in taken:
                    problems.append(duplicate(f"{path}[{index}].ports[{number}].hostPort", shown))
                taken.add(shown)
    return problems


_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _check_environment(container: Mapping[str, Any], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    for index, variable in enumerate(container.get("env") or ()):
        where, name = f"{path}.env[{index}]", variable.get("name", "")
        if not name:
            problems.append(required(f"{where}.name"))
        else:
            problems += [invalid(f"{where}.name", name, text) for text in environment_name(name)]
        if (source := variable.get("valueFrom")) is not None:
            problems += _check_source(source, f"{where}.valueFrom", variable.get("value", ""))
    for index, source in enumerate(container.get("envFrom") or ()):
        where = f"{path}.envFrom[{index}]"
        given = [one for one in ("configMapRef", "secretRef") if source.get(one) is not None]
        problems += [required(f"{where}.{one}.name") for one in given if not source[one].get("name")]
        if not given:
            problems.append(invalid(f"{path}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            problems.append(invalid(f"{path}.envFrom", "", "may not have more than one field specified at a time"))
    return problems


def _check_source(source: Mapping[str, Any], path: str, value: str) -> list[Invalid]:
    problems: list[Invalid] = []
    given = [one for one in _SOURCES if source.get(one) is not None]
    for one in given:
        if one in ("configMapKeyRef", "secretKeyRef"):
            reference, where = source[one], f"{path}.{one}"
            name = reference.get("name", "")
            problems += [invalid(f"{where}.name", name, text) for text in dns_subdomain(name)]
            key = reference.get("key", "")
            if not key:
                problems.append(required(f"{where}.key"))
            else:
                problems += [invalid(f"{where}.key", key, text) for text in config_key(key)]
        elif one == "fieldRef" and not source[one].get("fieldPath"):
            problems.append(required(f"{path}.fieldRef.fieldPath"))
    if not given:
        names = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        problems.append(invalid(path, "", f"must specify one of: {names}"))
    elif value:
        problems.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        problems.append(invalid(path, "", "may not have more than one field specified at a time"))
    return problems


def _check_mounts(container: Mapping[str, Any], path: str, volumes: set[str]) -> list[Invalid]:
    problems: list[Invalid] = []
    taken: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where, name, at = f"{path}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            problems.append(required(f"{where}.name"))
        if name not in volumes:
            problems.append(not_found(f"{where}.name", name))
        if not at:
            problems.append(required(f"{where}.mountPath"))
        if at in taken:
            problems.append(invalid(f"{where}.mountPath", at, "must be unique"))
        taken.add(at)
    return problems


def _check_resources(resources: Mapping[str, Any], path: str) -> list[Invalid]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    problems: list[Invalid] = []
    for name, amount in limits.items():
        problems += _check_amount(name, amount, f"{path}.limits[{name}]")
    for name, amount in requests.items():
        problems += _check_amount(name, amount, f"{path}.requests[{name}]")
        limit = limits.get(name)
        can_overcommit = "/" not in name and not name.startswith(_HUGE_PAGES)
        if limit is None:
            if not can_overcommit:
                text = "Limit must be set for non overcommitable resources"
                problems.append(required(f"{path}.limits", text))
            continue
        asked, allowed = quantity_value(amount), quantity_value(limit)
        if asked != allowed and not can_overcommit:
            problems.append(invalid(f"{path}.requests", amount, f"must be equal to {name} limit of {limit}"))
        elif asked > allowed:
            text = f"must be less than or equal to {name} limit of {limit}"
            problems.append(invalid(f"{path}.requests", amount, text))
    named = {*limits, *requests}
    if any(name.startswith(_HUGE_PAGES) for name in named) and not named & {"cpu", "memory"}:
        problems.append(forbidden(path, "HugePages require cpu or memory"))
    return problems


def _check_amount(name: str, amount: str, path: str) -> list[Invalid]:
    problems = [invalid(path, name, text) for text in qualified_name(name)]
    if "/" not in name:
        if name not in _STANDARD_RESOURCES and not name.startswith(_HUGE_PAGES):
            if not problems:
                problems.append(invalid(path, name, "must be a standard resource type or fully qualified"))
            problems.append(invalid(path, name, "must be a standard resource for containers"))
    elif not name.startswith("kubernetes.io/") and ".kubernetes.io/" not in name and name.startswith("requests."):
        problems.append(invalid(path, name, "doesn't follow extended resource name standard"))
    value = quantity_value(amount)
    if value < 0:
        problems.append(invalid(path, amount, "must be greater than or equal to 0"))
    if "/" in name and "kubernetes.io/" not in name and value != int(value):
        problems.append(invalid(path, amount, "must be an integer"))
    if name.startswith(_HUGE_PAGES):
        size = _page_size(name)
        if size <= 0 or value <= 0 or value % size:
            problems.append(invalid(path, amount, f"{amount} is not positive integer multiple of {name}"))
    return problems


def _page_size(name: str) -> Decimal:
    try:
        return quantity_value(name.removeprefix(_HUGE_PAGES))
    except ValueError:
        return Decimal(0)


def _check_probes(container: Mapping[str, Any], path: str) -> list[Invalid]:
    problems: list[Invalid] = []
    for event in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(event)
        if handler is not None:
            problems += _check_handler(handler, f"{path}.lifecycle.{event}")
    for kind in _PROBES:
        probe = container.get(kind)
        if probe is None:
            continue
        where = f"{path}.{kind}"
        problems += _check_handler(probe, where)
        for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
            problems += at_least_zero(f"{where}.{name}", probe.get(name))
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None and grace <= 0:
            problems.append(invalid(f"{where}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
        if kind == "readinessProbe":
            if grace is not None:
                text = "must not be set for readinessProbes"
                problems.append(invalid(f"{where}.terminationGracePeriodSeconds", grace, text))
        elif probe.get("successThreshold", 0) != 1:
            problems.append(invalid(f"{where}.successThreshold", probe.get("successThreshold", 0), "must be 1"))
    return problems


def _check_handler(handler: Mapping[str, Any], path: str) -> list[Invalid]:
    given = [one for one in _HANDLERS if handler.get(one) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    problems = [forbidden(f"{path}.{one}", "may not specify more than 1 handler type") for one in given[1:]]
    action, where = handler[given[0]], f"{path}.{given[0]}"
    match given[0]:
        case "exec":
            if not action.get("command"):
                problems.append(required(f"{where}.command"))
        case "httpGet":
            problems += _check_port_reference(action.get("port"), f"{where}.port")
            if action.get("scheme") not in ("HTTP", "HTTPS"):
                problems.append(not_supported(f"{where}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS")))
        case "tcpSocket":
            problems += _check_port_reference(action.get("port"), f"{where}.port")
        case "grpc":
            number = action.get("port") or 0
            problems += [invalid(f"{where}.port", number, text) for text in port_number(number)]
    return problems


def _check_port_reference(port: Any, field: str) -> list[Invalid]:
    port = 0 if port is None else port
    texts = port_name(port) if isinstance(port, str) else port_number(port)
    return [invalid(field, port, text) for text in texts]
