"""Least privilege in tests: apply a manifest of rights, act as the one who has them, compare with what was used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from audit import Audited

from reconcile.testing.envtest import ControlPlane

PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}

Use: TypeAlias = tuple[str, str]
"""A verb and a resource, with its subresource: ``("update", "jobs/status")``."""


def grant(control_plane: ControlPlane, manifest: str) -> str:
    """Create what the manifest holds; gives the user that has the rights. Its namespaces must be there."""
    user = ""
    for document in yaml.safe_load_all(manifest):
        metadata = document["metadata"]
        if document["kind"] == "ServiceAccount":
            user = f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}"
        version = document["apiVersion"]
        where = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
        prefix = "/api/v1" if version == "v1" else f"/apis/{version}"
        control_plane.rest.request("POST", f"{prefix}/{where}{PLURALS[document['kind']]}", document)
    return user


def kubeconfig_of(control_plane: ControlPlane, user: str) -> Path:
    """A kubeconfig of a service account, in its own namespace."""
    namespace = user.split(":")[2]
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    return control_plane.kubeconfig(user=user, groups=groups, namespace=namespace)


def granted(manifest: str) -> set[Use]:
    """Everything that some role of the manifest allows."""
    return {use for document in yaml.safe_load_all(manifest) for use in _allowed(document)}


def _allowed(document: dict[str, Any]) -> Iterator[Use]:
    for rule in document.get("rules", ()):
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield verb, resource


def used(requests: list[Audited]) -> set[Use]:
    """What the requests did with resources of the cluster."""
    return {
        (one.verb, f"{one.resource}/{one.subresource}" if one.subresource else one.resource)
        for one in requests
        if one.resource
    }
