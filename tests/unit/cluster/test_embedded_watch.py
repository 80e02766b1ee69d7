"""Watches of the embedded API server: the contract of API concepts, "Efficient detection of changes"."""

from __future__ import annotations

import random
from typing import Any

import pytest
from embedded import api_server, ask, events, watch
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.cluster.api_server import storage as storage_module
from reconcile.cluster.api_server.server import APIServer

MAPS = "/api/v1/namespaces/default/configmaps"
ALL_MAPS = "/api/v1/configmaps"


def create(server: APIServer, name: str, **labels: str) -> dict[str, Any]:
    answer = ask(server, "POST", MAPS, {"metadata": {"name": name, "labels": labels}})
    assert answer.status == 201, answer
    return answer.body


def change(server: APIServer, name: str, patch: dict[str, Any]) -> None:
    answer = ask(server, "PATCH", f"{MAPS}/{name}", patch, content_type="application/merge-patch+json")
    assert answer.status == 200, answer


def told(found: list[Any]) -> list[tuple[str, str]]:
    return [(one["type"], one["object"]["metadata"].get("name", "")) for one in found]


def test_changes_come_in_order_and_once() -> None:
    """Each change after the version is told once, in the order of versions."""
    server = api_server()
    first = create(server, "a")
    stream = watch(server, MAPS, resourceVersion=first["metadata"]["resourceVersion"])
    create(server, "b")
    change(server, "a", {"data": {"x": "1"}})
    ask(server, "DELETE", f"{MAPS}/b")
    found = events(stream)
    assert told(found) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in found]
    assert versions == sorted(set(versions))
    assert events(stream) == []


def test_an_object_that_leaves_the_selector_is_deleted_with_its_last_matching_state() -> None:
    """The reader sees it under the version of the change that made it leave."""
    server = api_server()
    create(server, "a", tier="front")
    stream = watch(server, MAPS, labelSelector="tier=front")
    assert told(events(stream)) == [("ADDED", "a")]
    change(server, "a", {"metadata": {"labels": {"tier": "back"}}})
    change(server, "a", {"data": {"unseen": "1"}})
    change(server, "a", {"metadata": {"labels": {"tier": "front"}}})
    left, entered = events(stream)
    assert (left["type"], left["object"]["metadata"]["labels"]) == ("DELETED", {"tier": "front"})
    assert int(left["object"]["metadata"]["resourceVersion"]) < int(entered["object"]["metadata"]["resourceVersion"])
    assert entered["type"] == "ADDED"


def test_a_version_that_is_no_longer_kept_is_expired() -> None:
    """410 as an ERROR event: the reader lists again."""
    server = api_server()
    first = create(server, "a")
    create(server, "b")
    server.storage.tables["configmaps"].compact(server.storage.version)
    stream = watch(server, MAPS, resourceVersion=first["metadata"]["resourceVersion"])
    (error,) = events(stream)
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert stream.watch.ended


def test_a_reader_that_falls_behind_is_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not skip what is no longer kept: it is told to begin anew."""
    monkeypatch.setattr(storage_module, "CHANGES_MAX", 8)
    monkeypatch.setattr(storage_module, "TRIM_AT", 10)
    server = api_server()
    stream = watch(server, MAPS)
    assert events(stream) == []
    for number in range(20):
        create(server, f"m{number}")
    assert [one["type"] for one in events(stream)] == ["ERROR"]


def test_the_initial_state_ends_with_a_marked_bookmark() -> None:
    """sendInitialEvents (KEP-3157): what there is, then the mark, then the changes."""
    server = api_server()
    create(server, "a")
    stream = watch(
        server, MAPS, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    create(server, "b")
    added, mark, later = events(stream)
    assert told([added, later]) == [("ADDED", "a"), ("ADDED", "b")]
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(mark["object"]["metadata"]["resourceVersion"]) < int(later["object"]["metadata"]["resourceVersion"])


def test_watches_of_one_kind_share_the_encoded_line() -> None:
    """A change is encoded once for all who watch in the same form."""
    server = api_server()
    streams = [watch(server, path) for path in (MAPS, ALL_MAPS)]
    create(server, "a")
    first, second = (stream.watch.take() for stream in streams)
    assert first[0] is second[0]


def test_a_quiet_watch_tells_a_version_from_which_it_can_be_resumed() -> None:
    """A bookmark's version covers writes to other resources too."""
    server = api_server()
    stream = watch(server, MAPS, allowWatchBookmarks="true")
    assert events(stream) == []
    ask(server, "POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    assert str(server.storage.version).encode() in stream.watch.bookmark()


NAMES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "label", "unlabel", "delete", "look", "resume"]), NAMES), max_size=60
)


