"""GET, LIST and WATCH: what a version means, pages, and where a watch begins.

Source: API concepts, "Resource versions", "Retrieving large results sets in chunks", "Streaming lists".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from reconcile.cluster.api_server import failure
from reconcile.cluster.api_server.backend import Backend, Call
from reconcile.cluster.api_server.failure import Failure, bad_request, cause, expired, invalid
from reconcile.cluster.api_server.representation import form_of, not_acceptable
from reconcile.cluster.api_server.request import Answer, Response, Stream
from reconcile.cluster.api_server.selection import name_selected, selection
from reconcile.cluster.api_server.storage import Compacted, Stored, Table
from reconcile.cluster.api_server.watch import Watch, error_line, too_old
from reconcile.errors import DecodeError
from reconcile.model import json

WATCH_SECONDS_MIN = 1800.0
"""A watch that names no time ends after 30 to 60 minutes (kube-apiserver's ``--min-request-timeout``)."""

_LIST_TOO_OLD = "The resourceVersion for the provided list is too old."
_CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without"
    " the continue parameter, or use the continue token in this response to retrieve the remainder of the results."
    " Continuing with the provided token results in an inconsistent list - objects that were created, modified, or"
    " deleted between the time the first chunk was returned and now may show up in the list."
)


class _Continue(msgspec.Struct):
    """What a continue token says: the list's version (-1: whatever is now) and the last key given out."""

    v: str
    rv: int
    start: str


def get(backend: Backend, call: Call) -> Answer:
    """One object."""
    form = form_of(call.request.accept)
    _wait_for(backend, call.request.query.get("resourceVersion", ""))
    found = call.table.get(call.key)
    if found is None:
        raise failure.not_found(call.resource.group, call.resource.plural, call.target.name)
    return Response(200, backend.representation(call, form).object(found))


