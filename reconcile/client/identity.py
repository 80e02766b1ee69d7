"""Identity: whose bytes these are, where they cannot be decoded. Pure.

Guarantees:
    * Only the object's own metadata are believed: no label, annotation or field of that name elsewhere can pose for
      another object.
    * Nesting, bad values and a missing end do no harm; the work is bounded.
"""

from __future__ import annotations

import re

import msgspec

SCAN_BYTES = 512 * 1024
"""How far is looked: annotations, which may come before the name, have up to 256 KiB."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)
_EVENT_METADATA = [b"", b"object", b"metadata"]
_OBJECT_METADATA = [b"", b"metadata"]


class Identity(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What was found; empty where it was not."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


def identity_of(data: bytes, *, is_event: bool) -> Identity:
    """The identity in an object's metadata, or in those of a watch event's object."""
    wanted = _EVENT_METADATA if is_event else _OBJECT_METADATA
    path: list[bytes] = []  # the member that each open object or array is the value of
    member, text, awaits_value = b"", b"", False
    found: dict[bytes, str] = {}
    for match in _TOKEN.finditer(data, 0, SCAN_BYTES):
        token = match.group()
        match token:
            case b":":
                member, awaits_value = text, True
            case b"{" | b"[":
                path.append(member if token == b"{" else token)
                member, awaits_value = b"", False
            case b"}" | b"]":
                if path == wanted:
                    break
                if path:
                    path.pop()
                awaits_value = False
            case b",":
                awaits_value = False  # the value was a number, a word, or has been closed
            case _ if awaits_value:
                if path == wanted and b"\\" not in token:
                    found.setdefault(member, token[1:-1].decode("utf-8", "replace"))
                awaits_value = False
            case _:
                text = token[1:-1]
    return Identity(found.get(b"name", ""), found.get(b"namespace", ""), found.get(b"resourceVersion", ""))
