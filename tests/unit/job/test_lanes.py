"""Lanes: how many writes are in flight, in which order, and what a cancellation leaves behind."""

from __future__ import annotations

import anyio
import pytest

from reconcile import ConflictError, LeaseLostError
from reconcile.errors import Status
from reconcile_job.lanes import Lanes, Urgency


class Gate:
    """Writes that end when they are told to."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.open = anyio.Event()
        self.most = 0
        self.now = 0

    async def write(self, item: str) -> str:
        self.began.append(item)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.open.wait()
        finally:
            self.now -= 1
        return item


@pytest.mark.asyncio
async def test_counting_goes_first_then_older_jobs() -> None:
    """The waiting are served by urgency, then age, then arrival; never more than the limit at a time."""
    lanes, gate = Lanes(2), Gate()
    async with anyio.create_task_group() as group:
        for urgency, age, items in [
            (Urgency.CREATE, "1", ["a", "b", "c"]),
            (Urgency.CREATE, "0", ["old"]),
            (Urgency.DELETE, "2", ["delete"]),
            (Urgency.COUNT, "9", ["count 1", "count 2"]),
        ]:
            group.start_soon(lanes.each, items, gate.write, urgency, age)
            await anyio.wait_all_tasks_blocked()
        assert gate.began == ["a", "b"]
        gate.open.set()
    assert gate.began == ["a", "b", "count 1", "count 2", "delete", "old", "c"]
    assert gate.most == 2
    assert repr(lanes) == "<Lanes 2 free, 0 waiting>"


@pytest.mark.asyncio
async def test_a_refusal_is_a_result_and_the_others_go_on() -> None:
    """In the order of the items."""

    async def write(item: int) -> int:
        if item == 1:
            raise ConflictError("test", Status(code=409, reason="Conflict"))
        return item

    first, second, third = await Lanes(1).each([0, 1, 2], write, Urgency.COUNT, "")
    assert (first, third) == (0, 2)
    assert isinstance(second, ConflictError)


@pytest.mark.asyncio
async def test_a_lost_lease_stops_everything() -> None:
    """It concerns the whole process: raised bare, and no lane is kept."""
    lanes = Lanes(1)

    async def write(_item: int) -> None:
        raise LeaseLostError("gone")

    with pytest.raises(LeaseLostError, match="gone"):
        await lanes.each([1, 2, 3], write, Urgency.COUNT, "")
    assert repr(lanes) == "<Lanes 1 free, 0 waiting>"


@pytest.mark.asyncio
async def test_cancelled_at_any_point_no_lane_is_lost() -> None:
    """While waiting for a lane, while holding one, and at the moment of being given one."""
    lanes, gate = Lanes(1), Gate()
    async with anyio.create_task_group() as outer:
        holder, waiter = anyio.CancelScope(), anyio.CancelScope()

        async def hold(scope: anyio.CancelScope, item: str) -> None:
            with scope:
                async with lanes.lane(Urgency.COUNT, ""):
                    await gate.write(item)

        outer.start_soon(hold, holder, "held")
        await anyio.wait_all_tasks_blocked()
        outer.start_soon(hold, waiter, "waited")
        await anyio.wait_all_tasks_blocked()
        assert repr(lanes) == "<Lanes 0 free, 1 waiting>"
        waiter.cancel()
        await anyio.wait_all_tasks_blocked()
        assert repr(lanes) == "<Lanes 0 free, 0 waiting>"
        given = anyio.CancelScope()
        outer.start_soon(hold, given, "given")
        await anyio.wait_all_tasks_blocked()
        holder.cancel()
        given.cancel()
    assert repr(lanes) == "<Lanes 1 free, 0 waiting>"
    assert gate.began == ["held"]