def list_(backend: Backend, call: Call) -> Answer:
    """A page of a list, or a watch."""
    request, query = call.request, call.request.query
    form = form_of(request.accept)
    watching = request.flag("watch")
    _check_options(query, watching=watching, initial=request.flag("sendInitialEvents"))
    test = selection(call.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    if watching:
        return _watch(backend, call, form, test)
    if form == "PartialObjectMetadata":
        raise not_acceptable()
    items, metadata = page_of(backend, call)
    return Response(200, backend.representation(call, form).list(items, metadata))


def page_of(backend: Backend, call: Call) -> tuple[list[Stored], dict[str, Any]]:
    """The objects of a page, and the metadata of the list. Raises Failure (400, 410, 504)."""
    request, query = call.request, call.request.query
    label_selector, field_selector = query.get("labelSelector", ""), query.get("fieldSelector", "")
    test = selection(call.resource, label_selector, field_selector)
    limit = max(0, request.integer("limit") or 0)
    objects, keys, version = _state(backend, call, limit)
    one = name_selected(field_selector)
    if one and "continue" not in query and (call.target.namespace or not call.resource.namespaced):
        key = call.resource.key(call.target.namespace, one)
        keys = [key] if key in objects else []
    items: list[Stored] = []
    position = 0
    for position, key in enumerate(keys, 1):  # noqa: B007  how far it came is what is wanted
        found = objects[key]
        if test is None or test(found):
            items.append(found)
            if limit and len(items) >= limit:
                break
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    remaining = len(keys) - position
    if limit and remaining and len(items) >= limit:
        metadata["continue"] = _token(call, version, items[-1].key)
        if test is None:
            metadata["remainingItemCount"] = remaining
    return items, metadata


def _state(backend: Backend, call: Call, limit: int) -> tuple[Mapping[str, Stored], list[str], int]:
    """The objects to choose from, their keys in order, and the version of the list."""
    query, table, namespace = call.request.query, call.table, call.target.namespace
    token = query.get("continue", "")
    if token:
        if query.get("resourceVersion"):
            raise bad_request("specifying resource version is not allowed when using continue")
        page = _parse_token(token)
        after = page.start.strip("/").removesuffix("\x00")
        after = f"{namespace}/{after}" if namespace else after
        if page.rv < 0:
            return table.objects, table.keys_in(namespace, after), backend.storage.version
        try:
            objects = table.at(page.rv)
        except Compacted:
            raise expired(_CONTINUE_TOO_OLD, _token(call, -1, after)) from None
        return objects, _keys(table, objects, namespace, after), page.rv
    asked = query.get("resourceVersion", "")
    version = _version(asked)
    if version > backend.storage.version:
        raise failure.too_large_version(version, backend.storage.version)
    match = query.get("resourceVersionMatch", "")
    if version and (match == "Exact" or (limit and not match)):
        try:
            objects = table.at(version)
        except Compacted:
            raise expired(_LIST_TOO_OLD) from None
        return objects, _keys(table, objects, namespace, ""), version
    return table.objects, table.keys_in(namespace), backend.storage.version


def _keys(table: Table, objects: Mapping[str, Stored], namespace: str, after: str) -> list[str]:
    """The keys of an older state, in order."""
    if objects is table.objects:
        return table.keys_in(namespace, after)
    prefix = f"{namespace}/" if namespace else ""
    return sorted(key for key in objects if key.startswith(prefix) and key > after)


def _watch(backend: Backend, call: Call, form: str, test: Any) -> Stream:
    request, table, storage = call.request, call.table, backend.storage
    text = request.query.get("resourceVersion", "")
    try:
        asked = _version(text)
    except Failure:
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise Failure(500, message) from None
    sends_initial = request.flag("sendInitialEvents")
    namespace = call.target.namespace
    initial: list[Stored] = []
    since = asked
    if sends_initial or not asked:
        since = storage.version
        wants = sends_initial or "sendInitialEvents" not in request.query
        if wants:
            chosen = [table.objects[key] for key in table.keys_in(namespace)]
            initial = [one for one in chosen if test is None or test(one)]
    seconds = request.integer("timeoutSeconds") or 0
    if form == "PartialObjectMetadataList":
        form = "PartialObjectMetadata"
    try:
        watch = Watch(
            storage,
            table,
            backend.representation(call, form),
            namespace=namespace,
            test=test,
            initial=initial,
            since=since,
            bookmarks=request.flag("allowWatchBookmarks"),
            ends_initial=sends_initial and request.flag("allowWatchBookmarks"),
        )
    except Compacted:
        watch = Watch.refused(storage, table, error_line(too_old()))
    return Stream(watch, float(seconds) if seconds > 0 else WATCH_SECONDS_MIN * (1 + backend.random()))


def _check_options(query: Mapping[str, str], *, watching: bool, initial: bool) -> None:
    """The rules of ``meta/v1`` ListOptions. Raises Failure (422)."""
    causes = []
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")

    def forbid(field: str, text: str) -> None:
        causes.append(cause("FieldValueForbidden", f"Forbidden: {text}", field))

    if watching and initial:
        if match != "NotOlderThan":
            forbid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    elif watching and match:
        forbid(
            "resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    elif "sendInitialEvents" in query and not watching:
        forbid("sendInitialEvents", "sendInitialEvents is forbidden for list")
    elif match:
        if not version:
            forbid("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
        if query.get("continue"):
            forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
        if match not in ("Exact", "NotOlderThan"):
            text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
            causes.append(cause("FieldValueNotSupported", text, "resourceVersionMatch"))
        if match == "Exact" and version == "0":
            forbid("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if causes:
        raise invalid("meta.k8s.io", "ListOptions", "", causes)


def _wait_for(backend: Backend, text: str) -> None:
    """A version that a GET must not be older than."""
    version = _version(text)
    if version > backend.storage.version:
        raise failure.too_large_version(version, backend.storage.version)


def _version(text: str) -> int:
    if text in ("", "0"):
        return 0
    if not (text.isascii() and text.isdigit()):
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}":'
            f' strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _token(call: Call, version: int, key: str) -> str:
    namespace = call.target.namespace
    start = key[len(namespace) :] if namespace else f"/{key}"
    said = json.encode({"v": "meta.k8s.io/v1", "rv": version, "start": f"{start}\x00"})
    return base64.urlsafe_b64encode(said).rstrip(b"=").decode("ascii")


def _parse_token(text: str) -> _Continue:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = json.decode_as(raw, _Continue)
    except (binascii.Error, ValueError, DecodeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    if token.v != "meta.k8s.io/v1" or not token.rv or not token.start.startswith("/") or "/../" in token.start:
        raise bad_request("invalid continue token: continue key is not valid: incorrect encoded start key or version")
    return token
