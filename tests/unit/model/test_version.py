"""Versions are compared as numbers where they are numbers, and not at all where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile.model.version import VERSION_DIGITS_MAX, is_older, version_number


@given(st.integers(0, 10**VERSION_DIGITS_MAX - 1), st.integers(0, 10**VERSION_DIGITS_MAX - 1))
def test_numbers_compare_as_numbers(left: int, right: int) -> None:
    """Whatever their lengths."""
    assert is_older(str(left), str(right)) == (left < right)
    assert version_number(str(left)) == left


@pytest.mark.parametrize(
    "opaque", ["", "x", "-1", "1.0", " 1", "1_0", "²", "١", "1" * (VERSION_DIGITS_MAX + 1), "1" * 5000]
)
def test_what_is_no_number_is_neither_older_nor_newer(opaque: str) -> None:
    """Nothing is concluded from it, also beside a text of the same length."""
    assert version_number(opaque) is None
    for other in ("1", "9" * len(opaque), "0" * len(opaque), opaque):
        assert not is_older(opaque, other)
        assert not is_older(other, opaque)
