"""Objects made of a user's own classes are what the API server understands by them."""

from __future__ import annotations

import dataclasses
from typing import Any

import attrs
import msgspec
import pytest

from reconcile.errors import DecodeError
from reconcile.model import json
from reconcile.model.object import from_plain


@dataclasses.dataclass
class DataMeta:
    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None


@attrs.define
class AttrsMeta:
    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None


class StructMeta(msgspec.Struct):
    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None


@dataclasses.dataclass
class ConfigMap:
    metadata: Any
    apiVersion: str = "v1"
    kind: str = "ConfigMap"
    data: dict[str, str] | None = None
    immutable: bool | None = None


@pytest.mark.parametrize("meta", [DataMeta, AttrsMeta, StructMeta])
def test_fields_of_a_class_that_are_not_set_are_not_sent(meta: Any) -> None:
    """A class for the API has a None for each optional field; a null namespace would be refused."""
    body = from_plain(ConfigMap(meta("a"), data={"x": "y"})).to_dict()
    assert body == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y"}}


def test_a_class_inside_plain_values_is_told_from_them() -> None:
    """In a dict a None was written by hand: server-side apply and merge patches give it a meaning."""
    value = {"metadata": DataMeta("a"), "spec": {"replicas": None, "items": (DataMeta("b", labels={}), None)}}
    assert json.to_plain(value) == {
        "metadata": {"name": "a"},
        "spec": {"replicas": None, "items": [{"name": "b", "labels": {}}, None]},
    }


def test_what_json_cannot_say_is_refused_by_its_type() -> None:
    """So is what contains itself."""
    endless: dict[str, Any] = {}
    endless["self"] = endless
    for value in ({"a": object()}, object(), endless):
        with pytest.raises(DecodeError, match="cannot turn"):
            json.to_plain(value)
