"""Framing: chunks of a watch stream in, complete lines out. Pure, no IO.

Guarantees:
    * A line is never given out before its newline has arrived, however the chunks are cut (a split UTF-8 sequence
      included: lines are bytes).
    * Memory is bounded: of a line longer than the bound only the head is kept, and the stream goes on with the next.
    * Lines are copies; none keeps a chunk alive.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

LINE_BYTES_MAX = 8 * 1024 * 1024
"""The longest line. A request body may have 3 MiB and etcd takes 1.5 MiB, but built-in kinds are stored as protobuf,
and their JSON is up to some four times as long."""

HEAD_BYTES = 4096
"""How much of an overlong line is kept: enough for the name of what it is about."""


class Overlong(msgspec.Struct, frozen=True, gc=False):
    """Stands for a line of more than ``LINE_BYTES_MAX`` bytes: its length and its head."""

    length: int
    head: bytes


Line: TypeAlias = bytes | Overlong


class LineSplitter:
    """Splits one stream. Make a new one for each connection."""

    def __init__(self, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._parts: list[bytes] = []
        # Of the line whose newline has not come yet; ``_parts`` hold all of it, or the head once it is overlong.
        self._length = 0

    @property
    def pending_bytes(self) -> int:
        """How much of an incomplete line has come."""
        return self._length

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that ``chunk`` completes, without their newlines. Empty lines are left out."""
        pieces = chunk.split(b"\n")
        last = pieces.pop()
        lines: list[Line] = []
        if pieces:
            if self._length:
                self._append(pieces[0])
                lines.append(self._take())
                del pieces[0]
            if len(chunk) <= self._line_bytes_max:
                lines += [piece for piece in pieces if piece]
            else:
                lines += [self._bounded(piece) for piece in pieces if piece]
        if last:
            self._append(last)
        return lines

    def _bounded(self, piece: bytes) -> Line:
        return piece if len(piece) <= self._line_bytes_max else Overlong(len(piece), piece[:HEAD_BYTES])

    def _append(self, piece: bytes) -> None:
        was_overlong = self._length > self._line_bytes_max
        self._length += len(piece)
        if self._length <= self._line_bytes_max:
            self._parts.append(piece)
        elif not was_overlong:
            self._parts = [b"".join([*self._parts, piece])[:HEAD_BYTES]]

    def _take(self) -> Line:
        line = b"".join(self._parts)
        length, self._length, self._parts = self._length, 0, []
        return line if length <= self._line_bytes_max else Overlong(length, line)
