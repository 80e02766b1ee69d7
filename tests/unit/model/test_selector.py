"""Label selectors mean what the API says they mean, and a bad one is refused by naming its bad part."""

from __future__ import annotations

import pytest

from reconcile.errors import DecodeError, UsageError
from reconcile.model.selector import LabelSelector, check_field_selector

SELECTED = [
    ("", {}, True),
    ("", {"a": "b"}, True),
    ("app=web", {"app": "web"}, True),
    ("app=web", {"app": "db"}, False),
    ("app==web", {"app": "web"}, True),
    ("app=web", {}, False),
    ("app=", {"app": ""}, True),
    ("app!=web", {"app": "db"}, True),
    ("app!=web", {}, True),
    ("app!=web", {"app": "web"}, False),
    ("tier in (front, back)", {"tier": "back"}, True),
    ("tier in (front,back)", {"tier": "middle"}, False),
    ("tier in (front,back)", {}, False),
    ("tier notin (front,back)", {"tier": "middle"}, True),
    ("tier notin (front,back)", {}, True),
    ("tier notin (front,back)", {"tier": "front"}, False),
    ("canary", {"canary": ""}, True),
    ("canary", {}, False),
    ("!canary", {}, True),
    ("!canary", {"canary": "yes"}, False),
    ("app=web,tier in (a,b),!canary", {"app": "web", "tier": "b"}, True),
    ("app=web,tier in (a,b),!canary", {"app": "web", "tier": "b", "canary": ""}, False),
    ("app=web,env=prod", {"app": "web", "env": "prod", "more": "x"}, True),
    ("app=web,env=prod", {"app": "web"}, False),
    (" example.com/role = worker ", {"example.com/role": "worker"}, True),
]


@pytest.mark.parametrize(("text", "labels", "selected"), SELECTED)
def test_text_selects_as_the_api_does(text: str, labels: dict[str, str], selected: bool) -> None:
    """Each operator of the text form, with the label present, absent and different."""
    assert LabelSelector.parse(text).matches(labels) is selected


@pytest.mark.parametrize("text", sorted({text for text, _, _ in SELECTED}))
def test_rendered_text_means_the_same(text: str) -> None:
    """What goes into the query string parses to the same selector."""
    selector = LabelSelector.parse(text)
    assert LabelSelector.parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("app=web,", "empty requirement"),
        ("app in (a", "unbalanced"),
        ("app in ()", None),
        ("a b", "'a b'"),
        ("app=not ok", "'not ok'"),
        ("app=" + "x" * 64, "x" * 64),
        ("-app=web", "'-app'"),
        ("UPPER.com/app=web", "'UPPER.com'"),
        ("/app=web", "''"),
        ("app>1", "'app>1'"),
        ("a=b=c", "'b=c'"),
        ("!", "''"),
    ],
)
def test_bad_text_is_refused_by_name(text: str, named: str | None) -> None:
    """The error quotes the selector and the part that is wrong; ``in ()`` is the empty value, as in kubectl."""
    if named is None:
        assert LabelSelector.parse(text).matches({"app": ""})
        return
    with pytest.raises(UsageError) as caught:
        LabelSelector.parse(text)
    assert named in str(caught.value)
    assert repr(text) in str(caught.value)


def test_the_form_of_objects() -> None:
    """matchLabels and matchExpressions are all required together."""
    selector = LabelSelector.from_plain(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "zone", "operator": "NotIn", "values": ["z"]},
                {"key": "owner", "operator": "Exists"},
                {"key": "canary", "operator": "DoesNotExist"},
            ],
        }
    )
    assert str(selector) == "app=web,tier in (a,b),zone!=z,owner,!canary"
    assert selector.matches({"app": "web", "tier": "a", "owner": "me"})
    assert not selector.matches({"app": "web", "tier": "a", "owner": "me", "zone": "z"})
    assert LabelSelector.from_plain({}).matches({"any": "thing"})


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"matchLabels": ["app"]}, "matchLabels is ['app']"),
        ({"matchLabels": {"app": 1}}, "matchLabels['app'] is 1"),
        ({"matchExpressions": {}}, "matchExpressions is {}"),
        ({"matchExpressions": [{"operator": "In"}]}, "matchExpressions[0]"),
        ({"matchExpressions": [{"key": "a", "operator": "Is"}]}, "matchExpressions[0].operator is 'Is'"),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, "needs values"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}, "takes no values"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]}, "matchExpressions[0].values is [1]"),
    ],
)
def test_bad_selectors_of_objects_are_refused_by_name(value: dict[str, object], named: str) -> None:
    """The error is the data's, and names the field."""
    with pytest.raises(DecodeError) as caught:
        LabelSelector.from_plain(value)
    assert named in str(caught.value)


def test_from_labels() -> None:
    """A mapping selects by every pair, and its labels are checked as well."""
    assert str(LabelSelector.of({"b": "2", "a": "1"})) == "a=1,b=2"
    with pytest.raises(UsageError, match="'not ok'"):
        LabelSelector.of({"a": "not ok"})


@pytest.mark.parametrize(
    "text", ["", "spec.nodeName=node-1", "status.phase!=Running,metadata.name==web", r"metadata.name=a\,b", "a="]
)
def test_field_selectors_of_good_form_pass(text: str) -> None:
    """Which fields can be selected is left to the server."""
    assert check_field_selector(text) == text


@pytest.mark.parametrize(
    ("text", "named"), [("node-1", "'node-1'"), ("a=b,c", "'c'"), ("=x", "''"), ("a b=c", "'a b'")]
)
def test_bad_field_selectors_are_refused_by_name(text: str, named: str) -> None:
    """The error quotes the bad term."""
    with pytest.raises(UsageError) as caught:
        check_field_selector(text)
    assert named in str(caught.value)
