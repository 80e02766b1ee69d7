"""Quantities: what the API writes, exactly."""

from fractions import Fraction

import pytest

from reconcile.errors import DecodeError
from reconcile.model.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("250m", Fraction(1, 4)),
        ("2", 2),
        ("0", 0),
        ("-1", -1),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1.5Gi", 3 * 2**29),
        ("1Ei", 2**60),
        ("1E", 10**18),
        ("2e3", 2000),
        ("2E-3", Fraction(2, 1000)),
        ("100n", Fraction(1, 10**7)),
        ("3k", 3000),
    ],
)
def test_an_amount_is_exact(text: str, amount: Fraction) -> None:
    """Decimal and binary suffixes and exponents, without rounding."""
    assert parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "m", "1 Gi", "1mi", "1KI", "0x10", "1e", "1e9999", "NaN", "1Gi2", "١"])
def test_anything_else_is_refused(text: str) -> None:
    """The error shows the text."""
    with pytest.raises(DecodeError, match="is not a quantity"):
        parse_quantity(text)
