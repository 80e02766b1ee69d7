"""The watchdog sees code that holds the event loop, names it, and is quiet otherwise."""

import asyncio
import hashlib
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from reconcile.instrumentation.hooks import Hooks
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.watchdog import LoopWatchdog


async def told(block, *, threshold_seconds=0.1, stuck_seconds=60.0):
    """The facts that a watchdog tells when ``block`` runs on its loop, until the first has come."""
    facts, first = [], asyncio.Event()
    hooks = Hooks()
    hooks.add(lambda fact: (facts.append(fact), first.set()))
    watchdog = LoopWatchdog(hooks, SYSTEM_CLOCK, threshold_seconds=threshold_seconds, stuck_seconds=stuck_seconds)
    async with asyncio.timeout(30):
        task = asyncio.create_task(watchdog.run())
        await asyncio.sleep(0)
        block()
        await first.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return facts


@pytest.mark.asyncio
async def test_code_that_sleeps_on_the_loop_is_named():
    """The fact holds how long, and the line that did it."""

    def blocks_the_loop():
        time.sleep(0.5)

    (fact, *_) = await told(blocks_the_loop)
    assert 0.2 <= fact.seconds < 10
    assert "blocks_the_loop" in fact.stack
    assert "time.sleep(0.5)" in fact.stack


@pytest.mark.asyncio
async def test_code_that_holds_the_interpreter_is_seen_though_the_thread_cannot_run():
    """A regular expression gone wild keeps every other thread out; it is still the code's doing, not the machine's."""

    def holds_the_interpreter():
        end = time.process_time() + 0.6
        while time.process_time() < end:
            hashlib.sha256(b"x" * 1000).digest()

    switch = sys.getswitchinterval()
    sys.setswitchinterval(5)
    try:
        (fact, *_) = await told(holds_the_interpreter)
    finally:
        sys.setswitchinterval(switch)
    assert fact.seconds >= 0.2
    assert fact.stack


@pytest.mark.asyncio
async def test_stall_that_lasts_is_logged_while_it_lasts(caplog):
    """The loop may never run again, so the thread itself speaks up."""
    caplog.set_level(logging.ERROR, "reconcile.watchdog")
    logged_during = []

    def stuck():
        deadline = time.monotonic() + 10
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        logged_during.extend(caplog.records)

    await told(stuck, threshold_seconds=0.05, stuck_seconds=0.2)
    assert len(logged_during) == 1
    assert "has stood still" in logged_during[0].message
    assert "in stuck" in logged_during[0].trace


PAUSED = """
import asyncio
from reconcile.instrumentation.hooks import Hooks
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.runtime.watchdog import LoopWatchdog

async def main():
    hooks = Hooks()
    hooks.add(lambda fact: print(f"{fact.seconds:.3f} {fact.stack!r}", flush=True))
    task = asyncio.create_task(LoopWatchdog(hooks, SYSTEM_CLOCK, threshold_seconds=0.3).run())
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await task

asyncio.run(main())
"""


def test_suspended_process_blames_no_code():
    """After SIGSTOP the loop was late, and the fact says so without a stack."""
    with subprocess.Popen([sys.executable, "-c", PAUSED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            while process.stdout.readline() != "ready\n":
                assert process.poll() is None
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(3)  # the suspension itself, not a wait for something
            os.kill(process.pid, signal.SIGCONT)
            seconds, stack = "0", ""
            while float(seconds) < 2.9:  # a busy machine may have starved it before
                seconds, stack = process.stdout.readline().split(maxsplit=1)
        finally:
            process.kill()
    assert stack.strip() == "''"


@pytest.mark.asyncio
async def test_thread_ends_with_the_task():
    """Nothing is left running."""
    import threading

    hooks = Hooks()
    task = asyncio.create_task(LoopWatchdog(hooks, SYSTEM_CLOCK, threshold_seconds=0.05).run())
    await asyncio.sleep(0)
    (thread,) = [
        thread for thread in threading.enumerate() if thread.name == "reconcile-watchdog" and thread.is_alive()
    ]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
