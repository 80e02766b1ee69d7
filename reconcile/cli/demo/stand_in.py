"""A stand-in for nodes: says in Pods' status what a kubelet would say, and runs nothing.

It understands the demo's own commands only: ``sleep N`` and ``exit N`` in the container's shell text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.abc

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.errors import ConflictError, NotFoundError
from reconcile.model.delta import Delta
from reconcile.model.object import Object
from reconcile.model.patch import MergePatch
from reconcile.model.resource import Resource
from reconcile.model.timestamp import render
from reconcile.model.write import Refused
from reconcile.runtime.clock import Clock

_SLEEP = re.compile(r"\bsleep ([0-9.]+)")
_EXIT = re.compile(r"\bexit ([0-9]+)")


class StandIn:
    """Finishes Pods. Subscribe ``pods_changed`` to an informer of Pods."""

    def __init__(self, client: Client, pods: Resource, clock: Clock, group: anyio.abc.TaskGroup) -> None:
        self._client = client
        self._pods = pods
        self._clock = clock
        self._group = group
        self._seen: set[str] = set()

    def pods_changed(self, deltas: Sequence[Delta], /) -> None:
        """Begin with Pods that are new."""
        for delta in deltas:
            pod = delta.new
            if pod is not None and pod.uid not in self._seen:
                self._seen.add(pod.uid)
                self._group.start_soon(self._finish, pod)

    async def _finish(self, pod: Object) -> None:
        container = pod.to_dict()["spec"]["containers"][0]
        command = " ".join(container.get("command", ()))
        sleep, exit_code = _SLEEP.search(command), _EXIT.search(command)
        code = int(exit_code[1]) if exit_code else 0
        started = render(self._clock.wall())
        status = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
        running = status | {"ready": True, "state": {"running": {"startedAt": started}}}
        if not await self._write(pod, {"phase": "Running", "startTime": started, "containerStatuses": [running]}):
            return
        await self._clock.sleep(float(sleep[1]) if sleep else 0)
        terminated = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": started,
            "finishedAt": render(self._clock.wall()),
        }
        ended = status | {"ready": False, "state": {"terminated": terminated}}
        await self._write(pod, {"phase": "Failed" if code else "Succeeded", "containerStatuses": [ended]})

    async def _write(self, pod: Object, status: dict[str, Any]) -> bool:
        """Whether the Pod is still there."""
        patch = MergePatch({"status": status})
        outcome = await self._client.send(writes.patch(self._pods, pod.key, patch, subresource="status", uid=pod.uid))
        if isinstance(outcome, Refused):
            if isinstance(outcome.error, (NotFoundError, ConflictError)):
                return False  # deleted meanwhile, as a kubelet's Pods are
            raise outcome.error
        return True
