"""Reflector: the list-watch protocol of one partition of a resource, as a machine. It decides, its driver does the IO.

The driver calls ``receive(event, now)`` and carries out the effects in their order. At most one of them is IO
(``List``, ``Watch`` or ``Wait``); what comes of it is the next event. Watch events themselves go straight into the
store; the machine hears only what changes the stream's life.

===========  =================================  ===========  ===========================================================
phase        event                              next         effects
===========  =================================  ===========  ===========================================================
NEW          Started                            sync         Begin, then List (first page) or Watch (initial events)
LISTING      Listed, more pages                 LISTING      List (next page); the driver takes this page meanwhile
LISTING      Listed, last page                  WATCHING     Promote, Watch
LISTING      Failed: 410 (token expired)        LISTING      Begin, List; from the second time on after a wait
INITIAL      Bookmarked: end of initial events  WATCHING     Promote, SetIdle; the same stream goes on
INITIAL      refused (400, 422), silent, too    LISTING      Begin, List; WatchList is not tried on this resource again
             long, or cut twice before its end
LISTING or   the result is older than what was  WAITING      Begin later again; believed from the third time on, as
INITIAL      seen before                                     after a restore of etcd
any          Opened                             same         none; the problem, if there was one, is over
WATCHING     Bookmarked, the first              WATCHING     SetIdle: bookmarks are heartbeats from now on
WATCHING     Ended after a fair while           WATCHING     Watch from the last version
WATCHING     Ended at once                      WAITING      Watch later
WATCHING     Failed: 410, ERROR 410             sync         Begin and a new list at once; after a wait if that recurs
WATCHING     Failed: version too large (504)    WAITING      Watch later; from the third time on a new list later
LISTING,     Failed: 401, 403, 404              WAITING      parked: the same again later; a 404 asks for a new list
INITIAL,     Failed: 400 and other refusals     WAITING      a new list later
WATCHING     Failed: 429, 5xx, no answer, cut   WAITING      the same again later, not before Retry-After
WAITING      Elapsed                            sync/watch   as decided before the wait
===========  =================================  ===========  ===========================================================

Guarantees:
    * Every list is asked for consistently (no resourceVersion), so that a lagging server cannot take the cache back
      (kubernetes/kubernetes#59848).
    * Nothing is retried without a growing, jittered wait, except the first retry after a stream that had worked.
    * No silence lasts for ever: every ``Watch`` carries an idle deadline.

Sources: API concepts ("Efficient detection of changes"), KEP-3157 (WatchList), kubernetes/kubernetes#35068 (410 in
both forms), #91073, #107133 (too large resource version), #129408, #135895 (no end bookmark).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias, assert_never

import attrs

from reconcile.core.backoff import Backoff
from reconcile.model.version import is_older

PAGE_SIZE = 500
"""Objects a page: the field's usual number. 500 Pods are decoded in about 5 ms and weigh 2 MB."""

IDLE_SECONDS = 230.0
"""Silence allowed before a resource has shown a bookmark: load balancers cut at 240 s and more."""

BOOKMARK_IDLE_SECONDS = 70.0
"""Silence allowed afterwards: the API server sends a bookmark about every 60 s."""

INITIAL_IDLE_SECONDS = 10.0
"""Silence allowed between initial events: a server that says nothing for so long will not send the end bookmark."""

INITIAL_SECONDS_MAX = 120.0
"""How long initial events may take in all. More than that is paged, where progress is visible."""

WATCH_SECONDS_MIN = 300.0
"""Server-side life of a watch: between this and twice this, so that many watches do not end together."""

SHORT_WATCH_SECONDS = 5.0
"""A watch that the server ends sooner counts as a failure, or the two would spin."""

TOLERATED = 2
"""How often a bad thing that may pass (a version too large, a list from the past, a cut initial stream) is retried as
it is, before the machine draws its conclusion."""


# -- events: what the driver tells -----------------------------------------------------------------------------


@attrs.frozen
class Started:
    """Begin."""


@attrs.frozen
class Listed:
    """A page came. ``continue_token`` is empty on the last."""

    continue_token: str
    resource_version: str


@attrs.frozen
class Opened:
    """The server accepted the watch."""


@attrs.frozen
class Bookmarked:
    """A bookmark came on the stream."""

    resource_version: str
    initial_events_end: bool = False


@attrs.frozen
class Ended:
    """The server closed the stream in good order. ``resource_version``: what had been seen."""

    resource_version: str


