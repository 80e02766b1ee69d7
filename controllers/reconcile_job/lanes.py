"""Lanes: how many writes are in flight at a time, and whose goes first.

Counting and finishing go ahead of creating, and older Jobs ahead of younger ones: a Job that is nearly done is done
sooner, and nobody is done later. Unbounded parallel writes would only queue in the API server, where nobody orders
them.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count
from typing import Final, TypeAlias, TypeVar

import anyio

from reconcile import ApiError, TransportError, UnknownOutcomeError

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT_MAX: Final = 16
"""More than this gained nothing against a real API server on the same machine, and starves its other clients."""

Rank: TypeAlias = tuple[int, str, int]
Failure: TypeAlias = ApiError | UnknownOutcomeError | TransportError
"""What a write may end with that concerns only its object. Anything else stops the whole look."""


class Urgency(IntEnum):
    """Lower goes first."""

    COUNT = 0
    DELETE = 1
    CREATE = 2


class Lanes:
    """At most ``limit`` writes at a time; the waiting ones in order of urgency, then of ``age`` (oldest first)."""

    def __init__(self, limit: int = IN_FLIGHT_MAX) -> None:
        self._limit = self._free = limit
        self._waiting: list[tuple[Rank, anyio.Event]] = []
        self._arrivals = count()

    def __repr__(self) -> str:
        return f"<Lanes {self._free} free, {len(self._waiting)} waiting>"

    @property
    def is_busy(self) -> bool:
        """Whether whoever comes now must wait."""
        return not self._free

    @asynccontextmanager
    async def lane(self, urgency: Urgency, age: str) -> AsyncIterator[None]:
        """Wait for a lane and hold it."""
        if self._free:
            self._free -= 1
        else:
            turn = anyio.Event()
            entry = ((int(urgency), age, next(self._arrivals)), turn)
            heapq.heappush(self._waiting, entry)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self._leave()
                else:
                    self._waiting.remove(entry)
                    heapq.heapify(self._waiting)
                raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._waiting:
            heapq.heappop(self._waiting)[1].set()
        else:
            self._free += 1

    async def each(
        self, items: Sequence[T], write: Callable[[T], Awaitable[R]], urgency: Urgency, age: str
    ) -> list[R | Failure]:
        """``write`` every item, in parallel; its result or its failure for each, in order."""
        results: dict[int, R | Failure] = {}
        rest = iter(enumerate(items))

        async def some() -> None:
            for position, item in rest:
                async with self.lane(urgency, age):
                    try:
                        results[position] = await write(item)
                    except (ApiError, UnknownOutcomeError, TransportError) as error:
                        results[position] = error

        try:
            async with anyio.create_task_group() as group:
                # No more tasks than lanes: each costs as much as a tenth of a request.
                for _ in range(min(len(items), self._limit)):
                    group.start_soon(some)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return [results[position] for position in range(len(items))]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception in a group; the others came of the same cause (a lost lease fails every write)."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
