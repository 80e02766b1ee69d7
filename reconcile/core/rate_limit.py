"""How long a failed key waits: per-key exponential delay and an overall token bucket, the longer of the two.

The values are client-go's (``DefaultTypedControllerRateLimiter``), so that a controller moved here retries as it did:
5 ms doubling to 1000 s for one key; beyond a burst of 100, ten retries a second over all keys.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import attrs

from reconcile.errors import UsageError

RETRY_SECONDS_MIN = 0.005
"""The first retry of a key: soon, because most failures are conflicts that a fresh read cures."""
RETRY_SECONDS_MAX = 1000.0
"""The longest wait of a key that never succeeds: it costs one reconcile in about a quarter of an hour."""
BUCKET_PER_SECOND = 10.0
"""Retries a second over all keys, once the burst is used up."""
BUCKET_BURST = 100
"""Retries that may happen at once before the bucket is empty."""


class RateLimiter(Protocol):
    """Decides how long a key waits before it is tried again."""

    def delay(self, key: Hashable, now: float, /) -> float:
        """Seconds from ``now``. Each call counts as one more failure of the key."""
        ...

    def forget(self, key: Hashable, /) -> None:
        """The key succeeded: its next failure is its first. Frees what is remembered of it."""
        ...

    def num_requeues(self, key: Hashable, /) -> int:
        """Failures of the key since it was last forgotten."""
        ...


def _positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < float("inf"):
        raise UsageError(f"{type(instance).__name__}.{attribute.name} is {value!r}: want a number > 0")


@attrs.define
class ExponentialLimiter:
    """Per key: ``seconds_min``, doubled by each failure, at most ``seconds_max``.

    Memory: one small integer for each key that has failed and was not forgotten.
    """

    seconds_min: float = attrs.field(default=RETRY_SECONDS_MIN, validator=_positive)
    seconds_max: float = attrs.field(default=RETRY_SECONDS_MAX, validator=_positive)
    _failures: dict[Hashable, int] = attrs.field(factory=dict, init=False, repr=False)

    def delay(self, key: Hashable, _now: float, /) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # 2.0 ** 1024 overflows; the cap is reached long before any exponent that large.
        return min(self.seconds_max, self.seconds_min * 2.0 ** min(failures, 512))

    def forget(self, key: Hashable, /) -> None:
        self._failures.pop(key, None)

    def num_requeues(self, key: Hashable, /) -> int:
        return self._failures.get(key, 0)

    def __len__(self) -> int:
        return len(self._failures)


@attrs.define
class TokenBucket:
    """Over all keys: ``burst`` at once, then ``per_second``. A caller beyond that reserves a later moment.

    Guarantees: in any window of ``t`` seconds, at most ``burst + t × per_second`` reservations come due.
    """

    per_second: float = attrs.field(default=BUCKET_PER_SECOND, validator=_positive)
    burst: int = attrs.field(default=BUCKET_BURST, validator=_positive)
    _tokens: float = attrs.field(init=False, repr=False)
    _at: float | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.burst)

    def reserve(self, now: float) -> float:
        """Take one token, on credit if there is none; the seconds until it is paid for."""
        self._fill(now)
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self.per_second)

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _fill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(float(self.burst), self._tokens + max(0.0, now - self._at) * self.per_second)
        self._at = now if self._at is None else max(self._at, now)


class DefaultLimiter:
    """The longer of the key's own exponential delay and the bucket's."""

    def __init__(self, *, seconds_min: float = RETRY_SECONDS_MIN, seconds_max: float = RETRY_SECONDS_MAX) -> None:
        self._per_key = ExponentialLimiter(seconds_min, seconds_max)
        self._bucket = TokenBucket()

    def __repr__(self) -> str:
        return f"DefaultLimiter({self._per_key!r}, {self._bucket!r})"

    def delay(self, key: Hashable, now: float, /) -> float:
        return max(self._per_key.delay(key, now), self._bucket.reserve(now))

    def forget(self, key: Hashable, /) -> None:
        self._per_key.forget(key)

    def num_requeues(self, key: Hashable, /) -> int:
        return self._per_key.num_requeues(key)
