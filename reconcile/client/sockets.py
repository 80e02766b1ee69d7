"""Sockets that notice a peer which is gone without a word: a half-open connection would hang a watch for many minutes.

Source: client-go#374 and kubernetes/kubernetes#65012. Probes alone do not end a connection on which data waits to be
acknowledged; for that Linux has ``TCP_USER_TIMEOUT`` (RFC 5482).
"""

from __future__ import annotations

import socket
from typing import Any

PROBE_AFTER_SECONDS, PROBE_SECONDS, PROBES = 30, 10, 3
"""A silent connection is probed after 30 s, and dead a minute after the last byte."""

UNACKNOWLEDGED_MILLISECONDS = 60_000
"""Data that nobody acknowledges for that long ends the connection."""


def make_socket(address: tuple[Any, ...]) -> socket.socket:
    """A TCP socket for one entry of ``getaddrinfo``. Options that a system does not have are left out."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", PROBE_AFTER_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MILLISECONDS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    made.setblocking(False)
    return made
