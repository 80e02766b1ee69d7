"""Framing: what the property test does not say."""

from __future__ import annotations

from reconcile.client.framing import HEAD_BYTES, LINE_BYTES_MAX, LineSplitter, Overlong


def test_the_longest_legal_object_is_a_line() -> None:
    """A request body may have 3 MiB, and some more as JSON of what is stored as protobuf."""
    splitter = LineSplitter()
    line = b"x" * (6 * 1024 * 1024)
    assert splitter.feed(line[:1000]) == []
    assert splitter.feed(line[1000:] + b"\n") == [line]


def test_an_endless_line_does_not_fill_the_memory_and_the_stream_goes_on_after_it() -> None:
    """Of a line beyond the bound only its head is held, and the next line is whole."""
    splitter = LineSplitter()
    chunk = b"y" * 65536
    for _ in range(2 * LINE_BYTES_MAX // len(chunk)):
        assert splitter.feed(chunk) == []
    assert sum(map(len, splitter._parts)) <= HEAD_BYTES
    assert splitter.feed(b'\n{"a":1}\n') == [Overlong(2 * LINE_BYTES_MAX, b"y" * HEAD_BYTES), b'{"a":1}']


def test_an_overlong_line_inside_one_chunk_is_marked_too() -> None:
    """The bound holds whether a line came in pieces or at once."""
    splitter = LineSplitter(line_bytes_max=4)
    assert splitter.feed(b"ok\ntoolong\nok\n") == [b"ok", Overlong(7, b"toolong"), b"ok"]