@attrs.frozen
class Failed:
    """A list or a watch failed, before its answer or in the middle of it.

    Attributes:
        code: HTTP status or the code of an ERROR event; 0 where there was no answer or the stream was cut.
        reason: the Status's reason.
        resource_version: what had been seen.
        idle: the driver gave up because of silence.
        unreached: no connection came about, so nothing was learned of what the server can do.
    """

    code: int
    reason: str
    message: str
    resource_version: str = ""
    retry_after_seconds: float | None = None
    idle: bool = False
    unreached: bool = False


@attrs.frozen
class Elapsed:
    """The wait is over."""


Event: TypeAlias = Started | Listed | Opened | Bookmarked | Ended | Failed | Elapsed


# -- effects: what the driver is to do ---------------------------------------------------------------------------


@attrs.frozen
class Begin:
    """Start a new, empty list; drop an unfinished one."""


@attrs.frozen
class List:
    """Ask for a page."""

    continue_token: str = ""


@attrs.frozen
class Promote:
    """Make the finished list the cache."""

    resource_version: str
    went_back: bool = False


@attrs.frozen
class Watch:
    """Open a stream. ``initial``: with the initial events first, into the list that was begun."""

    resource_version: str
    initial: bool
    timeout_seconds: int
    idle_seconds: float


@attrs.frozen
class SetIdle:
    """From now on allow so much silence on the stream."""

    seconds: float


@attrs.frozen
class Wait:
    """Wait until then, then report ``Elapsed``."""

    until: float


Effect: TypeAlias = Begin | List | Promote | Watch | SetIdle | Wait


class Phase(StrEnum):
    """What the machine is waiting for."""

    NEW = "new"
    LISTING = "listing"
    INITIAL = "receiving the initial state"
    WATCHING = "watching"
    WAITING = "waiting"


@attrs.define
class SyncMode:
    """How the initial state is asked for; shared by the partitions of a resource, so that one refusal teaches all."""

    watch_list: bool


