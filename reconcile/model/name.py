"""Deterministic names for children, so that a create whose answer was lost can be sent again.

A name is a function of the owner's uid and of what the child is for, never "the first free slot": a create that is sent
again answers AlreadyExists instead of making a second child, and a namesake of the owner gets other names.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode

from reconcile.model.object import Object

NAME_LENGTH_MAX = 63
"""A DNS label: the shortest bound that a child's name meets anywhere (a Pod's name is its hostname)."""

HASH_LENGTH = 10
"""Fifty bits: two children of one owner meet with a chance below one in ten million at 10 000 children."""


def digest(*parts: str | int) -> str:
    """Ten lower-case letters and digits that depend on all parts and on where each ends."""
    data = b"\x00".join(str(part).encode() for part in parts)
    return b32encode(hashlib.sha256(data).digest())[:HASH_LENGTH].decode().lower()


def child_name(owner: Object, *parts: str | int) -> str:
    """``<owner's name, cut to fit>-<hash of the owner's uid and the parts>``."""
    return f"{owner.name[: NAME_LENGTH_MAX - HASH_LENGTH - 1].rstrip('-.')}-{digest(owner.uid, *parts)}"
