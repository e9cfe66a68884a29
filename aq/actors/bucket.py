"""A rate limit. Pure: time is an argument.

A bucket of tokens, one for each start, that fills at the limit's rate up to its burst. It is kept as one
number (GCRA): the instant at which the bucket would be empty, had it never been full. That instant and the
interval between two tokens are whole nanoseconds, and the interval is rounded up: nothing drifts, and no
rounding ever lets more through than the limit.
"""

from __future__ import annotations

from fractions import Fraction

from aq.instants import Instant
from aq.policy import RateLimit

_NS = 1_000_000_000
_NS_PER_US = 1_000


class TokenBucket:
    """Starts empty. In any span of ``t`` seconds it gives at most ``burst + t * per_second`` tokens."""

    def __init__(self, limit: RateLimit, now: Instant) -> None:
        self._limit = limit
        self._interval = _interval(limit)
        self._burst = _burst(limit)
        self._empty_at = now * _NS_PER_US

    def available(self, now: Instant) -> int:
        """Whole tokens; never more than the burst, however long the pause was."""
        return min(self._burst, max(0, (now * _NS_PER_US - self._empty_at) // self._interval))

    def take(self, now: Instant, n: int) -> None:
        """Use ``n`` of the `available` tokens. Taken beyond that, they are owed."""
        self._empty_at = max(self._empty_at, now * _NS_PER_US - self._burst * self._interval)
        self._empty_at += n * self._interval

    def idle_since(self, instant: Instant) -> None:
        """It was empty then, and nothing has been taken since."""
        self._empty_at = instant * _NS_PER_US

    def next_at(self, now: Instant) -> Instant:
        """When a token is there; now if one is."""
        return max(now, _instant(self._empty_at + self._interval))

    def full_at(self) -> Instant:
        """When the bucket is, or became, full, if nothing more is taken."""
        return _instant(self._empty_at + self._burst * self._interval)

    def adopt(self, limit: RateLimit, now: Instant) -> None:
        """Another limit from now on. What is in the bucket stays, as far as the new burst has room for it."""
        if limit == self._limit:
            return
        now_ns, interval = now * _NS_PER_US, _interval(limit)
        filled = min(now_ns - self._empty_at, self._burst * self._interval)
        filled = min(filled * interval // self._interval, _burst(limit) * interval)
        self._limit, self._interval, self._burst = limit, interval, _burst(limit)
        self._empty_at = now_ns - filled


def _interval(limit: RateLimit) -> int:
    """Nanoseconds between two tokens."""
    return -(-_NS // Fraction(limit.per_second))


def _burst(limit: RateLimit) -> int:
    assert limit.burst is not None  # a RateLimit fills it in  # noqa: S101
    return limit.burst


def _instant(nanoseconds: int) -> Instant:
    """Rounded up: not before the token is there."""
    return -(-nanoseconds // _NS_PER_US)
