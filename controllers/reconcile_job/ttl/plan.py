"""When a finished Job is to be deleted: a pure rule (KEP-592)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

FINISHED: Final = ("Complete", "Failed")
"""Conditions that end a Job."""


class Condition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """``status.conditions[]``."""

    type: str
    status: str
    last_transition_time: datetime | None = None


class Spec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    ttl_seconds_after_finished: int | None = None


class Status(msgspec.Struct, frozen=True, gc=False):
    conditions: tuple[Condition, ...] | None = None


class Meta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    deletion_timestamp: str | None = None


class TTLView(msgspec.Struct, frozen=True, gc=False):
    """What is read of a Job: so little that every change of every Job can be looked at."""

    metadata: Meta
    spec: Spec = Spec()
    status: Status = Status()

    @property
    def end(self) -> Condition | None:
        """The condition that ended the Job, or None while it runs."""
        return next(
            (one for one in self.status.conditions or () if one.type in FINISHED and one.status == "True"), None
        )

    @property
    def is_candidate(self) -> bool:
        """Whether the Job is to be deleted at some time: it is finished, has a TTL, and is not on its way out."""
        ttl = self.spec.ttl_seconds_after_finished
        return ttl is not None and self.metadata.deletion_timestamp is None and self.end is not None


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """The Job is to be deleted, but nobody knows when: ``condition`` carries no time."""

    condition: str


class Due(msgspec.Struct, frozen=True, gc=False):
    """When the Job is to be deleted.

    Attributes:
        seconds: from now; zero or less for at once.
        ahead_seconds: how far in the future the finish is, by this clock; zero or less where it is past.
    """

    seconds: float
    ahead_seconds: float


def due(job: TTLView, now: datetime) -> Due | Unknown | None:
    """When ``job`` is to be deleted; None for not at all, as it is now.

    Counted from the time of the condition that ended the Job. A finish in the future (another machine's clock is ahead)
    is taken as written: the Job stays its whole TTL after it.
    """
    ttl, end = job.spec.ttl_seconds_after_finished, job.end
    if ttl is None or end is None or not job.is_candidate:
        return None
    if end.last_transition_time is None:
        return Unknown(end.type)
    age_seconds = (now - end.last_transition_time).total_seconds()
    return Due(ttl - age_seconds, -age_seconds)
