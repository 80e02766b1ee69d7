"""Framing against a dumb model: however the bytes are cut, the lines are those of the whole."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from reconcile.client.framing import HEAD_BYTES, Line, LineSplitter, Overlong

LINE_BYTES_MAX = 12

# Few letters, so that newlines, long lines, empty lines and cut UTF-8 (é, 語) all come often.
BYTES = st.lists(st.sampled_from([b"\n", b"a", b"bcd", "é".encode(), "語".encode(), b"{}", b"x" * 9])).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def model(data: bytes) -> list[Line]:
    *lines, _incomplete = data.split(b"\n")
    return [line if len(line) <= LINE_BYTES_MAX else Overlong(len(line), line[:HEAD_BYTES]) for line in lines if line]


@given(data=BYTES, places=st.lists(st.integers(0, 10_000), max_size=40))
def test_lines_do_not_depend_on_how_the_stream_was_cut(data: bytes, places: list[int]) -> None:
    """Any chunking gives the complete lines of the whole, in order; an overlong one is told by length and head."""
    splitter = LineSplitter(line_bytes_max=LINE_BYTES_MAX)
    lines = [line for chunk in cut(data, places) for line in splitter.feed(chunk)]
    expected = model(data)
    assert [heads(line) for line in lines] == [heads(line) for line in expected]
    assert splitter.pending_bytes == len(data.rpartition(b"\n")[2])


@given(data=BYTES)
def test_one_byte_at_a_time_is_as_good_as_all_at_once(data: bytes) -> None:
    """The worst chunking there is."""
    splitter = LineSplitter(line_bytes_max=LINE_BYTES_MAX)
    lines = [line for byte in data for line in splitter.feed(bytes([byte]))]
    assert [heads(line) for line in lines] == [heads(line) for line in model(data)]


def heads(line: Line) -> tuple[int, bytes]:
    """An overlong line keeps a head whose length depends on the chunks; what must hold is its bound and its content."""
    if isinstance(line, Overlong):
        assert len(line.head) <= HEAD_BYTES
        return line.length, line.head[:LINE_BYTES_MAX]
    return len(line), line
