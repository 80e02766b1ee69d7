"""Cache: the informers of one cluster, each declared, shared where everything about it agrees, and kept running.

Guarantees:
    * No informer starts behind anybody's back: reading a kind that was not declared is an error
      (kubernetes-sigs/controller-runtime#3552).
    * An informer that dies is reported, makes this process unready, and is started again with a growing delay.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import anyio
import anyio.abc

from reconcile.client.api import Client
from reconcile.core.backoff import Backoff
from reconcile.core.index import IndexFunction
from reconcile.core.table import Transform
from reconcile.errors import NotSyncedError, UsageError
from reconcile.instrumentation.hooks import ComponentFailed, Hooks
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.resource import Resource
from reconcile.model.scope import Scope
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock
from reconcile.runtime.informer import Informer

_log = logging.getLogger("reconcile.cache")

_Identity: TypeAlias = tuple[Resource, Scope, str, str, bool, Transform | None, bool]


class Cache:
    """The informers of one cluster."""

    def __init__(self, client: Client, *, clock: Clock = SYSTEM_CLOCK, hooks: Hooks | None = None) -> None:
        self._client = client
        self._clock = clock
        self._hooks = hooks if hooks is not None else Hooks()
        self._informers: dict[_Identity, Informer] = {}
        self._failed: dict[Informer, str] = {}
        self._group: anyio.abc.TaskGroup | None = None

    @property
    def informers(self) -> Sequence[Informer]:
        """All that were declared."""
        return tuple(self._informers.values())

    def informer(
        self,
        resource: Resource,
        *,
        scope: Scope = Scope(),  # noqa: B008  a frozen value
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexes: Mapping[str, IndexFunction] | None = None,
        transform: Transform | None = None,
        resync_seconds: float | None = None,
        watch_list: bool = False,
    ) -> Informer:
        """The informer of exactly this view, made at the first call; indexes are added to one that exists.

        It runs once ``run`` does. Raises UsageError where an index or the resync interval is declared differently.
        """
        identity: _Identity = (resource, scope, label_selector, field_selector, metadata_only, transform, watch_list)
        known = self._informers.get(identity)
        if known is not None:
            for name, function in (indexes or {}).items():
                known.declare_index(name, function)
            if resync_seconds is not None and resync_seconds != known.resync_seconds:
                raise UsageError(
                    f"{known}: resync_seconds is {known.resync_seconds} already and is now declared as {resync_seconds}"
                )
            return known
        informer = self._informers[identity] = Informer(
            self._client,
            resource,
            scope=scope,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
            indexes=indexes,
            transform=transform,
            resync_seconds=resync_seconds,
            watch_list=watch_list,
            clock=self._clock,
            hooks=self._hooks,
        )
        if self._group is not None:
            self._group.start_soon(self._supervise, informer)
        return informer

    def get(self, resource: Resource, key: ObjectKey) -> Object | None:
        """From the declared informers of that resource. Raises UsageError where none was declared."""
        declared = [informer for informer in self._informers.values() if informer.resource == resource]
        if not declared:
            known = ", ".join(sorted({str(informer.resource) for informer in self._informers.values()})) or "nothing"
            raise UsageError(
                f"{resource} {key} is read from the cache, which holds {known}: declare it with "
                f"Cache.informer({resource.plural}, …), or ask the server with Client.get"
            )
        for informer in declared:
            found = informer.store.get(key)
            if found is not None:
                return found
        return None

    async def run(self) -> None:
        """Run all informers, those declared later too, until cancelled."""
        if self._group is not None:
            raise UsageError("this cache runs already")
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                for informer in self._informers.values():
                    group.start_soon(self._supervise, informer)
                await anyio.sleep_forever()
        finally:
            self._group = None

    async def wait_synced(self, timeout_seconds: float | None = None) -> None:
        """Until all declared informers have synced. Raises NotSyncedError that names the ones which are stuck."""
        deadline = None if timeout_seconds is None else self._clock.monotonic() + timeout_seconds
        for informer in self.informers:
            left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            try:
                await informer.wait_synced(left)
            except NotSyncedError as error:
                stuck = "; ".join(one.state for one in self.informers if not one.has_synced)
                raise NotSyncedError(f"caches are not filled after {timeout_seconds:g} s: {stuck}") from error

    def unready(self) -> Sequence[str]:
        """Why the cache is not to be relied upon, a line each: what has not synced, is stuck, or has died."""
        reasons = [f"{informer}: failed: {error}" for informer, error in self._failed.items()]
        for informer in self._informers.values():
            if informer not in self._failed:
                reasons.extend(informer.problems or ([] if informer.has_synced else [informer.state]))
        return reasons

    def failures(self, informer: Informer) -> Sequence[str]:
        """What that informer died of, while it waits to be started again."""
        return [f"failed: {self._failed[informer]}"] if informer in self._failed else []

    async def _supervise(self, informer: Informer) -> None:
        backoff = Backoff()
        while True:
            try:
                await informer.run()
            except Exception as error:  # noqa: BLE001  whatever it died of, it is started again
                delay_seconds = backoff.delay(self._clock.monotonic(), self._clock.random())
                self._failed[informer] = _text(error)
                self._hooks.emit(ComponentFailed(f"informer {informer.resource}", _text(error), delay_seconds))
                _log.exception("informer %s failed; it starts again in %.1f s", informer, delay_seconds)
                await self._clock.sleep(delay_seconds)
                del self._failed[informer]


def _text(error: BaseException) -> str:
    """The error in a task group's wrapping, on one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
