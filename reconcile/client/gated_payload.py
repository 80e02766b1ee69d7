"""A request's body that asks the request's gate in the same step in which it is written to the socket."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


def gated_payload(library: Any) -> Any:
    """The class of such bodies. ``library`` is aiohttp, handed in because it is imported late.

    aiohttp holds the head back until the first byte of the body, so a gate that raises leaves nothing sent. What it
    raised is in ``refusals``, since aiohttp wraps it.
    """

    class GatedPayload(library.payload.BytesIOPayload):  # type: ignore[misc]  # aiohttp is imported late
        def __init__(self, body: bytes, gate: Callable[[], None] | None, refusals: list[Exception]) -> None:
            super().__init__(io.BytesIO(body))
            self._gate = gate
            self._refusals = refusals

        async def write_with_length(self, writer: Any, content_length: int | None) -> None:
            if self._gate is not None:
                try:
                    self._gate()
                except Exception as refusal:
                    self._refusals.append(refusal)
                    raise
            await super().write_with_length(writer, content_length)

    return GatedPayload
