"""Resource versions: what can be told from two of them (KEP-5504, comparable resource versions)."""

from __future__ import annotations

VERSION_DIGITS_MAX = 39
"""Versions are decimal numbers of at most 128 bits (KEP-5504); anything longer is treated as opaque."""


def version_number(version: str) -> int | None:
    """A resourceVersion as a number, or None where it cannot be compared (KEP-5504)."""
    return int(version) if version.isdecimal() and version.isascii() and len(version) <= VERSION_DIGITS_MAX else None


def is_older(version: str, than: str) -> bool:
    """Whether one version is certainly older than the other."""
    if len(version) == len(than):  # almost always so, and then numbers compare as text, at a fifth of the cost
        return version < than and version_number(version) is not None and version_number(than) is not None
    left, right = version_number(version), version_number(than)
    return left is not None and right is not None and left < right
