"""Index sets and their text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcile_job.plan.indexes import Indexes


@pytest.mark.parametrize(
    ("indexes", "text"),
    [
        ([], ""),
        ([4], "4"),
        ([0, 1], "0,1"),
        ([0, 1, 2], "0-2"),
        ([1, 3, 4, 5, 7], "1,3-5,7"),
        ([7, 5, 4, 3, 1, 1], "1,3-5,7"),
        ([0, 1, 3, 4], "0,1,3,4"),
    ],
)
def test_runs_of_three_are_written_short(indexes, text):
    """A run of two is written number by number."""
    assert str(Indexes.of(indexes)) == text
    assert list(Indexes.parse(text, 8)) == sorted(set(indexes))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0,x,2", [0, 2]),
        ("0,1-,2", [0, 2]),
        ("3-9", [3, 4]),
        ("5,1", []),
        ("1,7,2", [1]),
        ("0-1,2-3", [0, 1, 2, 3]),
        ("2-1,4", [4]),
        ("-1,1", [1]),
        ("1e2,٣", []),
        ("9" * 40, []),
        (",,", []),
    ],
)
def test_reading_is_lenient(text, read):
    """Bad items are skipped, reading stops at the first index outside, the last run is cut to size."""
    assert list(Indexes.parse(text, 5)) == read


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_it_behaves_as_a_set(one, two):
    """Membership, size, union, common size and the text's round trip, beside Python's own set."""
    indexes = Indexes.of(one)
    assert list(indexes) == sorted(one)
    assert len(indexes) == len(one)
    assert bool(indexes) == bool(one)
    assert [index in indexes for index in range(62)] == [index in one for index in range(62)]
    assert list(indexes.union(two)) == sorted(one | two)
    assert indexes.count_common(Indexes.of(two)) == len(one & two)
    assert Indexes.parse(str(indexes), 61) == indexes
