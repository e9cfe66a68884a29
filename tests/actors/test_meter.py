"""The meter against a plain list of everything that happened."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Sequence

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from aq.actors.meter import WINDOWS, Lateness, Meter, Rates, Tally
from aq.instants import SECOND, Instant
from aq.task import Environment, QueueKey

LIVE, TEST = Environment.LIVE, Environment.TEST
A, B = QueueKey(LIVE, "a"), QueueKey(LIVE, "b")
START = 1_800_000_000 * SECOND
MINUTE = 60 * SECOND


@define
class Model:
    """Every happening, and nothing clever: (queue, instant, name, how often)."""

    happened: list[tuple[QueueKey, Instant, str, int]] = field(factory=list)
    late: list[tuple[QueueKey, Instant, int]] = field(factory=list)

    def tally(
        self, environment: Environment, queues: Collection[str] | None, since: Instant, until: Instant
    ) -> Tally:
        counts = dict.fromkeys(Tally._fields, 0)
        for key, at, name, number in self.happened:
            if since <= at < until and _covers(environment, queues, key):
                counts[name] += number
        return Tally(**counts)

    def lateness(
        self, environment: Environment, queues: Collection[str] | None, since: Instant, until: Instant
    ) -> Sequence[float] | None:
        late = sorted(
            us / 1_000
            for key, at, us in self.late
            if since <= at < until and _covers(environment, queues, key)
        )
        return [late[-(-len(late) * percent // 100) - 1] for percent in (50, 95, 99)] if late else None


def _covers(environment: Environment, queues: Collection[str] | None, key: QueueKey) -> bool:
    return key.environment is environment and (queues is None or key.name in queues)


def check_lateness(found: Lateness | None, true: Sequence[float] | None) -> None:
    assert (found is None) == (true is None)
    for reported, exact in zip(found or (), true or (), strict=True):
        assert reported == pytest.approx(max(exact, 0.1), rel=0.06)


keys = st.sampled_from([A, B, QueueKey(LIVE, "c"), QueueKey(TEST, "a")])
gaps = st.one_of(
    st.integers(0, 3 * SECOND), st.sampled_from([0, 10 * SECOND]), st.integers(0, 20_000 * SECOND)
)
lateness = st.one_of(st.integers(-50, 20_000), st.integers(0, 30 * 86_400 * SECOND))
happenings = st.lists(
    st.tuples(gaps, keys, st.one_of(st.tuples(st.sampled_from(Tally._fields), st.integers(1, 9)), lateness)),
    max_size=60,
)
which = st.tuples(st.sampled_from([LIVE, TEST]), st.sampled_from([None, (), ("a",), ("a", "c"), ("none",)]))


@settings(deadline=None)
@given(happenings, gaps, which, st.integers(0, 100_000 * SECOND))
def test_it_says_what_a_list_of_everything_says(
    story: Sequence[tuple[int, QueueKey, tuple[str, int] | int]],
    rest: int,
    which: tuple[Environment, Collection[str] | None],
    offset: int,
) -> None:
    meter, model, now = Meter(), Model(), START + offset
    for gap, key, what in story:
        now += gap
        if isinstance(what, int):
            meter.late(key, now, what)
            model.late.append((key, now, what))
        else:
            meter.count(key, now, **{what[0]: what[1]})
            model.happened.append((key, now, *what))
    now += rest

    for window, seconds in WINDOWS.items():
        step = seconds * SECOND
        points = meter.series(*which, window, now)
        assert [point.at for point in points] == [
            now - now % step - step * back for back in reversed(range(window // seconds))
        ]
        for point in points:
            assert point.tally == model.tally(*which, point.at, point.at + step)
            check_lateness(point.lateness_ms, model.lateness(*which, point.at, point.at + step))

    assert meter.totals(*which) == model.tally(*which, 0, now + 1)
    since = now - now % (10 * SECOND) - MINUTE
    recent = model.tally(*which, since, now + 1)
    assert meter.rates_of(*which, now) == pytest.approx([n / ((now - since) / SECOND) for n in recent])
    assert meter.rates(A, now) == meter.rates_of(LIVE, ["a"], now)


def test_the_rates_of_a_steady_queue_are_its_rates() -> None:
    meter = Meter()
    for tenth in range(3_000):
        meter.count(A, START + tenth * SECOND // 10, created=2, started=1, completed=1)
    assert meter.rates(A, START + 300 * SECOND) == pytest.approx((20, 10, 10, 0, 0), rel=0.01)
    assert meter.rates(A, START + 400 * SECOND) == Rates(0, 0, 0, 0, 0)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_has_at_most_a_hundred_points(window: int) -> None:
    assert 50 <= len(Meter().series(LIVE, None, window, START)) <= 100


@pytest.mark.parametrize(("window", "step"), WINDOWS.items())
def test_a_window_goes_back_as_far_as_it_says(window: int, step: int) -> None:
    meter = Meter()
    for at in (0, step, window - step):
        meter.count(A, START + at * SECOND, created=1)
    now = START + (window - step) * SECOND
    counts = [point.tally.created for point in meter.series(LIVE, ["a"], window, now)]
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (1, 1, 1, 3)
    meter.count(A, now + step * SECOND, created=1)
    counts = [point.tally.created for point in meter.series(LIVE, ["a"], window, now + step * SECOND)]
    assert (counts[0], counts[-2], counts[-1], sum(counts)) == (1, 1, 1, 3)


def test_a_clock_that_went_back_counts_in_the_latest_step() -> None:
    meter = Meter()
    meter.count(A, START + MINUTE, created=1)
    meter.count(A, START, created=1)
    assert meter.series(LIVE, None, 900, START + MINUTE)[-1].tally == Tally(created=2)


def test_lateness_beyond_the_last_bucket_is_in_it() -> None:
    meter = Meter()
    meter.late(A, START, 10**18)
    found = meter.series(LIVE, ["a"], 900, START)[-1].lateness_ms
    assert found is not None
    assert found.p50 > 30 * 86_400_000


def test_beyond_the_bound_the_queue_that_was_idle_longest_is_forgotten() -> None:
    meter = Meter(max_queues=2)
    c = QueueKey(LIVE, "c")
    meter.count(A, START, created=1)
    meter.count(B, START + MINUTE, created=1)
    meter.count(A, START + 2 * MINUTE, created=1)
    meter.count(c, START + 3 * MINUTE, created=1)
    totals = [meter.totals(LIVE, [name]).created for name in "abc"]
    assert totals == [2, 0, 1]
    assert meter.totals(LIVE, None).created == 4  # of all queues nothing is forgotten


def test_what_is_kept_has_a_bound_and_idle_steps_take_nothing() -> None:
    """A queue that is busy for days takes what it took after one; hours without activity take nothing."""

    def busy(meter: Meter, seconds: range) -> int:
        """Bytes, of the queue and its environment together."""
        for second in seconds:
            meter.count(A, START + second * SECOND, created=1)
            for doublings in range(20):
                meter.late(A, START + second * SECOND, 1_000 << doublings)
        return len(pickle.dumps(meter))

    day = 86_400
    meter = Meter()
    after_a_day = busy(meter, range(0, day, 60))
    assert after_a_day < 100_000
    assert busy(meter, range(day, 3 * day, 60)) < after_a_day + 2_000
    assert busy(Meter(), range(0, 30 * day, day)) < 5_000
