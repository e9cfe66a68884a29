from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from aq.clock import ServiceClock
from aq.instants import SECOND, from_datetime, from_seconds, to_rfc3339


@given(st.integers(0, 4_102_444_800 * SECOND))
def test_rfc3339_loses_nothing_and_sorts(instant: int) -> None:
    text = to_rfc3339(instant)
    assert text.endswith("Z")
    assert from_datetime(datetime.fromisoformat(text)) == instant
    assert text < to_rfc3339(instant + 1)


def test_a_datetime_needs_a_zone() -> None:
    assert from_datetime(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == SECOND
    with pytest.raises(ValueError, match="time zone"):
        from_datetime(datetime(2026, 1, 1))  # noqa: DTZ001  # the point


@given(st.floats(0, 1e9))
def test_spans_round_up(seconds: float) -> None:
    assert 0 <= from_seconds(seconds) - seconds * SECOND <= 1.0


async def test_the_service_clock_moves_with_trios(mock_clock: trio.testing.MockClock) -> None:
    wall = [1_790_000_000.0]
    clock = ServiceClock(wall=lambda: wall[0])
    began = clock.now()
    assert began == 1_790_000_000 * SECOND
    wall[0] += 3_600  # somebody sets the wall clock
    assert clock.now() == began
    assert clock.wall_offset() == 3_600
    mock_clock.jump(2.5)
    assert clock.now() == began + 2_500_000
    assert clock.trio_deadline(clock.now()) == pytest.approx(trio.current_time())


async def test_the_service_clock_never_goes_below_what_was_stored() -> None:
    assert ServiceClock(wall=lambda: 5.0, floor=9 * SECOND).now() >= 9 * SECOND
