"""What names, labels and keys may look like; each rule gives the problems of a value, none where it is fine.

Source: "Object Names and IDs" and "Labels and Selectors" in the Kubernetes documentation, RFC 1035, RFC 1123.
"""

from __future__ import annotations

import re

__all__ = [
    "config_key",
    "dns_label",
    "dns_label_1035",
    "dns_subdomain",
    "environment_name",
    "label_value",
    "path_segment",
    "port_name",
    "port_number",
    "qualified_name",
]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
LABEL_LENGTH_MAX = 63
SUBDOMAIN_LENGTH_MAX = 253


def _used(pattern: str) -> str:
    return f"regex used for validation is '{pattern}'"


def _too_long(value: str, length_max: int, unit: str = "bytes") -> list[str]:
    """The server's newer rules say bytes, its older ones characters; both count bytes."""
    return [f"must be no more than {length_max} {unit}"] if len(value.encode()) > length_max else []


def dns_label(value: str) -> list[str]:
    """RFC 1123 label."""
    problems = _too_long(value, LABEL_LENGTH_MAX, "characters")
    if not re.fullmatch(_LABEL, value):
        if re.fullmatch(_SUBDOMAIN, value):
            problems.append("must not contain dots")
        else:
            problems.append(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
                f"and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', {_used(_LABEL)})"
            )
    return problems


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain."""
    problems = _too_long(value, SUBDOMAIN_LENGTH_MAX, "characters")
    if not re.fullmatch(_SUBDOMAIN, value):
        problems.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            f"start and end with an alphanumeric character (e.g. 'example.com', {_used(_SUBDOMAIN)})"
        )
    return problems


def dns_label_1035(value: str) -> list[str]:
    """RFC 1035 label: it begins with a letter."""
    problems = _too_long(value, LABEL_LENGTH_MAX, "characters")
    if not re.fullmatch(_LABEL_1035, value):
        problems.append(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
            f"{_used(_LABEL_1035)})"
        )
    return problems


def qualified_name(value: str) -> list[str]:
    """A label's or annotation's key, a finalizer, a condition type: a name, with a subdomain before it or not."""
    prefix, slash, name = value.rpartition("/")
    problems = []
    if slash and "/" in prefix:
        return [
            f"{_LABEL_KEY} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        ]
    if slash:
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems.extend(f"prefix part {problem}" for problem in dns_subdomain(prefix))
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > LABEL_LENGTH_MAX:
        problems.append(f"name part must be no more than {LABEL_LENGTH_MAX} bytes")
    if not re.fullmatch(_QUALIFIED, name):
        problems.append(f"name part {_PARTS} (e.g. 'MyName',  or 'my.name',  or '123-abc', {_used(_QUALIFIED)})")
    return problems


_PARTS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_KEY = f"a valid label key {_PARTS} (e.g. 'MyName',  or 'my.name',  or '123-abc', {_used(_QUALIFIED)})"


def label_value(value: str) -> list[str]:
    """A label's value; empty is one."""
    problems = _too_long(value, LABEL_LENGTH_MAX)
    if not re.fullmatch(_LABEL_VALUE, value):
        problems.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
            f"{_used(_LABEL_VALUE)})"
        )
    return problems


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    problems = _too_long(value, SUBDOMAIN_LENGTH_MAX, "characters")
    if not re.fullmatch(_CONFIG_KEY, value):
        problems.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
            f"'KEY_NAME',  or 'key-name', {_used(_CONFIG_KEY)})"
        )
    if value == ".":
        problems.append("must not be '.'")
    elif value == "..":
        problems.append("must not be '..'")
    elif value.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def environment_name(value: str) -> list[str]:
    """The name of an environment variable."""
    if value and all(" " <= character <= "~" and character != "=" for character in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name(value: str) -> list[str]:
    """RFC 6335 service name."""
    problems = []
    if len(value) > 15:
        problems.append("must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def port_number(value: int) -> list[str]:
    """A TCP or UDP port."""
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def path_segment(value: str) -> list[str]:
    """A name that may stand in a URL's path: of RBAC objects, among others."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in value]
