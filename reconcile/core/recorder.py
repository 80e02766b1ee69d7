"""Which Events are written: equal ones counted, similar ones combined, floods cut. It never waits.

The numbers are client-go's (``EventCorrelator``), so that a cluster's Events look as they do from other controllers:

=========================================  ===================================================================
an event that …                            …
=========================================  ===================================================================
equals an earlier one                      raises that one's count and last time
is the tenth or later different message    raises the count of one Event, "(combined from similar events): " with
of one object, type and reason, with no    the latest message
pause of ten minutes between them
is more than the object's bucket allows    is not written (its count is, with the next one that is)
(25, refilled by one in five minutes)
finds ``PENDING_MAX`` others unwritten     is not written
=========================================  ===================================================================

Events go to ``events`` of the core API, with ``count``, ``firstTimestamp`` and ``lastTimestamp``: every kubectl shows
those, and the built-in controllers' roles grant create, patch and update on them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import attrs
import msgspec

from reconcile.core.rate_limit import TokenBucket
from reconcile.model import timestamp
from reconcile.model.object import Object, from_plain
from reconcile.model.patch import MergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.reconciler import EventType

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

EVENTS = Resource(Kind("", "v1", "Event"), "events")

COMBINE_AFTER = 10
"""Different messages of one object, type and reason; from this one on they are combined."""
COMBINE_SECONDS = 600.0
OBJECT_BURST = 25
OBJECT_REFILL_SECONDS = 300.0
REMEMBERED_MAX = 4096
"""Series, groups and objects that are remembered, each; the least recently used go."""
PENDING_MAX = 1000
"""Events that wait to be written: a server that is down for a while, not for ever."""
MESSAGE_CHARACTERS_MAX = 1024
"""What events.k8s.io allows."""
REASON_CHARACTERS_MAX = 128
NAME_CHARACTERS_MAX = 200
"""Of the object's name in the Event's: with a dot and a token it stays a DNS subdomain."""

COMBINED = "(combined from similar events): "


class Regarding(msgspec.Struct, frozen=True, gc=False):
    """The object that an Event is about (``involvedObject``)."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, obj: Object) -> Regarding:
        return cls(obj.kind.api_version, obj.kind.kind, obj.namespace, obj.name, obj.uid)


_Group: TypeAlias = tuple[Regarding, str, str]
_SeriesKey: TypeAlias = tuple[Regarding, str, str, str | None]


@attrs.define(eq=False)
class Series:
    """One Event object and what it counts.

    Attributes:
        name: of the Event object, fixed before it is created, so that creating it can be asked for twice.
        written: the count that the server has; 0 before it is created.
    """

    regarding: Regarding
    type: EventType
    reason: str
    message: str
    name: str
    first: datetime
    last: datetime
    count: int = 0
    written: int = 0

    @property
    def namespace(self) -> str:
        """Where the Event lives; those of cluster-scoped objects live in ``default``."""
        return self.regarding.namespace or "default"

    def to_object(self, component: str) -> Object:
        """The Event to create."""
        regarding = self.regarding
        involved = {"apiVersion": regarding.api_version, "kind": regarding.kind, "name": regarding.name}
        if regarding.namespace:
            involved["namespace"] = regarding.namespace
        if regarding.uid:
            involved["uid"] = regarding.uid
        body: dict[str, Any] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "involvedObject": involved,
            "type": self.type,
            "reason": self.reason,
            "message": self.message,
            "source": {"component": component},
            "reportingComponent": component,
            "firstTimestamp": timestamp.render(self.first),
            "lastTimestamp": timestamp.render(self.last),
            "count": self.count,
        }
        return from_plain(body)

    def to_patch(self) -> MergePatch:
        """What has changed since the Event was created."""
        return MergePatch({"message": self.message, "count": self.count, "lastTimestamp": timestamp.render(self.last)})


@attrs.define
class _Similar:
    messages: OrderedDict[str, None] = attrs.field(factory=OrderedDict)
    at: float = 0.0


