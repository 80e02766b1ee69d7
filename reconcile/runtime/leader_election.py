"""The leader elector: asks ``reconcile.core.leader_election`` what to do, and does it on the API server.

Guarantees:
    * ``is_leading`` and ``check`` look at the monotonic clock each time: after a pause of the process (SIGSTOP, a
      blocked loop) the first look says no.
    * One task sends all of the elector's requests, one after the other, so a renewal never races a release.
    * ``run`` ends with LeaseLostError as soon as leading is over: at the deadline, or earlier on seeing another holder.

Caveats: what this process sent while it led may arrive later. A clock that stands still while the machine sleeps
(a paused virtual machine) cannot tell that it slept.
"""

from __future__ import annotations

import logging
from typing import assert_never

import anyio

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.core.leader_election import (
    Effect,
    Election,
    LeaderElectionConfig,
    Read,
    State,
    Stop,
    Wait,
    Write,
)
from reconcile.core.lease_record import LEASES
from reconcile.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    LeaseLostError,
    NotFoundError,
    ReconcileError,
)
from reconcile.instrumentation.hooks import Hooks, LeaderChanged
from reconcile.model.object import Object
from reconcile.model.write import Applied, Refused, Unknown
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock

__all__ = ["LeaderElectionConfig", "LeaderElector"]

_log = logging.getLogger("reconcile.leader_election")


class LeaderElector:
    """One process's candidature for one Lease. For one use: after a loss, start anew.

    Needs get, create and update on ``leases.coordination.k8s.io`` in the Lease's namespace.
    """

    def __init__(
        self,
        client: Client,
        config: LeaderElectionConfig,
        *,
        clock: Clock = SYSTEM_CLOCK,
        hooks: Hooks | None = None,
    ) -> None:
        self.config = config
        self._client = client
        self._clock = clock
        self._hooks = hooks or Hooks()
        self._election = Election(config)
        self._told_leading = False
        self._told_problem = ""
        self._led = anyio.Event()
        self._ended = anyio.Event()
        self._is_running = False
        self._poke = anyio.Event()

    def __repr__(self) -> str:
        return f"<LeaderElector {self._election!r}>"

    # -- may I write? -------------------------------------------------------------------------------------------------

    @property
    def is_leading(self) -> bool:
        """Whether this process may write at this moment."""
        return self._election.is_leading(self._clock.monotonic())

    def check(self) -> None:
        """The gate before each write. Raises LeaseLostError unless this process may write at this moment."""
        self._election.check(self._clock.monotonic())

    @property
    def fencing_token(self) -> int | None:
        """The Lease's transitions while this process leads: grows with each leader."""
        return self._election.fencing_token

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen."""
        return self._election.holder

    async def wait_leading(self) -> None:
        """Wait until this process leads. Raises LeaseLostError where it ended without."""
        await self._led.wait()
        self.check()

    # -- running ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow, acquire and renew until released (returns) or lost.

        Raises:
            LeaseLostError: this process led, and does not any more.
        """
        self._is_running = True
        try:
            while True:
                effect = self._election.next(self._clock.monotonic(), self._clock.wall())
                self._tell()
                if isinstance(effect, Stop):
                    if effect.lost is not None:
                        raise LeaseLostError(f"lease {self.config.key} lost: {effect.lost}")
                    return
                await self._perform(effect)
                self._tell()
        finally:
            self._is_running = False
            self._led.set()
            self._ended.set()

    async def release(self) -> None:
        """Stop leading at once, and let the next leader begin at once. Returns when that is written.

        Call it when nothing that was written under the lease is in flight any more. It takes no longer than the rest of
        the renew deadline; where the server does not answer, the lease runs out by itself.
        """
        self._election.release()
        self._tell()
        self._poke.set()
        if self._is_running:
            await self._ended.wait()

    async def _perform(self, effect: Effect) -> None:
        """Do it, and report to the machine what came of it."""
        match effect:
            case Wait(until):
                await self._wait(until)
            case Read():
                await self._request(None)
            case Write():
                await self._request(effect)
            case Stop():
                raise AssertionError("handled by run")
            case _:
                assert_never(effect)

    async def _wait(self, until: float) -> None:
        """Sleep until then, or until poked."""
        self._poke = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def sleep() -> None:
                await self._clock.sleep(until - self._clock.monotonic())
                tasks.cancel_scope.cancel()

            tasks.start_soon(sleep)
            await self._poke.wait()
            tasks.cancel_scope.cancel()

    async def _request(self, write: Write | None) -> None:
        """Send one request, for no longer than leaves time for another, nor past the deadline."""
        election, sent = self._election, self._clock.monotonic()
        seconds = self.config.request_seconds_max
        if election.deadline is not None:
            seconds = min(seconds, max(0.0, election.deadline - sent))
        problem = f"no answer within {seconds:.1f} s"
        with anyio.move_on_after(seconds):
            problem = await self._exchange(write, sent)
        if problem:
            election.unanswered(self._clock.monotonic(), self._clock.random())
        if problem and problem != self._told_problem:
            _log.warning("lease %s (%s): %s", self.config.key, election.state, problem)
        self._told_problem = problem

    async def _exchange(self, write: Write | None, sent: float) -> str:
        """Send, and report an answer that counts. Returns what went wrong where there is none."""
        election = self._election
        try:
            if write is None:
                lease = await self._read()
                election.seen(lease, self._clock.monotonic(), self._clock.random())
                return ""
            make = writes.create if write.create else writes.update
            outcome = await self._client.send(make(LEASES, write.lease))
        except ApiError as error:
            return self._explain(error)
        except ReconcileError as error:
            return str(error)
        now, chance = self._clock.monotonic(), self._clock.random()
        match outcome:
            case Applied(_, lease):
                election.confirmed(lease, sent, now, chance)
                return ""
            case Refused(_, NotFoundError() as refusal) if write.create:
                return f"{refusal}; a Lease needs a namespace that exists"
            case Refused(_, ConflictError() | AlreadyExistsError() | NotFoundError()):
                election.refused(now, chance)
                return ""
            case Refused(_, refusal):
                return self._explain(refusal)
            case Unknown(_, reason):
                return reason
            case _:
                assert_never(outcome)

    async def _read(self) -> Object | None:
        try:
            return await self._client.get(LEASES, self.config.key)
        except NotFoundError:
            return None

    def _explain(self, error: ApiError) -> str:
        if isinstance(error, ForbiddenError):
            return f"{error}; the election needs get, create and update on leases in namespace {self.config.namespace}"
        return str(error)

    def _tell(self) -> None:
        """Report a change of leadership, once."""
        leading = self._election.state is State.LEADING and self.is_leading
        if leading == self._told_leading:
            return
        self._told_leading = leading
        if leading:
            self._led.set()
        detail = f"term {self._election.fencing_token}" if leading else f"holder {self.holder!r}"
        _log.info(
            "lease %s: %s %s (%s)", self.config.key, self.config.identity, "leads" if leading else "ceases", detail
        )
        self._hooks.emit(LeaderChanged(str(self.config.key), leading, detail))