@settings(max_examples=30, deadline=None)
@given(STEPS, st.booleans())
def test_what_a_reader_holds_is_what_a_list_says(steps: list[tuple[str, str]], selects: bool) -> None:
    """Whatever happens, and however often it resumes, a reader that follows has exactly the listed objects."""
    server = api_server()
    query = {"labelSelector": "in=yes"} if selects else {}
    stream = watch(server, MAPS, **query)
    held: dict[str, str] = {}
    last = "0"

    def look() -> None:
        nonlocal last
        for one in events(stream):
            metadata = one["object"]["metadata"]
            assert int(metadata["resourceVersion"]) > int(last) or last == "0"
            last = metadata["resourceVersion"]
            if one["type"] == "DELETED":
                del held[metadata["name"]]
            else:
                assert (one["type"] == "ADDED") is (metadata["name"] not in held)
                held[metadata["name"]] = metadata["resourceVersion"]

    for what, name in steps:
        labels = {"metadata": {"labels": {"in": "yes" if what == "label" else None}}}
        match what:
            case "create":
                label = {"in": "yes"} if random.Random(name).random() < 0.5 else {}
                ask(server, "POST", MAPS, {"metadata": {"name": name, "labels": label}})
            case "label" | "unlabel":
                ask(server, "PATCH", f"{MAPS}/{name}", labels, content_type="application/merge-patch+json")
            case "delete":
                ask(server, "DELETE", f"{MAPS}/{name}")
            case "look":
                look()
            case "resume":
                look()
                stream.watch.close()
                version = str(server.storage.version)
                stream = watch(server, MAPS, resourceVersion=version, **query)
    look()
    listed = ask(server, "GET", MAPS, query=query).body["items"]
    assert held == {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in listed}


@settings(max_examples=20, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_pages_show_one_moment(steps: list[tuple[str, str]], limit: int) -> None:
    """Pages that are read while objects come and go are those of the moment of the first."""
    server = api_server()
    for name in "abcd":
        create(server, name)
    whole = ask(server, "GET", MAPS).body
    page = ask(server, "GET", MAPS, query={"limit": str(limit)}).body
    found = list(page["items"])
    pending = iter(steps)
    while token := page["metadata"].get("continue"):
        for what, name in list(pending)[:5]:
            if what == "delete":
                ask(server, "DELETE", f"{MAPS}/{name}")
            else:
                change_or_create(server, name)
        page = ask(server, "GET", MAPS, query={"limit": str(limit), "continue": token}).body
        found += page["items"]
    assert found == whole["items"]
    assert page["metadata"]["resourceVersion"] == whole["metadata"]["resourceVersion"]


def change_or_create(server: APIServer, name: str) -> None:
    if ask(server, "GET", f"{MAPS}/{name}").status == 404:
        create(server, name)
    else:
        change(server, name, {"data": {"n": str(server.storage.version)}})


def test_an_expired_continue_token_comes_with_one_that_goes_on() -> None:
    """410 with a token for the rest, inconsistent but complete (API concepts, chunking)."""
    server = api_server()
    for name in "abc":
        create(server, name)
    token = ask(server, "GET", MAPS, query={"limit": "1"}).body["metadata"]["continue"]
    create(server, "d")
    server.storage.tables["configmaps"].compact(server.storage.version)
    expired = ask(server, "GET", MAPS, query={"limit": "1", "continue": token})
    assert (expired.status, expired.body["reason"]) == (410, "Expired")
    rest = ask(server, "GET", MAPS, query={"continue": expired.body["metadata"]["continue"]}).body
    assert [one["metadata"]["name"] for one in rest["items"]] == ["b", "c", "d"]
