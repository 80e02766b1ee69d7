"""Quantity: amounts of resources (``250m``, ``1.5Gi``, ``2e3``), exact. Source: the API's ``resource.Quantity``."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from reconcile.errors import DecodeError

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?", re.ASCII
)

_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

QUANTITIES_REMEMBERED_MAX = 4096
"""A cluster's Pods ask for a few hundred different amounts."""


@functools.lru_cache(maxsize=QUANTITIES_REMEMBERED_MAX)
def parse_quantity(text: str) -> Fraction:
    """The amount in the resource's own unit: cores, bytes, pieces.

    Raises:
        DecodeError: not a quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise DecodeError(f"{text!r} is not a quantity: want a number with n, u, m, k, M, G, T, P, E, Ki … Ei or e3")
    number, suffix = Fraction(match["number"]), match["suffix"] or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:] or 0)
    scale: int = 10 ** abs(exponent)
    return number * scale if exponent >= 0 else number / scale
