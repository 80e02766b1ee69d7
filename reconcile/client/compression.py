"""Gzip, in which an API server sends lists and other answers above 128 KiB to those who accept it.

It sends an object of a list at a time otherwise, each as a TLS record and an HTTP chunk of its own, and reading these
costs more than inflating: filling a cache with 10 000 Pods took 0.29 s of CPU without and 0.20 s with gzip
(benchmarks/bench_sync.py). Watches are never compressed.
"""

from __future__ import annotations

import zlib

from reconcile.errors import TransportError

_GZIP = zlib.MAX_WBITS | 16


def inflate(body: bytes, *, bytes_max: int, what: str) -> bytes:
    """The whole body.

    Args:
        body: one gzip stream.
        bytes_max: what it may become; a small body can claim to be terabytes.
        what: the request, for errors.

    Raises:
        TransportError: it is none, is cut off, or is longer than ``bytes_max``.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(body, bytes_max)
    except zlib.error as error:
        raise TransportError(f"{what}: the answer says that it is gzip, and is not: {error}") from error
    if stream.unconsumed_tail:
        raise TransportError(f"{what}: the answer is longer than {bytes_max} bytes; list in pages (limit)")
    if not stream.eof:
        raise TransportError(f"{what}: the answer is cut off")
    return plain
