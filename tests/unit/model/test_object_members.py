"""An object keeps members that nobody knows, whatever they are called."""

from __future__ import annotations

import json

import pytest

from reconcile.model.object import decode_object


@pytest.mark.parametrize("name", ["spec", "a b", 'a"b', "a\\b", "\n", "日本", ""])
def test_members_survive_under_their_own_names(name: str) -> None:
    """Quotes, backslashes and control characters in a member's name neither break nor forge the JSON."""
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, name: {"x": 1}}
    obj = decode_object(json.dumps(value).encode())
    assert obj.to_dict() == value
    assert obj.field(name) == {"x": 1}
