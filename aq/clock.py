"""The service clock: what "due" is measured by."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from aq.instants import SECOND, Instant, from_seconds


class ServiceClock:
    """The wall clock at the start, moved on by Trio's clock, never below ``floor``.

    A step of the wall clock while running makes nothing early, late or lost. Under `trio.testing.MockClock`
    the service lives in virtual time. ``wall`` returns Unix seconds; ``floor`` is the last instant a storage
    has seen. Make it inside `trio.run`.
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, floor: Instant = 0) -> None:
        self._wall = wall
        self._origin = max(from_seconds(wall()), floor)
        self._trio_origin = trio.current_time()

    def now(self) -> Instant:
        """To the nearest microsecond: at `trio_deadline` of an instant, it is that instant."""
        return self._origin + round((trio.current_time() - self._trio_origin) * SECOND)

    def trio_deadline(self, instant: Instant) -> float:
        """The instant in Trio's time, for a cancel scope."""
        return self._trio_origin + (instant - self._origin) / SECOND

    def wall_offset(self) -> float:
        """Seconds by which the wall clock is ahead of the service clock."""
        return self._wall() - self.now() / SECOND
