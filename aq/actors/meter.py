"""How much happened lately, and how late attempts started: counted in memory, per queue and in all. Pure.

Counts go into the step of 10 seconds that is open. What comes after its end closes it: it is packed, and
added to the minute that holds it, and a minute that is over to its quarter of an hour. So counting costs the
same whatever is kept, a step in which nothing happened is not kept at all, and nothing runs on a timer.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, starmap, takewhile
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from attrs import define, field, frozen

from aq.instants import SECOND, Instant
from aq.task import Environment, QueueKey

WINDOWS: Final[Mapping[int, int]] = {900: 10, 3_600: 60, 86_400: 900}
"""How far back can be asked, and in which steps; seconds. Each step is a multiple of the one before."""
MAX_QUEUES: Final = 1_000
"""Queues that are counted on their own; beyond, the one that was idle longest is forgotten."""
_STEP: Final = 10 * SECOND
_MINUTE: Final = 60 * SECOND
_LEAST_US: Final = 100
_GROWTH: Final = 1.1
_SCALE: Final = 1 / math.log(_GROWTH)
_BUCKETS: Final = 256
"""Of a histogram: the first is up to 0.1 ms, each next begins a tenth higher, the last at some 37 days."""
_MIDDLES_MS: Final = [0.1, *(float(f"{0.1 * _GROWTH ** (n - 0.5):.3g}") for n in range(1, _BUCKETS))]
"""What stands for a bucket, in milliseconds."""
_HEAD: Final = Struct("<q5I")
"""Of a step that is over: when it began, and its tally; the pairs of its histogram follow."""
_PAIR: Final = Struct("<BI")
"""A bucket and what is in it."""


class Tally(NamedTuple):
    """How often it happened."""

    created: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    """For good."""
    retried: int = 0
    """Attempts that ended with another one to come."""


class Rates(NamedTuple):
    """How often it happened, per second."""

    created: float
    started: float
    completed: float
    failed: float
    retried: float


class Lateness(NamedTuple):
    """Start minus due in milliseconds, each within 6 % of the true percentile; 0.1 is "at most 0.1"."""

    p50: float
    p95: float
    p99: float


@frozen
class Point:
    """One step. ``lateness_ms`` is None when nothing started in it."""

    at: Instant
    """When it began."""
    tally: Tally
    lateness_ms: Lateness | None


class Meter:
    """Instants are the service clock's, and never go back; one that does counts as in the latest step."""

    def __init__(self, *, max_queues: int = MAX_QUEUES) -> None:
        self._max_queues = max_queues
        self._queues: dict[QueueKey, Ring] = {}
        """In the order of the latest step in which something happened."""
        self._all = {environment: _new_ring() for environment in Environment}

    def count(
        self,
        key: QueueKey,
        now: Instant,
        *,
        created: int = 0,
        started: int = 0,
        completed: int = 0,
        failed: int = 0,
        retried: int = 0,
    ) -> None:
        """So many things have happened to tasks of this queue."""
        for sums in self._open(key, now):
            sums.created += created
            sums.started += started
            sums.completed += completed
            sums.failed += failed
            sums.retried += retried

    def late(self, key: QueueKey, now: Instant, lateness_us: int) -> None:
        """An attempt has started so many microseconds after it was due."""
        bucket = _bucket(lateness_us)
        for sums in self._open(key, now):
            sums.late[bucket] = sums.late.get(bucket, 0) + 1

    def rates(self, key: QueueKey, now: Instant) -> Rates:
        """Of one queue, over the last 60 to 70 seconds: six steps, and the open one as far as it has come."""
        return self.rates_of(key.environment, (key.name,), now)

    def rates_of(self, environment: Environment, queues: Collection[str] | None, now: Instant) -> Rates:
        """Like `rates`, of these queues of an environment together; None is all of it."""
        since = now - now % _STEP - _MINUTE
        recent = _Sums()
        for ring in self.rings(environment, queues):
            for _, tally, _ in takewhile(lambda step: step[0] >= since, ring.steps()):
                recent.add(tally, ())
        seconds = (now - since) / SECOND
        return Rates(*(number / seconds for number in recent.tally))

    def totals(self, environment: Environment, queues: Collection[str] | None) -> Tally:
        """What was counted since the meter was made; of a queue that was forgotten, since then."""
        total = _Sums()
        for ring in self.rings(environment, queues):
            total.add(ring.before.tally, ())
            total.add(ring.open.tally, ())
        return total.tally

    def series(
        self, environment: Environment, queues: Collection[str] | None, window: int, now: Instant
    ) -> Sequence[Point]:
        """Every step of the window (one of `WINDOWS`) up to the one that is open, oldest first.

        Of these queues of an environment together; None is all of it. A queue that is not known has zeros.
        """
        series = Series(window, now)
        for ring in self.rings(environment, queues):
            series.add(ring)
        return series.points()

    def rings(self, environment: Environment, queues: Collection[str] | None) -> Sequence[Ring]:
        """What `series` puts together; each may take milliseconds, so between two others may have a turn."""
        if queues is None:
            return [self._all[environment]]
        keys = {QueueKey(environment, name) for name in queues}
        return [ring for key in keys if (ring := self._queues.get(key)) is not None]

    # -- within ---------------------------------------------------------------------------------------------
    def _open(self, key: QueueKey, now: Instant) -> tuple[_Sums, _Sums]:
        """The open steps of the queue and of its environment."""
        ring, whole = self._queues.get(key), self._all[key.environment]
        if ring is None or now >= ring.end:
            ring = self._move(key, now)
        if now >= whole.end:
            whole.move(now)
        return ring.open, whole.open

    def _move(self, key: QueueKey, now: Instant) -> Ring:
        """The queue's ring, at the step of this instant, and behind all others in line to be forgotten."""
        ring = self._queues.pop(key, None) or _new_ring()
        if len(self._queues) >= self._max_queues:
            del self._queues[next(iter(self._queues))]
        self._queues[key] = ring
        ring.move(now)
        return ring


