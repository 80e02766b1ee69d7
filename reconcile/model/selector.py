"""Label selectors: parsed, checked, compiled to a fast test, and rendered for the query string.

The two forms of the API are read: the text of ``kubectl -l`` (``app=web,tier in (a,b),!canary``) and the
``matchLabels``/``matchExpressions`` of objects. Both mean the conjunction of their requirements; none at all matches
everything (API concepts: "Labels and Selectors").

Field selectors are checked for their syntax only: which fields can be selected is the server's knowledge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import attrs

from reconcile.errors import DecodeError, UsageError

LABEL_NAME_LENGTH_MAX = 63
LABEL_PREFIX_LENGTH_MAX = 253

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_FIELD_PATH = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*")
_FIELD_TERM = re.compile(r"(?P<path>[^=!]*)(?:!=|==?)(?P<value>(?:[^\\=,]|\\.)*)", re.DOTALL)
_SET = re.compile(r"(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")

Matcher: TypeAlias = Callable[[Mapping[str, str]], bool]
"""Whether a set of labels is selected."""


class Operator(StrEnum):
    """The four operators, spelled as in ``matchExpressions``. ``key=value`` is ``In`` with one value."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@attrs.frozen
class Requirement:
    """One condition on one label. ``NotIn`` also selects objects without the label (as the API does)."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case Operator.IN if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
            case Operator.IN:
                return f"{self.key} in ({','.join(self.values)})"
            case Operator.NOT_IN:
                return f"{self.key} notin ({','.join(self.values)})"


@attrs.frozen
class LabelSelector:
    """A conjunction of requirements; without any it selects everything. ``str()`` gives the query-string form."""

    requirements: tuple[Requirement, ...] = ()
    _matcher: Matcher = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_matcher", _compile(self.requirements))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return self._matcher(labels)

    @property
    def matcher(self) -> Matcher:
        """The compiled test, for loops."""
        return self._matcher

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """The text form, such as ``app=web,tier in (front,back),!canary``. Raises UsageError naming the bad part."""
        return cls(tuple(_requirement(part, text) for part in _split(text)))

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> LabelSelector:
        """Every one of these labels, with this value. Raises UsageError naming the bad part."""
        requirements = tuple(Requirement(key, Operator.IN, (value,)) for key, value in sorted(labels.items()))
        for requirement in requirements:
            _refuse_bad(requirement, f"labels {dict(labels)!r}")
        return cls(requirements)

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> LabelSelector:
        """The form of objects: ``{"matchLabels": {…}, "matchExpressions": [{key, operator, values}, …]}``.

        An empty one selects everything. Where an object has *no* selector the API means "nothing"; that case is the
        caller's. Raises DecodeError naming the bad part.
        """
        try:
            return cls((*_match_labels(value.get("matchLabels")), *_match_expressions(value.get("matchExpressions"))))
        except UsageError as error:
            raise DecodeError(str(error)) from error


def check_field_selector(text: str) -> str:
    """``text`` itself if it has the form ``path=value,path!=value``. Raises UsageError naming the bad part."""
    if not text.strip():
        return ""
    for part in re.split(r"(?<!\\),", text):
        term = _FIELD_TERM.fullmatch(part.strip())
        if term is None:
            raise UsageError(
                f"field selector {text!r}: {part!r} is not 'path=value' or 'path!=value', such as 'spec.nodeName=a'"
            )
        if not _FIELD_PATH.fullmatch(term["path"].strip()):
            raise UsageError(f"field selector {text!r}: {term['path']!r} is not a field path, such as 'spec.nodeName'")
    return text


def _compile(requirements: tuple[Requirement, ...]) -> Matcher:
    if not requirements:
        return lambda _labels: True
    if all(requirement.operator is Operator.IN and len(requirement.values) == 1 for requirement in requirements):
        pairs = tuple((requirement.key, requirement.values[0]) for requirement in requirements)
        if len(pairs) == 1:
            key, value = pairs[0]
            return lambda labels: labels.get(key) == value
        return lambda labels: all(labels.get(key) == value for key, value in pairs)
    tests = tuple(map(_test, requirements))
    return lambda labels: all(test(labels) for test in tests)


def _test(requirement: Requirement) -> Matcher:
    key, values = requirement.key, frozenset(requirement.values)
    match requirement.operator:
        case Operator.IN:
            return lambda labels: labels.get(key) in values
        case Operator.NOT_IN:
            return lambda labels: labels.get(key) not in values
        case Operator.EXISTS:
            return lambda labels: key in labels
        case Operator.DOES_NOT_EXIST:
            return lambda labels: key not in labels


def _split(text: str) -> Iterable[str]:
    """The requirements, split at the commas that are not inside parentheses."""
    if not text.strip():
        return
    depth, start = 0, 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and not depth:
            yield text[start:position].strip()
            start = position + 1
    if depth:
        raise UsageError(f"label selector {text!r}: unbalanced parentheses in {text[start:]!r}")
    yield text[start:].strip()


def _requirement(part: str, text: str) -> Requirement:
    where = f"label selector {text!r}"
    if not part:
        raise UsageError(f"{where}: an empty requirement between commas")
    requirement: Requirement
    if term := _SET.fullmatch(part):
        values = tuple(value.strip() for value in term["values"].split(","))
        operator = Operator.IN if term["operator"] == "in" else Operator.NOT_IN
        requirement = Requirement(term["key"], operator, values)
    elif "!=" in part:
        key, _, value = part.partition("!=")
        requirement = Requirement(key.strip(), Operator.NOT_IN, (value.strip(),))
    elif "=" in part:
        key, _, value = part.partition("=")
        requirement = Requirement(key.strip(), Operator.IN, (value.removeprefix("=").strip(),))
    elif part.startswith("!"):
        requirement = Requirement(part[1:].strip(), Operator.DOES_NOT_EXIST)
    else:
        requirement = Requirement(part, Operator.EXISTS)
    _refuse_bad(requirement, where)
    return requirement


def _match_labels(labels: Any) -> Iterable[Requirement]:
    if labels is None:
        return
    if not isinstance(labels, Mapping):
        raise UsageError(f"label selector: matchLabels is {labels!r}: want a mapping of label to value")
    for key, value in sorted(labels.items(), key=str):
        if not isinstance(value, str):
            raise UsageError(f"label selector: matchLabels[{key!r}] is {value!r}: want a string")
        requirement = Requirement(key, Operator.IN, (value,))
        _refuse_bad(requirement, f"label selector: matchLabels[{key!r}]")
        yield requirement


def _match_expressions(expressions: Any) -> Iterable[Requirement]:
    if expressions is None:
        return
    if not isinstance(expressions, list | tuple):
        raise UsageError(f"label selector: matchExpressions is {expressions!r}: want a list")
    for position, expression in enumerate(expressions):
        where = f"label selector: matchExpressions[{position}]"
        if not isinstance(expression, Mapping) or not isinstance(expression.get("key"), str):
            raise UsageError(f"{where} is {expression!r}: want key, operator and values")
        try:
            operator = Operator(str(expression.get("operator")))
        except ValueError as error:
            raise UsageError(
                f"{where}.operator is {expression.get('operator')!r}: want In, NotIn, Exists or DoesNotExist"
            ) from error
        values = expression.get("values") or ()
        if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
            raise UsageError(f"{where}.values is {values!r}: want a list of strings")
        requirement = Requirement(expression["key"], operator, tuple(values))
        _refuse_bad(requirement, where)
        yield requirement


def _refuse_bad(requirement: Requirement, where: str) -> None:
    _refuse_bad_key(requirement.key, where)
    takes_values = requirement.operator in (Operator.IN, Operator.NOT_IN)
    if takes_values and not requirement.values:
        raise UsageError(f"{where}: operator {requirement.operator} of {requirement.key!r} needs values")
    if not takes_values and requirement.values:
        raise UsageError(f"{where}: operator {requirement.operator} of {requirement.key!r} takes no values")
    for value in requirement.values:
        if value and (len(value) > LABEL_NAME_LENGTH_MAX or not _NAME.fullmatch(value)):
            raise UsageError(
                f"{where}: {value!r} is not a label value (at most {LABEL_NAME_LENGTH_MAX} letters, digits, '-', '_' "
                "or '.', a letter or digit at both ends; or empty)"
            )


def _refuse_bad_key(key: str, where: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name) or len(name) > LABEL_NAME_LENGTH_MAX:
        raise UsageError(
            f"{where}: {key!r} is not a label name (at most {LABEL_NAME_LENGTH_MAX} letters, digits, '-', '_' or '.', "
            "a letter or digit at both ends, perhaps after a DNS prefix and '/')"
        )
    if slash and (not _PREFIX.fullmatch(prefix) or len(prefix) > LABEL_PREFIX_LENGTH_MAX):
        raise UsageError(f"{where}: the prefix {prefix!r} of {key!r} is not a lower-case DNS name")
