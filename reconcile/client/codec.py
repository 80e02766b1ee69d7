"""The codec: bytes of the API in, values of the model out. Pure.

Guarantees:
    * What cannot be decoded becomes an ``Undecodable`` that says what it was about; the rest goes on.
    * Objects are copies of their bytes; none keeps a page or a chunk alive.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from reconcile.client.framing import Line, Overlong
from reconcile.client.identity import identity_of
from reconcile.errors import DecodeError, Status
from reconcile.model import json
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object, decode_object, object_of
from reconcile.model.resource import Kind
from reconcile.model.watch_event import Bookmark, Deleted, ServerError, Undecodable, Upserted, WatchEvent

ACCEPT_JSON = "application/json"
ACCEPT_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
ACCEPT_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_DELETED_HEAD = b'{"type":"DELETED"'
_MESSAGE_LENGTH_MAX = 300
_LIST_HEAD_BYTES = 4096


class _Event(msgspec.Struct, gc=False):
    type: str
    object: dict[str, msgspec.Raw]


class _MetadataOnly(msgspec.Struct, gc=False):
    metadata: ObjectMeta


class _BookmarkEvent(msgspec.Struct, gc=False):
    object: _MetadataOnly


class _ErrorEvent(msgspec.Struct, gc=False):
    object: Status


class _ListMeta(msgspec.Struct, gc=False, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


class _ListHead(msgspec.Struct, gc=False):
    metadata: _ListMeta


class _ListItems(msgspec.Struct, gc=False):
    items: list[msgspec.Raw] | None = None


_event = json.decoder(_Event)
_bookmark_event = json.decoder(_BookmarkEvent)
_error_event = json.decoder(_ErrorEvent)
_status = json.decoder(Status)
_list_head = json.decoder(_ListHead)
_list_items = json.decoder(_ListItems)


def decode_event(line: Line, kind: Kind) -> WatchEvent:
    """One line of a watch of ``kind``. Never raises."""
    if isinstance(line, Overlong):
        return _undecodable(f"a line of {line.length} bytes is longer than allowed", line.head)
    try:
        event = _event.decode(line)
        match event.type:
            case "ADDED" | "MODIFIED":
                return Upserted(_named(object_of(event.object, kind)))
            case "DELETED":
                return Deleted(_named(object_of(event.object, kind)))
            case "BOOKMARK":
                metadata = _bookmark_event.decode(line).object.metadata
                end = (metadata.annotations or {}).get(_INITIAL_EVENTS_END) == "true"
                return Bookmark(metadata.resource_version, end)
            case "ERROR":
                return ServerError(_error_event.decode(line).object)
            case other:
                return _undecodable(f"unknown event type {other[:40]!r}", line)
    except (DecodeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        return _undecodable(str(error), line)


def decode_events(lines: Iterable[Line], kind: Kind) -> list[WatchEvent]:
    """All lines of a chunk."""
    return [decode_event(line, kind) for line in lines]


class ListPage:
    """One page of a list. Its head is read at once, its items when asked.

    The caller can ask for the next page while this one is decoded: ``continue`` stands before ``items``.

    Raises:
        DecodeError: the body is not a list at all.
    """

    __slots__ = ("_body", "_kind", "continue_token", "remaining", "resource_version")

    def __init__(self, body: bytes, kind: Kind) -> None:
        head = _head_of_list(body)
        self.continue_token = head.continue_
        self.resource_version = head.resource_version
        self.remaining = head.remaining_item_count
        self._body = body
        self._kind = kind

    def decode(self) -> tuple[list[Object], list[Undecodable]]:
        """The objects, and what could not be decoded. Raises DecodeError where the body is cut or is no list."""
        try:
            items = _list_items.decode(self._body).items or []
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise DecodeError(f"list of {self._kind}: {error}") from error
        objects: list[Object] = []
        bad: list[Undecodable] = []
        kind = self._kind
        for item in items:
            try:
                objects.append(_named(decode_object(item, kind)))
            except DecodeError as error:
                bad.append(_undecodable(str(error), bytes(item), is_event=False))
        return objects, bad


def decode_status(code: int, body: bytes, content_type: str) -> Status:
    """The Status of a refusal; made up from the HTTP status and the text where the body is none."""
    if content_type.startswith("application/json"):
        try:
            status = _status.decode(body)
        except (ValueError, msgspec.MsgspecError, RecursionError):
            pass
        else:
            if status.code == code:
                return status
            return msgspec.structs.replace(status, code=code)
    text = " ".join(body[: _MESSAGE_LENGTH_MAX * 4].decode("utf-8", "replace").split())[:_MESSAGE_LENGTH_MAX]
    return Status(code=code, reason="", message=text)


def is_status(body: bytes) -> bool:
    """Whether a successful answer is a Status rather than an object, as for most deletes."""
    try:
        return json.decode_as(body, _KindOnly).kind == "Status"
    except DecodeError:
        return False


class _KindOnly(msgspec.Struct, gc=False):
    kind: str = ""


def _named(obj: Object) -> Object:
    if not obj.metadata.name:
        raise DecodeError("object without a name")
    return obj


def _head_of_list(body: bytes) -> _ListMeta:
    """The list's metadata. Only the head is read where the metadata come first, as in lists of built-in kinds."""
    at = body.find(b'"items":', 0, _LIST_HEAD_BYTES)
    if at > 0:
        try:
            return _list_head.decode(body[:at] + b'"items":[]}').metadata
        except (ValueError, msgspec.MsgspecError):
            pass  # metadata after the items, as in lists of custom resources: read the whole body
    try:
        return _list_head.decode(body).metadata
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"not a list: {error}") from error


def _undecodable(reason: str, data: bytes, *, is_event: bool = True) -> Undecodable:
    """Say whose bytes these are, as well as can be found."""
    found = identity_of(data, is_event=is_event)
    deleted = is_event and data.startswith(_DELETED_HEAD)
    return Undecodable(reason, found.namespace, found.name, found.resource_version, deleted)
