"""Leader election on a Lease (coordination.k8s.io/v1): who may write, until when. It never waits.

=========  =================================================  =========  ===================================
state      what happens                                       state      next
=========  =================================================  =========  ===================================
following  time to look                                       following  Read
following  seen: there is no Lease                            following  Write one that is nobody's
following  seen: changed since the last look                  following  Wait, its duration starts anew
following  seen: not changed for its duration                 acquiring  Write
following  seen: released by its holder                       acquiring  Write
following  seen: what an unanswered Write of ours wrote       acquiring  Write
acquiring  Write confirmed                                    leading    Wait
acquiring  Write refused                                      following  Read
acquiring  Write unanswered                                   following  Wait, then Read
leading    time to renew                                      leading    Write
leading    Write confirmed                                    leading    Wait; the deadline moves on
leading    Write refused                                      leading    Read
leading    seen: ours                                         leading    Write
leading    seen: another's, nobody's, or gone                 lost       Stop, at once
leading    Write or Read unanswered                           leading    Wait, then Read
leading    the deadline has passed                            lost       Stop
leading    release                                            released   Write (nobody's, marked), Stop
following  release                                            released   Stop
=========  =================================================  =========  ===================================

Why two never lead at once (by their own clocks, of which none is trusted to agree with another):
    * The leader's deadline is counted from when it *sent* its last confirmed Write, so a pause, a slow answer or a lost
      answer shorten it and never lengthen it.
    * The others count the full duration from when they *received* the Lease's latest version, any change of which, even
      of a label, starts the count anew. Nothing that is written in the Lease is compared with a clock.
    * ``renew_deadline_seconds`` ≤ 0.8 × ``lease_seconds`` leaves room for clocks whose rates differ by 10 % each way.
    * Writes carry the resourceVersion that was read, so of several candidates one succeeds.
    * A Lease that was deleted, or whose holder was cleared by hand, may still have a leader that has not noticed. So
      the one made in its place is waited for as long as any; hence the very first leader waits, too. Only the mark
      that a releasing leader sets makes a Lease free at once.
    * The own name in the Lease proves nothing (a restarted or cloned process): only what this machine wrote counts.

Caveat: a write that was sent before the deadline may reach the server after it. Preconditions on what is written, or
the fencing token, catch that; no lease can.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from reconcile.core import lease_record
from reconcile.core.lease_record import LEASE_SECONDS_MAX, RELEASED_ANNOTATION, TRANSITIONS_MAX
from reconcile.errors import LeaseLostError, UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS subdomain and a DNS label (RFC 1123): the API server refuses a Lease of any other name, however often asked."""
CLOCK_MARGIN = 0.8
"""The largest share of the lease that its holder may use: 0.9 / 1.1, for clocks that are 10 % slow and 10 % fast."""
FOLLOW_JITTER = 0.5
"""A candidate looks every ``retry_seconds``, or up to half as long again."""
TAKEOVER_JITTER = 0.25
"""Up to so many ``retry_seconds`` between a lease's end and a candidate's try, lest all try at once."""
RENEW_JITTER = 0.1
"""A leader renews every ``retry_seconds``, or up to so much earlier."""


@attrs.frozen
class LeaderElectionConfig:
    """Which Lease, as whom, and how long.

    Attributes:
        name, namespace: the Lease.
        identity: who holds it; must not be shared by two processes (host name and a random part).
        lease_seconds: others wait that long after the leader's last sign of life.
        renew_deadline_seconds: the leader stops that long after sending its last confirmed sign.
        retry_seconds: between signs of life, and between a candidate's looks.

    Raises:
        UsageError: values with which two could lead at once, or nobody could stay leader.
    """

    name: str
    namespace: str
    identity: str
    lease_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __attrs_post_init__(self) -> None:
        where = f"leader election on lease {self.namespace}/{self.name}"
        if not (self.name and self.namespace and self.identity):
            raise UsageError(f"{where}: name, namespace and identity must not be empty")
        if not (_NAME.fullmatch(self.name) and _NAMESPACE.fullmatch(self.namespace)):
            raise UsageError(
                f"{where}: want the name of a Lease (at most 253 lower-case letters, digits, '-' or '.') and that of a "
                f"namespace (at most 63, without '.')"
            )
        if not 1 <= self.lease_seconds <= LEASE_SECONDS_MAX:
            raise UsageError(f"{where}: lease_seconds is {self.lease_seconds!r}: want 1 … {LEASE_SECONDS_MAX}")
        if not 0 < self.renew_deadline_seconds <= CLOCK_MARGIN * self.lease_seconds:
            raise UsageError(
                f"{where}: renew_deadline_seconds is {self.renew_deadline_seconds!r}: want at most {CLOCK_MARGIN} × "
                f"lease_seconds ({self.lease_seconds!r}), or two could lead at once with clocks of different rates"
            )
        if not 0 < self.retry_seconds <= self.renew_deadline_seconds / 2:
            raise UsageError(
                f"{where}: retry_seconds is {self.retry_seconds!r}: want at most half of renew_deadline_seconds "
                f"({self.renew_deadline_seconds!r}), or one lost answer ends the leadership"
            )

    @property
    def request_seconds_max(self) -> float:
        """How long one request may take: so that a second one fits in before the deadline."""
        return self.renew_deadline_seconds / 2

    @property
    def key(self) -> ObjectKey:
        """The Lease."""
        return ObjectKey(self.namespace, self.name)


