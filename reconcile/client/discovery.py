"""Discovery: from a kind to where it is served. The server is asked, so that no plural is ever guessed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from reconcile.client import paths
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.errors import NotFoundError, UnknownKindError
from reconcile.model import json
from reconcile.model.resource import Kind, Resource

_NAMES_SHOWN_MAX = 20


class _APIResource(msgspec.Struct, gc=False):
    name: str
    kind: str
    namespaced: bool = False


class _APIResourceList(msgspec.Struct, gc=False):
    resources: list[_APIResource] | None = None


class Discovery:
    """Where kinds are served. What was found is kept; what was not is asked again, as its definition may come yet."""

    def __init__(self, request: Callable[[HTTPRequest], Awaitable[HTTPResponse]]) -> None:
        self._request = request
        self._resources: dict[Kind, Resource] = {}

    async def resource(self, kind: Kind) -> Resource:
        """Where ``kind`` is served.

        Raises:
            UnknownKindError: nowhere (yet).
            ApiError, TransportError: the server could not say.
        """
        known = self._resources.get(kind)
        if known is not None:
            return known
        try:
            response = await self._request(HTTPRequest("GET", paths.group_version_path(kind)))
        except NotFoundError as error:
            raise UnknownKindError(
                f"the server does not serve {kind.api_version}, which {kind} belongs to;"
                " is the CustomResourceDefinition installed, and the version right?"
            ) from error
        served = json.decode_as(response.body, _APIResourceList).resources or []
        for item in served:
            if "/" not in item.name:  # else a subresource
                found = Kind(kind.group, kind.version, item.kind)
                self._resources.setdefault(found, Resource(found, item.name, item.namespaced))
        if kind not in self._resources:
            names = sorted({item.kind for item in served if "/" not in item.name})
            shown = ", ".join(names[:_NAMES_SHOWN_MAX]) + (", …" if len(names) > _NAMES_SHOWN_MAX else "")
            raise UnknownKindError(
                f"the server does not serve {kind}; in {kind.api_version} it has: {shown or 'nothing'}"
            )
        return self._resources[kind]
