"""The codec."""

from __future__ import annotations

import json
import sys

import pytest

from reconcile.client import codec
from reconcile.client.codec import ListPage
from reconcile.client.framing import Overlong
from reconcile.errors import DecodeError
from reconcile.model.resource import Kind
from reconcile.model.watch_event import Bookmark, Deleted, ServerError, Undecodable, Upserted

POD = Kind("", "v1", "Pod")


def pod(name: str = "web", **more: object) -> dict[str, object]:
    metadata = {"name": name, "namespace": "ns", "uid": "u1", "resourceVersion": "7"}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"x": 1}, **more}


def line(type: str, object: object) -> bytes:
    return json.dumps({"type": type, "object": object}).encode()


@pytest.mark.parametrize("type", ["ADDED", "MODIFIED"])
def test_added_and_modified_are_upserts(type: str) -> None:
    """A reader that resumes cannot rely on which of the two it gets."""
    event = codec.decode_event(line(type, pod()), POD)
    assert isinstance(event, Upserted)
    assert (event.object.kind, str(event.object.key), event.object.field("spec")) == (POD, "ns/web", {"x": 1})


def test_deleted_carries_the_last_state() -> None:
    """DELETED."""
    event = codec.decode_event(line("DELETED", pod()), POD)
    assert isinstance(event, Deleted)
    assert event.object.uid == "u1"


def test_metadata_only_objects_keep_the_kind_they_are_of() -> None:
    """A PartialObjectMetadata of a Pod is cached as a Pod."""
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "web"}}
    event = codec.decode_event(line("ADDED", partial), POD)
    assert isinstance(event, Upserted)
    assert event.object.kind == POD
    assert event.object.rest == b""


def test_bookmarks_advance_and_the_annotated_one_ends_the_initial_state() -> None:
    """KEP-3157."""
    plain = {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}}
    assert codec.decode_event(line("BOOKMARK", plain), POD) == Bookmark("9")
    last = {**plain, "metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}}
    assert codec.decode_event(line("BOOKMARK", last), POD) == Bookmark("9", initial_events_end=True)


def test_errors_carry_the_servers_status() -> None:
    """410 comes inside a stream that began with 200 (kubernetes/kubernetes#35068)."""
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "details": None}
    event = codec.decode_event(line("ERROR", status), POD)
    assert isinstance(event, ServerError)
    assert (event.status.code, event.status.reason) == (410, "Expired")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (line("ADDED", None), ""),
        (line("SOMETHING", pod()), "web"),
        (line("ADDED", pod() | {"metadata": {"name": "web", "namespace": "ns", "labels": 3}}), "web"),
        (line("ADDED", pod() | {"metadata": {"namespace": "ns"}}), ""),
        (line("ADDED", pod())[:-9], "web"),
        (line("ADDED", pod()).replace(b"web", b"\xff\xfe"), "\ufffd\ufffd"),
        (b"not json", ""),
        (b"[]", ""),
        (b"{}", ""),
        (b'{"type":"ADDED","object":' + b"[" * 100_000, ""),
    ],
)
def test_what_is_no_event_is_quarantined_with_the_name_that_can_be_found(data: bytes, name: str) -> None:
    """Never an exception that ends the watch; the bytes' own name where there is one."""
    event = codec.decode_event(data, POD)
    assert isinstance(event, Undecodable)
    assert event.reason
    assert event.name == name


def test_an_overlong_line_is_quarantined_under_its_name() -> None:
    """The head of the line is enough to say whose it is."""
    head = line("ADDED", pod())[:150]
    event = codec.decode_event(Overlong(9_000_000, head), POD)
    assert isinstance(event, Undecodable)
    assert (event.namespace, event.name, event.resource_version) == ("ns", "web", "7")
    assert "9000000" in event.reason


def page(items: list[object], **metadata: object) -> bytes:
    head = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "5", **metadata}}
    return json.dumps({**head, "items": items}, separators=(",", ":")).encode()


def test_the_continue_token_is_known_before_the_items_are_decoded() -> None:
    """So that the next page can be asked for meanwhile: the head of even a broken body can be read."""
    body = page([pod()], **{"continue": "tok", "remainingItemCount": 3})
    cut = ListPage(body[: body.index(b'"items"') + 20], POD)
    assert (cut.continue_token, cut.resource_version, cut.remaining) == ("tok", "5", 3)
    with pytest.raises(DecodeError):
        cut.decode()


def test_lists_of_custom_resources_have_their_metadata_last() -> None:
    """Unstructured lists are written in alphabetical order."""
    body = json.dumps({"apiVersion": "e/v1", "items": [pod()], "kind": "L", "metadata": {"continue": "tok"}}).encode()
    assert ListPage(body, POD).continue_token == "tok"
    compact = body.replace(b": ", b":").replace(b", ", b",")
    assert ListPage(compact, POD).continue_token == "tok"
    assert len(ListPage(compact, POD).decode()[0]) == 1


def test_one_bad_item_does_not_lose_the_page() -> None:
    """Quarantine is per item."""
    objects, bad = ListPage(page([pod("a"), {"metadata": {"name": "b", "labels": []}}, pod("c")]), POD).decode()
    assert [obj.name for obj in objects] == ["a", "c"]
    assert [item.name for item in bad] == ["b"]


def test_an_empty_list_may_say_null() -> None:
    """Go writes nil slices as null."""
    body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":null}'
    assert ListPage(body, POD).decode() == ([], [])


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"kind":"Status"}', b'{"items":[]}'])
def test_what_is_no_list_is_an_error(body: bytes) -> None:
    """A body that cannot be a list is refused as a whole, not taken for an empty one."""
    with pytest.raises(DecodeError):
        ListPage(body, POD)


def test_objects_do_not_keep_their_page_alive() -> None:
    """Raw slices of a buffer would; objects hold copies."""
    body = page([pod("a", spec={"blob": "x" * 100_000}), pod("b")])
    references = sys.getrefcount(body)
    listed = ListPage(body, POD)
    objects, _ = listed.decode()
    del listed
    assert len(objects) == 2
    assert sys.getrefcount(body) == references


def test_a_refusal_without_a_status_gets_one_from_its_text() -> None:
    """API priority and fairness answers in plain text."""
    status = codec.decode_status(429, b"Too many requests,\n please try again later.", "text/plain; charset=utf-8")
    assert (status.code, status.message) == (429, "Too many requests, please try again later.")
    assert codec.decode_status(500, b"{broken", "application/json").message == "{broken"
    assert (
        codec.decode_status(404, b'{"kind":"Status","message":"gone","reason":"NotFound"}', "application/json").code
        == 404
    )
