"""Drives the list-watch machine of one partition: asks for pages, reads streams, waits, and feeds the store.

The rules are in ``reconcile.core.reflector``. Here is what costs time:
    * The next page is asked for while this one is decoded.
    * A chunk of watch events is one plain call into the store and one to the listener; no buffer, no task between.
    * A whole new list is told in portions, with a checkpoint between, so that leases and probes do not wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, assert_never

import anyio
import anyio.lowlevel
import attrs

from reconcile.client.api import Client
from reconcile.client.codec import ListPage
from reconcile.core import reflector as machine
from reconcile.core.store import Replacement, Store
from reconcile.errors import ApiError, DecodeError, ReconcileError, TransportError
from reconcile.instrumentation.hooks import Hooks, Relisted, WatchEnded
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.resource import Resource
from reconcile.model.version import version_number
from reconcile.model.watch_event import Bookmark, Deleted, ServerError, Undecodable, Upserted, WatchEvent
from reconcile.runtime.clock import Clock

_log = logging.getLogger("reconcile.reflector")

PORTION = 500
"""Deltas told in one go: about 2 ms through an enqueue into the queue."""

REQUEST_CHECKPOINTS = 3
"""Turns of the loop that a request on a pooled connection needs until it is on the wire (measured)."""

IDLE_TOLERANCE_SECONDS = 1.0
"""A stream that broke at most so long before its idle deadline counts as one that was given up for its silence."""


class Listener(Protocol):
    """What a reflector tells."""

    def deltas_arrived(self, deltas: Sequence[Delta], *, initial: bool) -> None:
        """What changed. ``initial``: part of the first full state."""
        ...

    def version_advanced(self) -> None:
        """The version advanced."""
        ...

    def first_state_told(self) -> None:
        """The first full state has been told."""
        ...


@attrs.frozen
class View:
    """What is asked for: one resource, one namespace (``""``: all), selectors."""

    resource: Resource
    namespace: str
    label_selector: str
    field_selector: str
    metadata_only: bool

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of both ``Client.list_page`` and ``Client.watch``."""
        return {
            "namespace": self.namespace,
            "label_selector": self.label_selector,
            "field_selector": self.field_selector,
            "metadata_only": self.metadata_only,
        }

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        selectors = "".join(f" [{text}]" for text in (self.label_selector, self.field_selector) if text)
        return f"{self.resource}{where}{selectors}"


class Stream(Protocol):
    """What the reflector needs of ``reconcile.client.api.WatchStream``."""

    def set_idle_deadline(self, seconds: float, /) -> None: ...


