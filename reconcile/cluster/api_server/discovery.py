"""Discovery: which groups, versions and resources are served, in the old form and in the aggregated one.

Source: API concepts, "API Discovery" (``apidiscovery.k8s.io/v2``), and ``meta/v1`` APIGroupList and APIResourceList.
"""

from __future__ import annotations

import hashlib
from typing import Any

from reconcile.cluster.api_server.registry import Registry, ResourceType
from reconcile.cluster.api_server.request import Request, Response
from reconcile.model import json

_AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_CLIENTS = "0.0.0.0/0"


def groups(registry: Registry, request: Request) -> Response:
    """``/apis``."""
    if _wants_aggregated(request):
        return _aggregated(registry, request, core=False)
    found = [_group(name, list(versions)) for name, versions in registry.groups().items() if name]
    return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})


def core_versions(registry: Registry, request: Request, address: str) -> Response:
    """``/api``."""
    if _wants_aggregated(request):
        return _aggregated(registry, request, core=True)
    servers = [{"clientCIDR": _CLIENTS, "serverAddress": address}]
    return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": servers})


def group(registry: Registry, name: str) -> Response | None:
    """``/apis/GROUP``."""
    versions = registry.groups().get(name) if name else None
    if versions is None:
        return None
    return _json({"kind": "APIGroup", "apiVersion": "v1", **_group(name, list(versions))})


def resources(registry: Registry, group_name: str, version: str) -> Response | None:
    """``/api/v1`` and ``/apis/GROUP/VERSION``."""
    found = registry.groups().get(group_name, {}).get(version)
    if found is None:
        return None
    listed = [entry for one in found for entry in _listed(one)]
    group_version = f"{group_name}/{version}" if group_name else version
    body: dict[str, Any] = {"kind": "APIResourceList"}
    if group_name:
        body["apiVersion"] = "v1"
    return _json({**body, "groupVersion": group_version, "resources": listed})


def _json(value: dict[str, Any]) -> Response:
    return Response(200, json.encode(value))


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    known = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {"name": name, "versions": known, "preferredVersion": known[0]}


def _listed(one: ResourceType) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": one.plural,
        "singularName": one.singular,
        "namespaced": one.namespaced,
        "kind": one.kind,
        "verbs": list(one.verbs),
    }
    if one.short_names:
        entry["shortNames"] = list(one.short_names)
    if one.categories:
        entry["categories"] = list(one.categories)
    if one.storage_hash:
        entry["storageVersionHash"] = one.storage_hash
    entries = [entry]
    for name, sub in one.subresources.items():
        entry = {"name": f"{one.plural}/{name}", "singularName": "", "namespaced": one.namespaced}
        if sub.group:
            entry["group"] = sub.group
        if sub.version:
            entry["version"] = sub.version
        entries.append({**entry, "kind": sub.kind, "verbs": list(sub.verbs)})
    return entries


def _wants_aggregated(request: Request) -> bool:
    """Whether the aggregated form comes before the old one in what the client takes."""
    for part in request.accept.split(","):
        media, *parameters = (text.strip() for text in part.split(";"))
        if media != "application/json":
            continue
        options = dict(text.split("=", 1) for text in parameters if "=" in text)
        if not options.get("as"):
            return False
        if options.get("g") == "apidiscovery.k8s.io" and options.get("v") == "v2":
            return options["as"] == "APIGroupDiscoveryList"
    return False


def _aggregated(registry: Registry, request: Request, *, core: bool) -> Response:
    items = []
    for name, versions in registry.groups().items():
        if bool(name) is core:
            continue
        known = [
            {"version": version, "resources": [_discovered(one) for one in found], "freshness": "Current"}
            for version, found in versions.items()
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": known})
    body = json.encode(
        {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
    )
    etag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
    headers = (("Vary", "Accept"), ("ETag", etag), ("Cache-Control", "public"))
    if request.if_none_match == etag:
        return Response(304, b"", _AGGREGATED_TYPE, headers)  # caches take the type from here
    return Response(200, body, _AGGREGATED_TYPE, headers)


def _discovered(one: ResourceType) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": one.plural,
        "responseKind": {
            "group": one.group if one.is_custom else "",
            "version": one.version if one.is_custom else "",
            "kind": one.kind,
        },
        "scope": "Namespaced" if one.namespaced else "Cluster",
        "singularResource": one.singular,
        "verbs": list(one.verbs),
    }
    if one.short_names:
        entry["shortNames"] = list(one.short_names)
    if one.categories:
        entry["categories"] = list(one.categories)
    if one.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for name, sub in one.subresources.items()
        ]
    return entry
