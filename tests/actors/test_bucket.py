"""A rate limit: never more than the burst and the rate allow, and nearly as much."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from aq.actors.bucket import TokenBucket
from aq.instants import SECOND
from aq.policy import RateLimit

LIMITS = st.builds(
    RateLimit,
    st.floats(0.001, 100_000) | st.sampled_from([0.1, 0.3, 1, 3, 7, 60, 1_000]),
    st.integers(1, 50) | st.just(100_000),
)
PAUSES = st.lists(st.integers(0, 3 * SECOND) | st.just(0) | st.integers(0, 10**13), max_size=60)


@given(LIMITS, PAUSES, st.integers(1, 5))
def test_no_span_holds_more_than_the_burst_and_the_rate_allow(
    limit: RateLimit, pauses: list[int], most: int
) -> None:
    """Tokens are taken as soon as there are any, and after pauses of any length."""
    bucket, now = TokenBucket(limit, 0), 0
    burst, per_us = limit.burst or 0, Fraction(limit.per_second) / SECOND
    taken = [(0, 0)]
    for pause in pauses:
        now = bucket.next_at(now + pause)
        n = min(most, bucket.available(now))
        assert 1 <= n <= burst
        bucket.take(now, n)
        taken.append((now, n))
    for first in range(len(taken)):
        total = 0
        for at, n in taken[first:]:
            total += n
            start = taken[first][0]
            assert total <= (0 if first == 0 else burst) + (at - start) * per_us


@given(LIMITS, st.integers(0, 10**15), st.integers(0, 10**15))
def test_however_long_the_pause_the_burst_is_the_most(limit: RateLimit, now: int, pause: int) -> None:
    bucket = TokenBucket(limit, now)
    assert bucket.available(now) == 0
    assert bucket.available(now + pause) <= (limit.burst or 0)
    full_at = bucket.full_at()
    assert bucket.available(full_at) == limit.burst
    assert bucket.available(full_at - 1) == (limit.burst or 0) - 1
    bucket.take(full_at + pause, limit.burst or 0)
    assert bucket.available(full_at + pause) == 0
    assert bucket.full_at() - full_at - pause in range(full_at - now - 1, full_at - now + 2)


@given(LIMITS, st.integers(0, 10**13), st.integers(0, 50))
def test_the_next_token_is_there_at_the_instant_named_and_not_before(
    limit: RateLimit, pause: int, taken: int
) -> None:
    bucket = TokenBucket(limit, 0)
    bucket.take(pause, min(taken, bucket.available(pause)))
    next_at = bucket.next_at(pause)
    assert bucket.available(next_at) >= 1
    assert next_at == pause or bucket.available(next_at - 1) == 0


@given(LIMITS, LIMITS, st.integers(0, 10**13))
def test_another_limit_keeps_what_is_there_as_far_as_there_is_room(
    limit: RateLimit, other: RateLimit, pause: int
) -> None:
    bucket = TokenBucket(limit, 0)
    before = bucket.available(pause)
    bucket.adopt(other, pause)
    assert min(before, other.burst or 0) >= bucket.available(pause) >= min(before, other.burst or 0) - 1
    assert bucket.available(pause + 10**15) == other.burst
    bucket.adopt(other, pause)
    assert bucket.full_at() >= pause - 10**15


def test_it_keeps_the_rate_exactly() -> None:
    bucket, now = TokenBucket(RateLimit(3, 2), 0), 0
    for _ in range(30_000):
        now = bucket.next_at(now)
        bucket.take(now, 1)
    assert 10_000 * SECOND <= now <= 10_000 * SECOND + 30


def test_five_a_second() -> None:
    bucket = TokenBucket(RateLimit(5, 10), 0)
    assert [bucket.available(t) for t in (0, 199_999, 200_000, SECOND, 2 * SECOND, 99 * SECOND)] == [
        *(0, 0, 1, 5, 10, 10)
    ]
    bucket.take(99 * SECOND, 10)
    assert bucket.next_at(99 * SECOND) == 99 * SECOND + 200_000
    assert bucket.full_at() == 101 * SECOND


def test_it_may_be_told_since_when_it_fills() -> None:
    bucket = TokenBucket(RateLimit(1, 5), 0)
    bucket.idle_since(-3 * SECOND)
    assert bucket.available(0) == 3
    bucket.idle_since(-99 * SECOND)
    assert bucket.available(0) == 5


def test_what_was_taken_beyond_the_tokens_is_owed() -> None:
    bucket = TokenBucket(RateLimit(1, 1), 0)
    bucket.take(SECOND, 3)
    assert bucket.available(SECOND) == 0
    assert bucket.next_at(SECOND) == 4 * SECOND
