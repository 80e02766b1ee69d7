"""Representations: the forms in which one stored object is sent, and each form of it made once.

What a client accepts decides: the whole object, its metadata alone, or a row of a table (API concepts, "Alternate
representations of resources").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol

from reconcile.cluster.api_server.failure import Failure
from reconcile.cluster.api_server.registry import ResourceType
from reconcile.cluster.api_server.storage import Change, Stored
from reconcile.model import json

EventType = Literal["ADDED", "MODIFIED", "DELETED", "LEFT"]
"""``LEFT``: the object is there and no longer selected; told as DELETED, with its state before."""

Convert = Callable[[dict[str, Any]], dict[str, Any]]

_HEADS = {kind: f'{{"type":"{kind}","object":'.encode() for kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")}
_NOT_ACCEPTABLE = (
    "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml,"
    " application/vnd.kubernetes.protobuf"
)


class Representation(Protocol):
    """One form."""

    def object(self, one: Stored) -> bytes:
        """One object, as GET answers it."""
        ...

    def list(self, items: Iterable[Stored], metadata: dict[str, Any]) -> bytes:
        """A page of a list."""
        ...

    def line(self, head: bytes, one: Stored) -> bytes:
        """A line of a watch: ``head`` and the object."""
        ...

    def event(self, change: Change, kind: EventType) -> bytes:
        """The line that tells a change."""
        ...

    def bookmark(self, version: int, *, initial_end: bool) -> bytes:
        """The line that tells a version."""
        ...


class WholeObject:
    """The object itself, from the stored bytes; or converted, where it is stored in another form.

    Args:
        key: under which the lines of changes are kept.
        convert: plain values of the stored form to those of the resource's.
    """

    def __init__(self, resource: ResourceType, *, key: str = "", convert: Convert | None = None) -> None:
        self._resource = resource
        self._key = key
        self._convert = convert
        head = json.encode({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","
        # Items of built-in kinds carry neither kind nor apiVersion, those of custom resources do: as the real server.
        self._item_at = 0 if resource.is_custom else len(head)

    def object(self, one: Stored) -> bytes:
        return one.body if self._convert is None else self._converted(one.body)

    def list(self, items: Iterable[Stored], metadata: dict[str, Any]) -> bytes:
        at = self._item_at
        if self._resource.is_custom:
            metadata = {"continue": "", **metadata}  # where built-in kinds leave it out
        if self._convert is not None:
            bodies = [self._converted(one.body) for one in items]
        else:
            bodies = [one.body for one in items]
        parts = [b"{" + body[at:] for body in bodies] if at else bodies
        return _list(self._resource.list_kind, self._resource.api_version, metadata, parts)

    def line(self, head: bytes, one: Stored) -> bytes:
        return head + self.object(one) + b"}\n"

    def event(self, change: Change, kind: EventType) -> bytes:
        return _event(self, self._key, change, kind)

    def bookmark(self, version: int, *, initial_end: bool) -> bytes:
        return _bookmark(self._resource.kind, self._resource.api_version, version, initial_end=initial_end)

    def _converted(self, body: bytes) -> bytes:
        assert self._convert is not None  # noqa: S101  asked before
        return json.encode(self._convert(json.decode(body)))


class MetadataOnly:
    """``PartialObjectMetadata``: for who watches many objects and reads none."""

    _KIND, _API_VERSION = "PartialObjectMetadata", "meta.k8s.io/v1"

    def object(self, one: Stored) -> bytes:
        metadata = json.encode(one.decode()["metadata"])
        return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":' + metadata + b"}"

    def list(self, items: Iterable[Stored], metadata: dict[str, Any]) -> bytes:
        parts = [self.object(one) for one in items]
        return _list("PartialObjectMetadataList", self._API_VERSION, metadata, parts)

    def line(self, head: bytes, one: Stored) -> bytes:
        return head + self.object(one) + b"}\n"

    def event(self, change: Change, kind: EventType) -> bytes:
        return _event(self, "metadata", change, kind)

    def bookmark(self, version: int, *, initial_end: bool) -> bytes:
        return _bookmark(self._KIND, self._API_VERSION, version, initial_end=initial_end)


def _event(representation: Representation, key: str, change: Change, kind: EventType) -> bytes:
    """The line of a change, made once for all watches of that form."""
    name = kind + key
    line = change.lines.get(name)
    if line is None:
        line = change.lines[name] = make_event(representation, change, kind)
    return line


def make_event(representation: Representation, change: Change, kind: EventType) -> bytes:
    """The line of a change."""
    if kind == "LEFT":
        assert change.old is not None  # noqa: S101  it was selected
        return representation.line(_HEADS["DELETED"], _as_of(change.old, change.version))
    one = change.new if change.new is not None else change.gone
    assert one is not None  # noqa: S101  a change has one of them
    return representation.line(_HEADS[kind], one)


def _as_of(one: Stored, version: int) -> Stored:
    """An older state under the version of the change that made it leave the selection."""
    obj = one.decode()
    obj["metadata"]["resourceVersion"] = str(version)
    return Stored(one.key, one.namespace, one.name, one.uid, version, json.encode(obj), one.labels, one.fields)


def _list(kind: str, api_version: str, metadata: dict[str, Any], parts: list[bytes]) -> bytes:
    head = json.encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    return head[:-1] + b',"items":[' + b",".join(parts) + b"]}"


def _bookmark(kind: str, api_version: str, version: int, *, initial_end: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return _HEADS["BOOKMARK"] + json.encode({"kind": kind, "apiVersion": api_version, "metadata": metadata}) + b"}\n"


def form_of(accept: str) -> str:
    """``""``, ``PartialObjectMetadata``, ``PartialObjectMetadataList`` or ``Table``: the first that can be served.

    Protobuf is passed over for JSON, which every client that asks for it takes too. Raises Failure (406).
    """
    for part in accept.split(",") if accept else ("*/*",):
        media, *parameters = (text.strip() for text in part.split(";"))
        options = dict(text.split("=", 1) for text in parameters if "=" in text)
        if media not in ("application/json", "*/*", "application/*"):
            continue
        kind = options.get("as", "")
        if not kind:
            return ""
        if options.get("g") == "meta.k8s.io" and options.get("v") == "v1" and re.fullmatch(_FORMS, kind):
            return kind
    raise not_acceptable()


def not_acceptable() -> Failure:
    """No form that the client takes can be served."""
    return Failure(406, _NOT_ACCEPTABLE, details={})


_FORMS = "PartialObjectMetadata|PartialObjectMetadataList|Table"
