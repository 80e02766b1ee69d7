"""Resource quantities: ``500m``, ``1Gi``, ``1e3``: their canonical form and their value.

Source of the rules: the API reference of Quantity. Canonical: the mantissa is an integer, no fractional digits, and
the suffix is the largest that keeps it so; the suffix's family (binary, decimal, exponent) is that of the input, but a
binary one with a fraction or below 1024 becomes decimal. Nothing is smaller than 1n: smaller digits round up.
Caveat: as on a real server, a text that looks canonical (``1E3``, ``+1``) is kept as it was written.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import attrs

__all__ = ["canonical_quantity", "quantity_value"]

_REFUSED = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_PATTERN = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?([eEinumkKMGTP]*)([-+]?\d*)", re.ASCII)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIXES = {exponent: suffix for suffix, exponent in _EXPONENTS.items()}
_LARGEST = Decimal(2**63 - 1)
"""A larger binary quantity is cut to what an int64 holds."""
_EXACT = Context(prec=2_000)
_LENGTH_MAX = 400
_EXPONENT_MAX = 1_000
"""Longer texts and exponents are refused, so that no quantity costs more than a kilobyte or two of digits; a real
server computes with them. No resource has such an amount."""
_FAST_DIGITS_MAX = 18
"""A real server keeps the text of a number only if it fits an int64 without doubt."""


@attrs.frozen
class _Quantity:
    value: Decimal
    family: str
    kept: str | None = None
    """The text as written, where a real server keeps it."""


def quantity_value(text: str | float) -> Decimal:
    """The number that a quantity stands for. Raises ValueError."""
    return _parse(text).value


def canonical_quantity(text: Any, *, smallest_exponent: int = -9) -> str:
    """A quantity as the API server writes it, rounded up to a multiple of ``10**smallest_exponent``.

    Raises:
        ValueError: it is none; the text is the server's.
    """
    parsed = _parse(text)
    value, family = parsed.value, parsed.family
    rounded = _round_up(value, smallest_exponent)
    if parsed.kept is not None and rounded == value:
        return parsed.kept
    value = rounded
    if value == 0:
        return "0"
    if family == "binary" and abs(value) >= 1024 and value == value.to_integral_value(context=_EXACT):
        return _binary(int(value))
    exponent = _exponent(value, without_limit=family == "exponent")
    mantissa = int(_EXACT.scaleb(value, -exponent))
    if family == "exponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_SUFFIXES[exponent]}"


def _parse(text: Any) -> _Quantity:
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(_REFUSED)  # noqa: TRY004 - to the client it is a bad value like any other
    text = str(text).strip()
    match = _PATTERN.fullmatch(text)
    if match is None or len(text) > _LENGTH_MAX or not (match[2] or match[3]):
        raise ValueError(_REFUSED)
    sign, whole, fraction, letters, digits = match[1], match[2], match[3] or "", match[4], match[5]
    if text == "0":
        return _Quantity(Decimal(0), "decimal", "0")
    number = Decimal(f"{whole or 0}.{fraction or 0}")
    exponent = 0
    if letters in _BINARY and not digits:
        family, exponent = "binary", _BINARY[letters]
        value = min(_EXACT.multiply(number, Decimal(2**exponent)), _LARGEST)
    elif letters in ("e", "E") and digits.lstrip("+-") and len(digits) < _EXPONENT_DIGITS_MAX:
        family, exponent = "exponent", int(digits)
        value = _EXACT.scaleb(number, exponent)
    elif letters in _EXPONENTS and not digits:
        family, exponent = "decimal", _EXPONENTS[letters]
        value = _EXACT.scaleb(number, exponent)
    else:
        raise ValueError("unable to parse quantity's suffix")
    kept = text if _is_kept(whole, fraction, family, exponent) else None
    value = _EXACT.minus(value) if sign == "-" else value
    return _Quantity(_round_up(value, -9), family, kept)


_EXPONENT_DIGITS_MAX = len(str(_EXPONENT_MAX)) + 1


def _is_kept(whole: str, fraction: str, family: str, exponent: int) -> bool:
    digits = whole + fraction
    if family == "binary":
        room = 15 - len(whole) - exponent * 3 // 10 - 1
        return not fraction and room >= 0 and int(digits or 0) % 8 != 0
    scale = exponent - len(fraction)
    return (
        len(digits) <= _FAST_DIGITS_MAX
        and scale >= -9
        and scale % 3 == 0
        and not digits.endswith("000")
        and digits[0] != "0"
    )


def _round_up(value: Decimal, exponent: int) -> Decimal:
    """Away from zero: who asks for some of a resource gets some."""
    rounding = ROUND_FLOOR if value < 0 else ROUND_CEILING
    return value.quantize(Decimal(1).scaleb(exponent), rounding=rounding, context=_EXACT)


def _binary(value: int) -> str:
    for suffix, bits in reversed(_BINARY.items()):
        if value % 2**bits == 0:
            return f"{value // 2**bits}{suffix}"
    return str(value)


def _exponent(value: Decimal, *, without_limit: bool) -> int:
    """The largest multiple of three with which the mantissa is an integer."""
    exponent = _EXPONENT_MAX // 3 * 3 if without_limit else max(_SUFFIXES)
    while exponent > min(_SUFFIXES):
        scaled = _EXACT.scaleb(value, -exponent)
        if scaled == scaled.to_integral_value(context=_EXACT):
            return exponent
        exponent -= 3
    return exponent