class Correlator:
    """What has been reported lately, and what of it is still to be written."""

    def __init__(self) -> None:
        self._series: OrderedDict[_SeriesKey, Series] = OrderedDict()
        self._similar: OrderedDict[_Group, _Similar] = OrderedDict()
        self._buckets: OrderedDict[Regarding, TokenBucket] = OrderedDict()
        # Series whose count the server does not have, first reported first.
        self._pending: OrderedDict[int, Series] = OrderedDict()

    def report(
        self, obj: Object, type: EventType, reason: str, message: str, *, now: float, wall: datetime, token: str
    ) -> str:
        """Something happened to ``obj``. Returns why it is not written, or "" where it will be.

        ``token`` distinguishes the names of Events; it is used if this begins a new one.
        """
        regarding = Regarding.of(obj)
        reason = _printable(reason)[:REASON_CHARACTERS_MAX]
        message = _shortened(_printable(message))
        series = self._series_of(regarding, type, reason, message, now=now, wall=wall, token=token)
        series.count += 1
        series.last = wall
        bucket = _touch(self._buckets, regarding)
        if bucket is None:
            bucket = _remember(
                self._buckets, regarding, TokenBucket(per_second=1 / OBJECT_REFILL_SECONDS, burst=OBJECT_BURST)
            )
        if id(series) in self._pending:
            return ""  # its one request carries this count, too
        if not bucket.take(now):
            return "rate limit of the object"
        if len(self._pending) >= PENDING_MAX:
            return "too many are unwritten"
        self._pending[id(series)] = series
        return ""

    def pending(self) -> Series | None:
        """The next series to write; it stays pending until ``written`` or ``dropped``."""
        return next(iter(self._pending.values()), None)

    def written(self, series: Series, count: int) -> None:
        """The server has the series with this count. More may have been reported meanwhile: then it waits its turn."""
        series.written = count
        if self._pending.pop(id(series), None) is not None and series.count > count:
            self._pending[id(series)] = series

    def recreate(self, series: Series, token: str) -> None:
        """The server has forgotten the Event (they live for an hour): the series begins a new one."""
        series.name = _name(series.regarding, token)
        series.first, series.count, series.written = series.last, max(1, series.count - series.written), 0

    def dropped(self, series: Series) -> None:
        """It cannot be written."""
        self._pending.pop(id(series), None)

    def __len__(self) -> int:
        """How many series are pending."""
        return len(self._pending)

    def _series_of(
        self,
        regarding: Regarding,
        type: EventType,
        reason: str,
        message: str,
        *,
        now: float,
        wall: datetime,
        token: str,
    ) -> Series:
        """The series that this event counts in, a new one if need be."""
        group: _Group = (regarding, type, reason)
        similar = _touch(self._similar, group)
        if similar is None or now - similar.at > COMBINE_SECONDS:
            similar = _remember(self._similar, group, _Similar())
        similar.at = now
        similar.messages[message] = None
        is_combined = len(similar.messages) >= COMBINE_AFTER
        if len(similar.messages) > COMBINE_AFTER:
            similar.messages.popitem(last=False)
        key: _SeriesKey = (*group, None if is_combined else message)
        text = _shortened(COMBINED + message) if is_combined else message
        series = _touch(self._series, key)
        if series is None:
            series = Series(regarding, type, reason, text, _name(regarding, token), first=wall, last=wall)
            _remember(self._series, key, series)
        series.message = text
        return series


def _name(regarding: Regarding, token: str) -> str:
    """The Event's name: the object's, as far as it is a legal one, and a token."""
    stem = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-.") else "-" for letter in regarding.name
    )
    return f"{stem.lower()[:NAME_CHARACTERS_MAX].strip('-.') or 'object'}.{token}"


def _printable(text: str) -> str:
    """Without control characters and lone surrogates: Events are shown on terminals, and must be JSON."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[: MESSAGE_CHARACTERS_MAX - 1] + "…"


def _touch(remembered: OrderedDict[K, V], key: K) -> V | None:
    """What is remembered, now the most recently used."""
    value = remembered.get(key)
    if value is not None:
        remembered.move_to_end(key)
    return value


def _remember(remembered: OrderedDict[K, V], key: K, value: V) -> V:
    remembered[key] = value
    if len(remembered) > REMEMBERED_MAX:
        remembered.popitem(last=False)
    return value
