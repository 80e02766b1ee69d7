"""Whose bytes these are: found by a scan that nothing in an object can lead astray."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.client.identity import SCAN_BYTES, Identity, identity_of

METADATA = {"name": "a", "namespace": "n", "resourceVersion": "7"}
A = Identity("a", "n", "7")
FORGED = {"name": "victim", "namespace": "other", "resourceVersion": "99999"}


def event(obj: object, kind: str = "ADDED") -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode()


@pytest.mark.parametrize(
    "obj",
    [
        {"metadata": METADATA},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": 7, **METADATA}},
        {"metadata": {"annotations": FORGED, "labels": FORGED, **METADATA}},
        {"metadata": {"ownerReferences": [FORGED, FORGED], "finalizers": ["name", "namespace"], **METADATA}},
        {"abc": {"metadata": FORGED}, "list": [{"metadata": FORGED}], "metadata": METADATA, "spec": FORGED},
        {"kind": '"metadata":{"name":"victim"}', "metadata": METADATA},
        {"object": {"metadata": FORGED}, "metadata": METADATA},
        {"metadata": {**METADATA, "x": "\\", "y": '"'}},
    ],
)
def test_only_the_objects_own_metadata_are_believed(obj: object) -> None:
    """Wherever else the same words stand, in an item of a list and in an event."""
    assert identity_of(json.dumps(obj).encode(), is_event=False) == A
    assert identity_of(event(obj), is_event=True) == A


def test_nesting_and_a_missing_end_do_no_harm() -> None:
    """Thousands of brackets before the metadata, or a cut after them."""
    deep = b'{"a":' + b"[" * 9000 + b"]" * 9000 + b',"metadata":' + json.dumps(METADATA).encode() + b',"spec":'
    assert identity_of(deep, is_event=False) == A
    assert identity_of(event({"metadata": METADATA})[:-20], is_event=True).name == "a"


def test_what_has_no_identity_has_none() -> None:
    """An empty line, another document, a name that is no plain string."""
    for data in (
        b"",
        b"[]",
        b"null",
        b'{"metadata":null}',
        b'{"metadata":{"name":7}}',
        b'{"metadata":{"name":"a\\n"}}',
    ):
        assert identity_of(data, is_event=False) == Identity()


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_make_it_raise(data: bytes, is_event: bool) -> None:
    """Whatever came over the wire."""
    assert isinstance(identity_of(data, is_event=is_event), Identity)


def test_the_work_is_bounded() -> None:
    """Megabytes of brackets cost no more than the part that is looked at."""
    started = time.process_time()
    assert identity_of(b"[" * (8 * 1024 * 1024), is_event=True) == Identity()
    assert identity_of(b'{"a":"' + b"x" * SCAN_BYTES + b'","metadata":{"name":"a"}}', is_event=False) == Identity()
    assert time.process_time() - started < 2.0