class Series:
    """The steps of a window (one of `WINDOWS`) up to the one that ``now`` is in, over several rings."""

    def __init__(self, window: int, now: Instant) -> None:
        self._step = step = WINDOWS[window] * SECOND
        end = now - now % step + step
        self._sums = {at: _Sums() for at in range(end - window * SECOND, end, step)}

    def add(self, ring: Ring) -> None:
        for start, tally, late in ring.all_steps(self._step):
            if (sums := self._sums.get(start - start % self._step)) is not None:
                sums.add(tally, late)

    def points(self) -> Sequence[Point]:
        """Oldest first, those without activity too."""
        return [Point(at, sums.tally, _lateness(sums.late)) for at, sums in self._sums.items()]


@define(eq=False)
class _Sums:
    """What happened in one step, or in several: the counts of a `Tally`, and how many were how late."""

    created: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    late: dict[int, int] = field(factory=dict)
    """By bucket."""

    @property
    def tally(self) -> Tally:
        return Tally(self.created, self.started, self.completed, self.failed, self.retried)

    def add(self, tally: Tally, late: Iterable[tuple[int, int]]) -> None:
        self.created += tally.created
        self.started += tally.started
        self.completed += tally.completed
        self.failed += tally.failed
        self.retried += tally.retried
        for bucket, number in late:
            self.late[bucket] = self.late.get(bucket, 0) + number


_Step: TypeAlias = tuple[Instant, Tally, Iterable[tuple[int, int]]]
"""When it began, its counts, and how many were how late."""


class Ring:
    """The steps of one width in which anything happened, as far back as a window goes; one is open."""

    def __init__(self, step: int, window: int, wider: Ring | None) -> None:
        self.open = _Sums()
        self.end: Instant = 0
        """Of the open step."""
        self.before = _Sums()
        """All that was counted before it (no histogram)."""
        self._step = step
        self._window = window
        self._wider = wider
        """Is given every step that is over."""
        self._start: Instant = 0
        self._over: deque[bytes] = deque()
        """Packed: there are many of them."""

    def move(self, now: Instant) -> None:
        """Open the step that this instant is in, unless it, or a later one, is open."""
        if now < self.end:
            return
        if self.end:
            self._close()
        self._start = now - now % self._step
        self.end = self._start + self._step
        while self._over and _HEAD.unpack_from(self._over[0])[0] <= self._start - self._window:
            self._over.popleft()

    def steps(self) -> Iterator[_Step]:
        """Every step that is kept, latest first."""
        yield self._open_step()
        for packed in reversed(self._over):
            start, *counts = _HEAD.unpack_from(packed)
            yield start, Tally(*counts), _PAIR.iter_unpack(packed[_HEAD.size :])

    def all_steps(self, step: int) -> Iterator[_Step]:
        """The steps of the ring that has this width, and of narrower ones what they have not passed on."""
        if step == self._step or self._wider is None:
            yield from self.steps()
        else:
            yield self._open_step()
            yield from self._wider.all_steps(step)

    def _open_step(self) -> _Step:
        return self._start, self.open.tally, self.open.late.items()

    def _close(self) -> None:
        tally, late = self.open.tally, self.open.late
        self.before.add(tally, ())
        self._over.append(_HEAD.pack(self._start, *tally) + b"".join(starmap(_PAIR.pack, late.items())))
        if self._wider is not None:
            self._wider.move(self._start)
            self._wider.open.add(tally, late.items())
        self.open = _Sums()


def _new_ring() -> Ring:
    """The finest one, which knows the wider ones."""
    fine, wider, widest = ((step * SECOND, window * SECOND) for window, step in WINDOWS.items())
    return Ring(*fine, Ring(*wider, Ring(*widest, None)))


# -- lateness -----------------------------------------------------------------------------------------------
def _bucket(lateness_us: int) -> int:
    if lateness_us <= _LEAST_US:
        return 0
    return min(_BUCKETS - 1, 1 + int(math.log(lateness_us / _LEAST_US) * _SCALE))


def _lateness(late: Mapping[int, int]) -> Lateness | None:
    """The percentiles by nearest rank: of n values the ⌈n·p⌉-th."""
    buckets = sorted(late)
    reached = list(accumulate(late[bucket] for bucket in buckets))
    if not reached:
        return None
    ranks = [-(-reached[-1] * percent // 100) for percent in (50, 95, 99)]
    return Lateness(*(_MIDDLES_MS[buckets[bisect_left(reached, rank)]] for rank in ranks))
