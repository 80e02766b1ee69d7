"""All that a server serves and one can list, watch and delete: what collectors of garbage go through."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconcile.client.api import Client
from reconcile.client.transport import HTTPRequest
from reconcile.model import json
from reconcile.model.resource import Kind, Resource

_VERBS = frozenset({"list", "watch", "delete", "deletecollection"})


class _Version(msgspec.Struct, rename="camel"):
    group_version: str


class _Group(msgspec.Struct, rename="camel"):
    name: str
    preferred_version: _Version


class _Groups(msgspec.Struct):
    groups: list[_Group]


class _Served(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool = False
    verbs: tuple[str, ...] = ()


class _Resources(msgspec.Struct, rename="camel"):
    group_version: str
    resources: list[_Served]


async def deletable_resources(client: Client) -> Sequence[Resource]:
    """Each resource once, in its group's preferred version; Events in their old form. Raises ApiError, DecodeError."""
    answer = await client.request(HTTPRequest("GET", "/apis"))
    groups = json.decode_as(answer.body, _Groups).groups
    paths = ["/api/v1", *(f"/apis/{group.preferred_version.group_version}" for group in groups)]
    found: list[Resource] = []
    for path in paths:
        answer = await client.request(HTTPRequest("GET", path))
        listed = json.decode_as(answer.body, _Resources)
        group, _, version = listed.group_version.rpartition("/")
        for one in listed.resources:
            is_event_again = (group, one.name) == ("events.k8s.io", "events")
            if set(one.verbs) >= _VERBS and "/" not in one.name and not is_event_again:
                found.append(Resource(Kind(group, version, one.kind), one.name, one.namespaced))
    return found
