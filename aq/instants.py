"""Instants and spans. Pure.

An *instant* (a name ending in ``_at``, or ``now``) is an ``int``: microseconds since 1970-01-01T00:00:00Z.
A *span* given by people (``delay``, ``timeout``) is in seconds; a span in a name ending in ``_us`` is in
microseconds. Integers, so that comparing and adding are exact on every machine and in every storage.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

Instant = int

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1_024)
def to_rfc3339(instant: Instant) -> str:
    """``2026-01-31T09:30:00.000000Z``: RFC 3339 in UTC, always six fractional digits, so it sorts as text."""
    second, fraction = divmod(instant, SECOND)
    return f"{_second(second)}.{fraction:06}Z"


@lru_cache(maxsize=1_024)
def _second(second: int) -> str:
    """What happens together happens in the same second."""
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


def from_datetime(moment: datetime) -> Instant:
    """The instant of an aware datetime."""
    if moment.tzinfo is None:
        raise ValueError("a datetime needs a time zone, for example datetime.now(UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_seconds(seconds: float) -> int:
    """A span, or a Unix time, in whole microseconds; rounded up, so that nothing becomes due early."""
    return -int(-seconds * SECOND // 1)
