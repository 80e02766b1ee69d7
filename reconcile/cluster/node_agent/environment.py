"""What a container is given: its environment, and its command with ``$(NAME)`` expanded. Pure.

Source: "Define Environment Variables", "Downward API" and the API reference of Container in the Kubernetes
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reconcile.cluster.node_agent.view import Container, EnvironmentVariable, PodSpec
from reconcile.cluster.runtimes.runtime import ContainerConfig, ContainerRefusedError
from reconcile.model.object import Object

_REFERENCE = re.compile(r"\$(\$|\((?P<name>[^()]*)\))")
_KEYED = re.compile(r"metadata\.(?P<map>labels|annotations)\['(?P<key>[^']+)'\]")


def container_config(
    pod: Object, spec: PodSpec, container: Container, *, attempt: int, node: str, host_address: str, address: str
) -> ContainerConfig:
    """All that the runtime needs for the container.

    Raises:
        ContainerRefusedError: it wants what this agent does not give (volumes, ConfigMaps, Secrets).
    """
    if container.volume_mounts:
        raise _refused(container, "volumeMounts", "this node mounts no volumes")
    if container.env_from:
        raise _refused(container, "envFrom", "this node reads no ConfigMaps and Secrets")
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": node,
        "spec.serviceAccountName": spec.service_account_name,
        "status.hostIP": host_address,
        "status.hostIPs": host_address,
        "status.podIP": address,
        "status.podIPs": address,
    }
    environment = {"HOSTNAME": pod.name}
    for variable in container.env or ():
        environment[variable.name] = _value(pod, container, variable, fields, environment)
    return ContainerConfig(
        container.name,
        container.image,
        attempt,
        expanded(container.command or (), environment),
        expanded(container.args or (), environment),
        environment,
        container.working_dir,
        dict(pod.annotations),
    )


def expanded(words: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """``$(NAME)`` replaced where the name is known; ``$$`` is one dollar."""
    return tuple(_expand(word, environment) for word in words)


def _expand(text: str, environment: Mapping[str, str]) -> str:
    return _REFERENCE.sub(
        lambda found: "$" if found["name"] is None else environment.get(found["name"], found[0]), text
    )


def _value(
    pod: Object,
    container: Container,
    variable: EnvironmentVariable,
    fields: Mapping[str, str],
    environment: Mapping[str, str],
) -> str:
    source = variable.value_from
    if source is None:
        return _expand(variable.value, environment)
    if source.field_ref is None:
        raise _refused(container, f"env {variable.name}", "this node gives values of fieldRef only")
    path = source.field_ref.field_path
    keyed = _KEYED.fullmatch(path)
    if keyed is not None:
        values = pod.labels if keyed["map"] == "labels" else pod.annotations
        return values.get(keyed["key"], "")
    if path not in fields:
        raise _refused(container, f"env {variable.name}", f"the field {path} is not known here")
    return fields[path]


def _refused(container: Container, field: str, why: str) -> ContainerRefusedError:
    return ContainerRefusedError("CreateContainerConfigError", f"container {container.name}, {field}: {why}")
