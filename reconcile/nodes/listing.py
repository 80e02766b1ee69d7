"""Listing: all pages of one question, for commands that look once and end. Controllers read the cache instead."""

from __future__ import annotations

from collections.abc import Sequence

from reconcile.client.api import Client
from reconcile.errors import DecodeError
from reconcile.model.object import Object
from reconcile.model.resource import Resource


async def list_all(
    client: Client, resource: Resource, *, label_selector: str = "", field_selector: str = ""
) -> Sequence[Object]:
    """What there is of ``resource`` in all namespaces, by namespace and name.

    Raises:
        ApiError, TransportError: it could not be listed (in full).
        DecodeError: one of them cannot be read. To leave it out would be to say that it is not there.
    """
    found: list[Object] = []
    token = ""
    while True:
        page = await client.list_page(
            resource, label_selector=label_selector, field_selector=field_selector, continue_token=token
        )
        objects, undecodable = page.decode()
        for bad in undecodable:
            raise DecodeError(f"{resource}: {bad.reason}")
        found += objects
        token = page.continue_token
        if not token:
            return sorted(found, key=lambda obj: obj.key)
