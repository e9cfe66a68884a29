"""The wall clock of a simulated world, which somebody sets now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from aq.instants import Instant
from aq.sim import clock
from aq.sim.trace import Trace
from aq.storage.protocol import Storage


class Wall:
    """Called, it tells the time in Unix seconds. ``steps`` are instants of virtual time, and by how much.

    ``begins`` is called when a service clock begins: who asks for the time first in a life of the engine does
    so to begin one.
    """

    def __init__(
        self, steps: Sequence[tuple[float, float]], trace: Trace, begins: Callable[[], None]
    ) -> None:
        self._steps = steps
        self._trace = trace
        self._begins = begins
        self._floor: Instant | None = None

    async def run(self) -> None:
        """Set it, as often as it is to be set."""
        for at, seconds in sorted(self._steps):
            await trio.sleep_until(at)
            self._trace.fault("clock step", seconds)
            clock.step(seconds)

    async def look(self, storage: Storage) -> None:
        """Before a life: the next service clock begins at the last instant on disk, or above it."""
        if self._steps:
            self._floor = (await storage.floor()).now

    def __call__(self) -> float:
        if self._floor is not None:
            clock.begin(self._floor)
            self._floor = None
            self._begins()
        return clock.wall()