class State(StrEnum):
    """Where the table is."""

    FOLLOWING = "following"
    ACQUIRING = "acquiring"
    LEADING = "leading"
    LOST = "lost"
    RELEASED = "released"


@attrs.frozen
class Read:
    """Get the Lease, and report ``seen`` or ``unanswered``."""


@attrs.frozen
class Write:
    """Create the Lease, or update it by its resourceVersion; report ``confirmed``, ``refused`` or ``unanswered``."""

    lease: Object
    create: bool


@attrs.frozen
class Wait:
    """Nothing to do until then (monotonic seconds)."""

    until: float


@attrs.frozen
class Stop:
    """It is over: ``lost`` is the reason, or None after a release."""

    lost: str | None


Effect: TypeAlias = Read | Write | Wait | Stop


class Election:
    """One candidate's view. Ask ``next`` what to do, do it, report what came of it, and ask again."""

    def __init__(self, config: LeaderElectionConfig) -> None:
        self.config = config
        self.state = State.FOLLOWING
        self.holder = ""
        """Who holds the Lease, as last seen."""
        # The Lease as last seen or written (None: absent, or not seen yet), and what its version was.
        self._lease: Object | None = None
        self._version: tuple[str, str] | None = None
        # When the latest version was received: from then its duration counts.
        self._unchanged_since = 0.0
        # When to do the next thing, and whether that begins with a Read.
        self._due = 0.0
        self._must_read = True
        # What this machine wrote and had no answer to, or leads by: transitions and acquireTime.
        self._claim: tuple[int, str] | None = None
        self._transitions = 0
        self._deadline = 0.0
        self._releasing = False
        self._lost = ""

    def __repr__(self) -> str:
        return f"<Election {self.config.key} {self.config.identity} {self.state} holder={self.holder!r}>"

    # -- may I write? -------------------------------------------------------------------------------------------------

    def is_leading(self, now: float) -> bool:
        """Whether this process may write at this moment. Ask before each write: a pause may have outlasted it."""
        return self.state is State.LEADING and not self._releasing and now < self._deadline

    def check(self, now: float) -> None:
        """Raises LeaseLostError unless this process may write at this moment."""
        if not self.is_leading(now):
            raise LeaseLostError(f"lease {self.config.key}: {self.config.identity} does not lead ({self._why(now)})")

    @property
    def deadline(self) -> float | None:
        """When leading ends unless renewed (monotonic); None if this process does not lead."""
        return self._deadline if self.state is State.LEADING else None

    @property
    def fencing_token(self) -> int | None:
        """The Lease's transitions: grows with each leader, as long as nobody deletes the Lease. None: does not lead."""
        return self._transitions if self.state is State.LEADING else None

    def _why(self, now: float) -> str:
        if self.state is State.LEADING:
            return "releasing it" if self._releasing else f"not renewed in time, {now - self._deadline:.3f} s late"
        return self._lost or f"{self.state}, holder {self.holder!r}"

    # -- what to do ---------------------------------------------------------------------------------------------------

    def next(self, now: float, wall: datetime) -> Effect:
        """The next thing to do. ``wall`` is only written into the Lease, for people to read."""
        if self.state is State.LEADING and now >= self._deadline:
            self._end(f"not renewed in {self.config.renew_deadline_seconds:g} s")
        if self.state is State.LOST:
            return Stop(self._lost)
        if self._releasing:
            return self._next_release(now, wall)
        if now < self._due:
            return Wait(min(self._due, self._deadline) if self.state is State.LEADING else self._due)
        if self._must_read:
            return Read()
        if self._lease is None:
            return Write(lease_record.unheld(self.config.key), create=True)
        if self.state is State.FOLLOWING:
            self.state = State.ACQUIRING
        return Write(self._claim_it(self._lease, wall), create=False)

    def _next_release(self, now: float, wall: datetime) -> Effect:
        if self.state is not State.LEADING:
            self.state = State.RELEASED
            return Stop(None)
        if now < self._due:
            return Wait(min(self._due, self._deadline))
        if self._lease is None or self._must_read:
            return Read()
        annotations = {**self._lease.annotations, RELEASED_ANNOTATION: str(self._transitions)}
        return Write(
            lease_record.changed(
                self._lease, {"holderIdentity": "", "renewTime": lease_record.time(wall)}, annotations
            ),
            create=False,
        )

    def _claim_it(self, lease: Object, wall: datetime) -> Object:
        """The Lease as this process holds it: acquired, or renewed."""
        text = lease_record.time(wall)
        if self._claim is None or (self.state is State.ACQUIRING and not self._is_claimed()):
            self._transitions = min(TRANSITIONS_MAX, max(self._transitions, lease_record.transitions(lease)) + 1)
            self._claim = (self._transitions, text)
        spec = {
            "holderIdentity": self.config.identity,
            "leaseDurationSeconds": max(1, round(self.config.lease_seconds)),
            "acquireTime": self._claim[1],
            "renewTime": text,
            "leaseTransitions": self._transitions,
        }
        annotations = dict(lease.annotations)
        annotations.pop(RELEASED_ANNOTATION, None)
        return lease_record.changed(lease, spec, annotations)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def seen(self, lease: Object | None, now: float, random: float) -> None:
        """A Read was answered just now; None: there is no such Lease."""
        self._must_read = False
        version = None if lease is None else (lease.uid, lease.resource_version)
        if version != self._version:
            self._unchanged_since = now
        self._lease, self._version = lease, version
        self.holder = lease_record.holder(lease)
        if self.state is State.LEADING:
            if self._is_claimed():
                self._due = now
            else:
                self._end("the lease is gone" if lease is None else f"the lease is held by {self.holder!r}")
            return
        if lease is None:
            self._due = now
            return
        self._transitions = max(self._transitions, lease_record.transitions(lease))
        if self._is_claimed() or lease_record.is_released(lease):
            self._due = now
            return
        ends = self._unchanged_since + self._duration()
        if now >= ends:
            self._due = now
            return
        look = now + self.config.retry_seconds * (1 + FOLLOW_JITTER * random)
        if ends <= look:  # the version that was seen is enough to try with: a change meanwhile makes it a conflict
            self._due = ends + TAKEOVER_JITTER * self.config.retry_seconds * random
        else:
            self._due = look
            self._must_read = True

    def confirmed(self, lease: Object | None, sent: float, now: float, random: float) -> None:
        """A Write was executed. ``sent``: when it was sent; ``lease``: what the server answered."""
        if self.state is State.FOLLOWING:  # it made one that is nobody's
            if lease is not None:
                self.seen(lease, now, random)
            else:
                self._must_read = True
            return
        if self._releasing and lease is not None and lease_record.holder(lease) == "":
            self.state = State.RELEASED
            return
        if self.state is State.ACQUIRING and now >= sent + self.config.renew_deadline_seconds:
            self.unanswered(now, random)  # too late to be of use; it never led
            return
        self.state = State.LEADING
        self._lease, self._must_read = lease, lease is None
        self._version = None if lease is None else (lease.uid, lease.resource_version)
        self.holder = self.config.identity
        self._deadline = sent + self.config.renew_deadline_seconds
        self._due = sent + self.config.retry_seconds * (1 - RENEW_JITTER * random)

    def refused(self, now: float, random: float) -> None:
        """The server did not execute a Write: the Lease is not as it was when it was read (conflict, gone, exists)."""
        self._must_read = True
        if self.state is State.ACQUIRING:
            self.state = State.FOLLOWING
        self._due = now + RENEW_JITTER * self.config.retry_seconds * random

    def unanswered(self, now: float, random: float) -> None:
        """A Read or a Write had no (useful) answer. A Write may have been executed, or may be yet."""
        self._must_read = True
        if self.state is State.LEADING:
            self._due = now + self.config.retry_seconds * (1 - RENEW_JITTER * random) / 2
        else:
            self._follow(now, random)

    def release(self) -> None:
        """Stop leading, now; ``next`` tells what is left to write. Call it once no other write is in flight."""
        if not self._releasing:
            self._releasing = True
            self._due = 0.0

    def _follow(self, now: float, random: float) -> None:
        self.state = State.FOLLOWING
        self._due = now + self.config.retry_seconds * (1 + FOLLOW_JITTER * random)

    def _end(self, reason: str) -> None:
        """Leading is over. While releasing that is as good as released."""
        self.state = State.RELEASED if self._releasing else State.LOST
        self._lost = reason

    # -- what a Lease says --------------------------------------------------------------------------------------------

    def _is_claimed(self) -> bool:
        """Whether the Lease is as this machine wrote it: its name, its transitions and its time of acquisition."""
        if self._claim is None or self._lease is None or self.holder != self.config.identity:
            return False
        transitions, acquired = self._claim
        return lease_record.transitions(self._lease) == transitions and lease_record.was_acquired_at(
            self._lease, acquired
        )

    def _duration(self) -> float:
        """How long the Lease must be unchanged. Its own figure may lengthen that, up to a bound, never shorten it."""
        return max(self.config.lease_seconds, lease_record.duration_seconds(self._lease))