@attrs.define
class Reflector:
    """The machine. ``random`` is drawn from [0, 1) for jitter."""

    mode: SyncMode
    random: Callable[[], float] = attrs.field(repr=False)
    backoff: Backoff = attrs.field(factory=Backoff)
    phase: Phase = attrs.field(default=Phase.NEW, init=False)
    problem: str = attrs.field(default="", init=False)
    """Why there is no progress; empty while there is."""
    refused: bool = attrs.field(default=False, init=False)
    """Whether the server does not let us (401, 403, 404): somebody has to do something about it."""

    _resume_with_list: bool = attrs.field(default=True, init=False)
    _version: str = attrs.field(default="", init=False)
    _since: float = attrs.field(default=0.0, init=False)
    _bookmarks: bool = attrs.field(default=False, init=False)
    _relisted_at: float | None = attrs.field(default=None, init=False)
    _too_large: int = attrs.field(default=0, init=False)
    _from_the_past: int = attrs.field(default=0, init=False)
    _cut_initials: int = attrs.field(default=0, init=False)
    _expired_tokens: int = attrs.field(default=0, init=False)

    def receive(self, event: Event, now: float) -> list[Effect]:
        """What to do after ``event`` at ``now`` (monotonic seconds)."""
        match event:
            case Started():
                return self._sync(now)
            case Listed():
                return self._listed(event, now)
            case Opened():
                self._answered()
                return []
            case Bookmarked():
                return self._bookmarked(event, now)
            case Ended():
                return self._ended(event, now)
            case Failed():
                return self._failed(event, now)
            case Elapsed():
                return self._sync(now) if self._resume_with_list else self._watch(now)
            case _:
                assert_never(event)

    def initial_overdue(self, now: float) -> bool:
        """Whether the initial events have taken too long; the driver then reports a ``Failed`` with ``idle``."""
        return self.phase is Phase.INITIAL and now - self._since > INITIAL_SECONDS_MAX

    # -- beginning ---------------------------------------------------------------------------------------------

    def _sync(self, now: float) -> list[Effect]:
        self._since = now
        if self.mode.watch_list:
            self.phase = Phase.INITIAL
            return [
                Begin(),
                Watch("", initial=True, timeout_seconds=self._timeout(), idle_seconds=INITIAL_IDLE_SECONDS),
            ]
        self.phase = Phase.LISTING
        return [Begin(), List()]

    def _watch(self, now: float) -> list[Effect]:
        self.phase = Phase.WATCHING
        self._since = now
        return [Watch(self._version, initial=False, timeout_seconds=self._timeout(), idle_seconds=self._idle_seconds())]

    def _timeout(self) -> int:
        return int(WATCH_SECONDS_MIN * (1 + self.random()))

    def _idle_seconds(self) -> float:
        return BOOKMARK_IDLE_SECONDS if self._bookmarks else IDLE_SECONDS

    # -- progress ----------------------------------------------------------------------------------------------

    def _listed(self, event: Listed, now: float) -> list[Effect]:
        self._answered()
        if event.continue_token:
            return [List(event.continue_token)]
        self._expired_tokens = 0
        if is_older(event.resource_version, self._version) and self._from_the_past < TOLERATED:
            return self._refuse_past(event.resource_version, now)
        return [self._promote(event.resource_version, now), *self._watch(now)]

    def _bookmarked(self, event: Bookmarked, now: float) -> list[Effect]:
        if self.phase is Phase.INITIAL:
            if not event.initial_events_end:
                return []
            if is_older(event.resource_version, self._version) and self._from_the_past < TOLERATED:
                return self._refuse_past(event.resource_version, now)
            self._bookmarks = True
            self.phase = Phase.WATCHING
            return [self._promote(event.resource_version, now), SetIdle(self._idle_seconds())]
        self._healthy()
        if self._bookmarks:
            return []
        self._bookmarks = True
        return [SetIdle(self._idle_seconds())]

    def _refuse_past(self, version: str, now: float) -> list[Effect]:
        self._from_the_past += 1
        message = f"the server's state at version {version} is older than {self._version}, which was seen before"
        return self._wait(message, now, relist=True)

    def _promote(self, version: str, now: float) -> Promote:
        went_back = is_older(version, self._version)
        self._from_the_past = 0
        self._cut_initials = 0
        self._version = version
        self._relisted_at = now
        self._healthy()
        return Promote(version, went_back)

    def _answered(self) -> None:
        """The server lets us, as far as can be seen."""
        self.problem = ""
        self.refused = False

    def _healthy(self) -> None:
        """It does what it should."""
        self._answered()
        self._too_large = 0

    # -- trouble -----------------------------------------------------------------------------------------------

    def _ended(self, event: Ended, now: float) -> list[Effect]:
        if self.phase is Phase.INITIAL:
            return self._initial_cut("the server closed the stream before the end of the initial events", now)
        self._version = event.resource_version or self._version
        if now - self._since < SHORT_WATCH_SECONDS:
            return self._wait("the server closes watches as soon as they are opened", now, relist=False)
        self._healthy()
        return self._watch(now)

    def _failed(self, event: Failed, now: float) -> list[Effect]:
        if self.phase is Phase.WATCHING:
            return self._watch_failed(event, now)
        if event.code == 410:
            return self._list_expired(event, now)
        if self.phase is Phase.INITIAL:
            if event.code in (400, 422) or event.idle:
                return self._fall_back(now)
            if not event.code and not event.unreached:
                return self._initial_cut(event.message, now)
        return self._wait_for(event, now, relist=True)

    def _watch_failed(self, event: Failed, now: float) -> list[Effect]:
        lasted = now - self._since
        if event.resource_version:
            self._version = event.resource_version
        if event.code == 410 or event.reason in ("Expired", "Gone"):
            recurs = self._relisted_at is not None and now - self._relisted_at < SHORT_WATCH_SECONDS
            return self._wait_for(event, now, relist=True) if recurs else self._sync(now)
        if event.code == 504 or "too large resource version" in event.message.lower():
            self._too_large += 1
            return self._wait_for(event, now, relist=self._too_large > TOLERATED)
        if event.idle and lasted >= SHORT_WATCH_SECONDS:
            return self._watch(now)
        if event.code in (0, 401, 403, 429) or event.code >= 500:
            return self._wait_for(event, now, relist=False)
        return self._wait_for(event, now, relist=True)

    def _list_expired(self, event: Failed, now: float) -> list[Effect]:
        self._expired_tokens += 1
        return self._sync(now) if self._expired_tokens == 1 else self._wait_for(event, now, relist=True)

    def _initial_cut(self, message: str, now: float) -> list[Effect]:
        self._cut_initials += 1
        return self._fall_back(now) if self._cut_initials >= TOLERATED else self._wait(message, now, relist=True)

    def _fall_back(self, now: float) -> list[Effect]:
        self.mode.watch_list = False
        return self._sync(now)

    def _wait_for(self, event: Failed, now: float, *, relist: bool) -> list[Effect]:
        self.refused = event.code in (401, 403, 404)
        return self._wait(event.message, now, relist=relist, at_least=event.retry_after_seconds or 0.0)

    def _wait(self, problem: str, now: float, *, relist: bool, at_least: float = 0.0) -> list[Effect]:
        self.phase = Phase.WAITING
        self.problem = problem
        self._resume_with_list = relist
        return [Wait(now + max(at_least, self.backoff.delay(now, self.random())))]
