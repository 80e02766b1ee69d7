"""Quantities as the API server writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.cluster.api_server.quantity import canonical_quantity, quantity_value


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1", "1"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("100000", "100k"),
        ("3e4", "30e3"),
        ("1E3", "1E3"),
        ("+1", "+1"),
        ("0.1n", "1n"),
        ("-1.5", "-1500m"),
        ("0Ki", "0"),
        (5, "5"),
        (1.5, "1500m"),
        (" 1", "1"),
    ],
)
def test_canonical_form(text: Any, canonical: str) -> None:
    """Whole mantissa, largest suffix of its family; a text that looks canonical stays."""
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize("text", ["", "x", ".", "1ki", "1e", "1 Gi", True, None, [], "1" * 500, "1e9999999"])
def test_what_is_no_quantity_is_refused(text: Any) -> None:
    """In bounded time, whatever is sent."""
    with pytest.raises(ValueError, match="quantit"):
        canonical_quantity(text)


def test_amounts_are_rounded_up_to_thousandths() -> None:
    """Who asks for some of a resource gets some."""
    assert canonical_quantity("1.0001", smallest_exponent=-3) == "1001m"


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "e3", "u"]))
def test_the_canonical_form_has_the_same_value_and_stays(number: int, suffix: str) -> None:
    """Canonical once, canonical for ever."""
    text = f"{number}{suffix}"
    canonical = canonical_quantity(text)
    assert quantity_value(canonical) == quantity_value(text)
    assert canonical_quantity(canonical) == canonical


def test_value() -> None:
    """A quantity's number."""
    assert quantity_value("1Ki") == Decimal(1024)
    assert quantity_value("250m") == Decimal("0.25")
