"""OpenAPI as far as kubectl needs it: which versions there are, and which patches a resource takes."""

from __future__ import annotations

import hashlib
from typing import Any

from reconcile.cluster.api_server.openapi_types import schemas_of
from reconcile.cluster.api_server.registry import Registry, ResourceType
from reconcile.cluster.api_server.request import Response
from reconcile.model import json

_INFO = {"title": "Kubernetes", "version": "v1.37.2"}
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")


def index(registry: Registry) -> Response:
    """``/openapi/v3``: where each version's document is."""
    paths = {}
    for group, versions in registry.groups().items():
        for version in versions:
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(f"{name} {registry.generation}".encode()).hexdigest()[:32].upper()
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"}
    return Response(200, json.encode({"paths": paths}))


def version_3(registry: Registry, name: str) -> Response | None:
    """``/openapi/v3/apis/GROUP/VERSION``: the paths, with their kinds and what they take."""
    parts = name.split("/")
    group, version = (parts[1], parts[2]) if len(parts) == 3 else ("", parts[-1])
    found = registry.groups().get(group, {}).get(version)
    if found is None:
        return None
    paths: dict[str, Any] = {}
    for one in found:
        paths |= _paths(one)
    return Response(
        200,
        json.encode(
            {
                "openapi": "3.0.0",
                "info": _INFO,
                "paths": paths,
                "components": {"schemas": schemas_of(found)},
            }
        ),
    )


def version_2(registry: Registry) -> Response:
    """``/openapi/v2``: for clients that look a kind up before they send it. Its types are those of version 3."""
    definitions = json.encode(schemas_of(registry)).replace(b"#/components/schemas/", b"#/definitions/")
    head = json.encode({"swagger": "2.0", "info": _INFO, "paths": {}})
    return Response(200, head[:-1] + b',"definitions":' + definitions + b"}")


def _paths(one: ResourceType) -> dict[str, Any]:
    base = f"/apis/{one.group}/{one.version}" if one.group else f"/api/{one.version}"
    where = f"{base}/namespaces/{{namespace}}/{one.plural}" if one.namespaced else f"{base}/{one.plural}"
    kind = {"group": one.group, "version": one.version, "kind": one.kind}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in _PARAMETERS
    ]
    accepted = _PATCHES if one.is_custom else (*_PATCHES, "application/strategic-merge-patch+json")
    patch = {
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
        "parameters": parameters,
        "requestBody": {"content": {media: {"schema": {"type": "object"}} for media in accepted}},
        "responses": {},
    }
    post = {
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": kind,
        "parameters": parameters,
        "responses": {},
    }
    return {where: {"post": post}, f"{where}/{{name}}": {"patch": patch, "put": {**post, "x-kubernetes-action": "put"}}}
