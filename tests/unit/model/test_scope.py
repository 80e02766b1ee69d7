"""A scope is a set of namespaces, and what is none is refused before anybody waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import UsageError
from reconcile.model.scope import Scope


def test_a_scope_is_a_set_of_names() -> None:
    """Order and repetition make no other scope; no names are all namespaces."""
    assert Scope(("b", "a", "b")) == Scope(("a", "b"))
    assert Scope(("b", "a")).partitions == ("a", "b")
    assert Scope().partitions == ("",)
    assert Scope().covers("a")
    assert not Scope(("a",)).covers("b")


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ("default", r"want several names, such as \('default',\)"),
        (("a", ""), "an empty name"),
        (("Default",), "'Default' is not a namespace"),
        (("a/b",), "'a/b' is not a namespace"),
        (("a b",), "'a b' is not a namespace"),
        (("-a",), "'-a' is not a namespace"),
        (("a" * 64,), "is not a namespace"),
    ],
)
def test_what_can_be_no_namespace_is_refused(names: Any, named: str) -> None:
    """The server would answer a list there with nothing, and the controller would sit idle."""
    with pytest.raises(UsageError, match=named):
        Scope(names)


@pytest.mark.parametrize("name", ["a", "kube-system", "0", "a" * 63, "a--b"])
def test_every_legal_namespace_is_taken(name: str) -> None:
    """All DNS labels are."""
    assert Scope((name,)).partitions == (name,)
