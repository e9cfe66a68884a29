"""Histograms of durations."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from aq.bench.spread import Spread

DURATIONS = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=50)


def spread(durations: list[float]) -> Spread:
    made = Spread()
    for duration in durations:
        made.add(duration)
    return made


@given(DURATIONS, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_right_one_within_a_hundredth_and_never_flatters(
    durations: list[float], part: float
) -> None:
    exact = sorted(durations)[math.ceil(part * len(durations)) - 1]
    told = spread(durations).quantile(part)
    assert exact <= told <= exact * 1.01


@given(DURATIONS, DURATIONS)
def test_two_of_them_add_up(some: list[float], more: list[float]) -> None:
    both, all_at_once = spread(some), spread(some + more)
    both.merge(spread(more))
    assert (both.counts, both.count, both.most) == (all_at_once.counts, all_at_once.count, all_at_once.most)
    assert math.isclose(both.total, all_at_once.total)


def test_of_nothing_and_of_no_time_at_all() -> None:
    assert set(Spread().summary().values()) == {0.0}
    early = spread([-3.0, 0.0])
    assert (early.count, early.quantile(1.0)) == (2, 0.0)
