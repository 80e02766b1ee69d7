"""``reconcile run`` as a child process, its log line by line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys


class Service:
    """The command as a child process, its log line by line."""

    def __init__(self, process):
        self.process = process
        self.records = []
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self):
        async for line in self.process.stderr:
            async with self._arrived:
                try:
                    self.records.append(json.loads(line))
                except ValueError:  # every line is a record; this one fails the test that looks at it
                    self.records.append({"message": f"no record: {line!r}", "level": "stray"})
                self._arrived.notify_all()

    async def logged(self, pattern, timeout_seconds=60):
        """The first match of a message in the log, past or future."""

        def found():
            return next((match for record in self.records if (match := re.search(pattern, record["message"]))), None)

        async with asyncio.timeout(timeout_seconds), self._arrived:
            await self._arrived.wait_for(found)
        return found()

    async def url(self, what):
        return (await self.logged(rf"serving {what} on (\S+)"))[1]

    async def stop(self, sent=signal.SIGTERM):
        self.process.send_signal(sent)
        async with asyncio.timeout(60):
            status = await self.process.wait()
            await self._reader
        return status

    @property
    def log(self):
        return "\n".join(json.dumps(record) for record in self.records)


@contextlib.asynccontextmanager
async def service(directory, kubeconfig, *flags, app):
    """The service with both binds, and its log as JSON at debug level. ``app`` may be several names with spaces."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reconcile", "run", *app.split(), "--kubeconfig", str(kubeconfig)),
        *("--log-format=json", "--log-level=debug"),
        *("--health-bind-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0", *flags),
        cwd=directory,
        stderr=subprocess.PIPE,
    )
    running = Service(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await running._reader
