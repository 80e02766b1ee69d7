"""Jittered exponential backoff of one thing that fails: a watch, a list, a task that is restarted.

The defaults are those of client-go's reflector: 0.8 s doubling to 30 s, up to twice that by jitter, from the start
again after two quiet minutes. Keys of a queue have ``reconcile.core.rate_limit`` instead.
"""

from __future__ import annotations

import attrs

from reconcile.errors import UsageError


@attrs.frozen
class BackoffPolicy:
    """The numbers.

    Attributes:
        first_seconds: the first delay, before jitter.
        seconds_max: the longest delay, before jitter.
        factor: by how much each failure lengthens the delay.
        jitter: a delay ``d`` becomes something in [d, d × (1 + jitter)), so that a thousand clients that lost the same
            server do not come back together.
        reset_seconds: that long without a failure, counted from the end of the last delay, starts from the beginning.
    """

    first_seconds: float = 0.8
    seconds_max: float = 30.0
    factor: float = 2.0
    jitter: float = 1.0
    reset_seconds: float = 120.0

    def __attrs_post_init__(self) -> None:
        if not (
            0 < self.first_seconds <= self.seconds_max < float("inf")
            and 1 <= self.factor < float("inf")
            and 0 <= self.jitter < float("inf")
            and self.reset_seconds >= 0
        ):
            raise UsageError(
                f"{self!r}: want 0 < first_seconds ≤ seconds_max, factor ≥ 1, jitter ≥ 0 and reset_seconds ≥ 0"
            )


@attrs.define
class Backoff:
    """How long to wait after each failure in a row.

    Assumptions: ``now`` does not run backwards; ``random`` is drawn by the caller from [0, 1).
    """

    policy: BackoffPolicy = attrs.field(factory=BackoffPolicy)
    _failures: int = attrs.field(default=0, init=False)
    _quiet_from: float | None = attrs.field(default=None, init=False, repr=False)

    def delay(self, now: float, random: float) -> float:
        """It failed (again): the seconds to wait from ``now``."""
        policy = self.policy
        if self._quiet_from is not None and now - self._quiet_from > policy.reset_seconds:
            self._failures = 0
        seconds = policy.first_seconds
        for _ in range(self._failures):
            seconds *= policy.factor
            if seconds >= policy.seconds_max or policy.factor == 1:
                break
        seconds = min(seconds, policy.seconds_max) * (1 + policy.jitter * random)
        self._failures += 1
        self._quiet_from = now + seconds
        return seconds