class Reflector:
    """List-watch of one partition into a store."""

    def __init__(
        self,
        client: Client,
        view: View,
        store: Store,
        listener: Listener,
        *,
        mode: machine.SyncMode,
        clock: Clock,
        hooks: Hooks,
    ) -> None:
        self.view = view
        self.has_synced = False
        self.relists = 0
        self.last_event_at: float | None = None
        """When the server was last heard of (monotonic seconds)."""
        self._client = client
        self._store = store
        self._listener = listener
        self._clock = clock
        self._hooks = hooks
        self._mode = mode
        self._machine = machine.Reflector(mode, clock.random)
        self._replacement = Replacement(store, view.namespace)
        self._untaken: ListPage | None = None
        self._began_at = 0.0
        self._idle_seconds = 0.0
        self._waiting_until: float | None = None

    @property
    def version(self) -> int | None:
        """The version up to which the partition has been seen: 0 before the first list, None where it is opaque."""
        text = self._store.table(self.view.namespace).resource_version
        return version_number(text) if text or self.has_synced else 0

    @property
    def problem(self) -> str:
        """Why there is no progress; empty while there is."""
        return self._machine.problem

    @property
    def state(self) -> str:
        """One line for people."""
        core = self._machine
        if not core.problem:
            return f"{self.view}: {core.phase}"
        left = max(0.0, (self._waiting_until or 0.0) - self._clock.monotonic())
        what = "not allowed, asks" if core.refused else "asks"
        return f"{self.view}: {core.problem} ({what} again in {left:.0f} s)"

    async def run(self) -> None:
        """For ever. Raises only what is a fault of this program or of user code."""
        self._machine = machine.Reflector(self._mode, self._clock.random)
        effects = self._tell(machine.Started())
        while True:
            effects = await self._carry_out(effects)

    def _tell(self, event: machine.Event) -> list[machine.Effect]:
        return self._machine.receive(event, self._clock.monotonic())

    async def _carry_out(self, effects: Sequence[machine.Effect]) -> list[machine.Effect]:
        for effect in effects:
            match effect:
                case machine.Begin():
                    self._replacement = self._store.replace(self.view.namespace)
                    self._untaken = None
                    self._began_at = self._clock.monotonic()
                case machine.Promote():
                    await self._promote(effect)
                case machine.SetIdle():
                    pass  # concerns an open stream; see _control
                case machine.List(token):
                    return await self._list(token)
                case machine.Watch():
                    return await self._watch(effect)
                case machine.Wait(until):
                    return await self._wait(until)
                case _:
                    assert_never(effect)
        raise AssertionError(f"{self.view}: no effect to wait for in {effects!r}")

    async def _wait(self, until: float) -> list[machine.Effect]:
        self._waiting_until = until
        await self._clock.sleep(until - self._clock.monotonic())
        self._waiting_until = None
        return self._tell(machine.Elapsed())

    # -- paged lists -------------------------------------------------------------------------------------------

    async def _list(self, token: str) -> list[machine.Effect]:
        try:
            page = await self._page(token)
            self.last_event_at = self._clock.monotonic()
            if page.continue_token:
                self._untaken = page  # decoded while the next is on its way
            else:
                self._take(page)  # before the machine hears of it: it may turn out to be cut
        except (ApiError, TransportError, DecodeError) as error:
            return self._failed(error)
        return self._tell(machine.Listed(page.continue_token, page.resource_version))

    async def _page(self, token: str) -> ListPage:
        previous, self._untaken = self._untaken, None
        if previous is None:
            return await self._request(token)
        answers: list[ListPage] = []
        failures: list[ReconcileError] = []

        async def request() -> None:
            try:
                answers.append(await self._request(token))
            except ReconcileError as error:  # handed over as it is: a task group would wrap it
                failures.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(request)
            for _ in range(REQUEST_CHECKPOINTS):
                await anyio.lowlevel.checkpoint()
            try:
                self._take(previous)
            except DecodeError as error:
                failures.append(error)
                group.cancel_scope.cancel()
        if failures:
            raise failures[0]
        return answers[0]

    async def _request(self, token: str) -> ListPage:
        return await self._client.list_page(
            self.view.resource, limit=machine.PAGE_SIZE, continue_token=token, **self.view.arguments()
        )

    def _take(self, page: ListPage) -> None:
        objects, bad = page.decode()
        self._replacement.add(objects)
        for item in bad:
            self._replacement.quarantine(item)

    async def _promote(self, effect: machine.Promote) -> None:
        """Make the new list the cache, and tell what is different."""
        if effect.went_back:
            _log.warning(
                "%s: the server's state went back from version %s to %s, as after a restore of etcd; it is believed",
                self.view,
                self._seen,
                effect.resource_version,
            )
        initial = not self.has_synced
        changes: Iterator[Delta] = self._replacement.promote(effect.resource_version)
        while portion := list(islice(changes, PORTION)):
            self._listener.deltas_arrived(portion, initial=initial)
            await anyio.lowlevel.checkpoint()
        self.relists += 1
        self._hooks.emit(
            Relisted(
                str(self.view.resource),
                len(self._store.table(self.view.namespace).objects),
                self._clock.monotonic() - self._began_at,
                "watchlist" if self._mode.watch_list else "list",
            )
        )
        if initial:
            self.has_synced = True
            self._listener.first_state_told()
        self._listener.version_advanced()

    # -- streams -----------------------------------------------------------------------------------------------

    async def _watch(self, effect: machine.Watch) -> list[machine.Effect]:
        self._idle_seconds = effect.idle_seconds
        self.last_event_at = self._clock.monotonic()
        try:
            async with self._client.watch(
                self.view.resource,
                resource_version=effect.resource_version,
                send_initial_events=effect.initial,
                resource_version_match="NotOlderThan" if effect.initial else "",
                timeout_seconds=effect.timeout_seconds,
                **self.view.arguments(),
            ) as stream:
                stream.set_idle_deadline(effect.idle_seconds)
                self._tell(machine.Opened())
                async for events in stream:
                    self.last_event_at = self._clock.monotonic()
                    effects = await self._chunk(events, stream)
                    if effects:
                        return effects
        except (ApiError, TransportError, DecodeError) as error:
            return self._failed(error)
        self._hooks.emit(WatchEnded(str(self.view.resource), "closed"))
        return self._tell(machine.Ended(self._seen))

    @property
    def _seen(self) -> str:
        return self._store.table(self.view.namespace).resource_version

    async def _chunk(self, events: Sequence[WatchEvent], stream: Stream) -> list[machine.Effect]:
        """One chunk. Returns effects where the stream is to be left."""
        if self._machine.phase is machine.Phase.INITIAL:
            return await self._initial_chunk(events, stream)
        deltas = self._store.apply(events, self.view.namespace)
        if deltas:
            self._listener.deltas_arrived(deltas, initial=False)
        self._listener.version_advanced()
        for event in events:
            kind = type(event)
            if kind is not Upserted and kind is not Deleted:
                effects = await self._control(event, stream)
                if effects:
                    return effects
        return []

    async def _initial_chunk(self, events: Sequence[WatchEvent], stream: Stream) -> list[machine.Effect]:
        """Initial events go into the list that was begun; what follows their end goes into the store."""
        taken = 0
        for position, event in enumerate(events, 1):
            if type(event) is Upserted or type(event) is Deleted:
                continue
            self._replacement.apply(events[taken:position])
            taken = position
            effects = await self._control(event, stream)
            if effects:
                return effects
            if type(event) is Bookmark and event.initial_events_end:
                return await self._chunk(events[taken:], stream)
        self._replacement.apply(events[taken:])
        if self._machine.initial_overdue(self._clock.monotonic()):
            message = f"no end of the initial events after {machine.INITIAL_SECONDS_MAX:g} s"
            return self._end(machine.Failed(0, "", message, idle=True), "idle")
        return []

    async def _control(self, event: WatchEvent, stream: Stream) -> list[machine.Effect]:
        match event:
            case Bookmark(version, end):
                for effect in self._tell(machine.Bookmarked(version, end)):
                    match effect:
                        case machine.SetIdle(seconds):
                            self._idle_seconds = seconds
                            stream.set_idle_deadline(seconds)
                        case machine.Promote():
                            await self._promote(effect)
                        case _:
                            return [effect]
                return []
            case ServerError(status):
                reason = "expired" if status.code == 410 else "error"
                failed = machine.Failed(
                    status.code or 500,
                    status.reason,
                    f"watch {self.view}: {status.message}",
                    self._seen,
                    status.details.retry_after_seconds if status.details is not None else None,
                )
                return self._end(failed, reason)
            case Undecodable(namespace=namespace, name=name, deleted=True) if name:
                await self._confirm_gone(ObjectKey(namespace, name))
                return []
            case Upserted() | Deleted() | Undecodable():
                return []
            case _:
                assert_never(event)

    async def _confirm_gone(self, key: ObjectKey) -> None:
        """Ask whether an object is gone whose deletion could not be read: nobody else would ever tell.

        By a list of one, since who may list and watch may not always get. Without an answer it stays quarantined, until
        the next full state.
        """
        arguments = self.view.arguments()
        name = f"metadata.name={key.name}"
        arguments["field_selector"] = f"{self.view.field_selector},{name}" if self.view.field_selector else name
        arguments["namespace"] = key.namespace
        try:
            page = await self._client.list_page(self.view.resource, limit=1, **arguments)
            objects, bad = page.decode()
        except (ApiError, TransportError, DecodeError) as error:
            _log.warning("%s: cannot tell whether %s is gone: %s", self.view, key, error)
            return
        if objects or bad:
            return
        if self._machine.phase is machine.Phase.INITIAL:
            self._replacement.forget(key)
        deltas = self._store.forget(key, self.view.namespace)
        if deltas:
            self._listener.deltas_arrived(deltas, initial=False)

    # -- trouble -----------------------------------------------------------------------------------------------

    def _failed(self, error: ApiError | TransportError | DecodeError) -> list[machine.Effect]:
        streaming = self._machine.phase is not machine.Phase.LISTING
        seen = self._seen if self._machine.phase is machine.Phase.WATCHING else ""
        if isinstance(error, ApiError):
            failed = machine.Failed(
                error.code, error.status.reason, str(error), seen, retry_after_seconds=error.retry_after_seconds
            )
            return self._end(failed, "expired" if error.code == 410 else "refused")
        silent_for = self._clock.monotonic() - (self.last_event_at or 0.0)
        cut = isinstance(error, TransportError) and error.may_have_arrived
        idle = streaming and cut and silent_for >= self._idle_seconds - IDLE_TOLERANCE_SECONDS
        unreached = isinstance(error, TransportError) and not cut
        failed = machine.Failed(0, "", str(error), seen, idle=idle, unreached=unreached)
        return self._end(failed, "idle" if idle else "error")

    def _end(self, failed: machine.Failed, reason: Any) -> list[machine.Effect]:
        self._hooks.emit(WatchEnded(str(self.view.resource), reason, failed.message))
        return self._tell(failed)
