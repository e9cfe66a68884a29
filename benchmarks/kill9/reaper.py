"""When a life ends, and how: by chance, of a kind that repeats with the seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from random import Random

import trio
from attrs import define, field

from benchmarks.kill9.ledger import Death
from benchmarks.kill9.lives import Lives


class Moment(Enum):
    """What a life is ended in."""

    OPENING = "before it answers: while the file is opened, checked, recovered"
    FIRST = "within a tenth of a second after: recovery goes on, the first requests come"
    WORK = "within a second"
    ACKNOWLEDGED = "right after some acknowledgement has arrived"
    DELIVERING = "right after some delivery has arrived"


WEIGHTS = {
    Moment.OPENING: 2,
    Moment.FIRST: 2,
    Moment.WORK: 2,
    Moment.ACKNOWLEDGED: 3,
    Moment.DELIVERING: 1,
}
"""How often, of ten kills."""


@define
class Reaper:
    """``arrived`` gives the receiver's next event. `acknowledge` is called by the clients."""

    lives: Lives
    random: Random
    arrived: Callable[[], trio.Event]
    opening_takes: float = 0.5
    """Seconds from the fork until it answered, the last time that it did."""
    moments: dict[Moment, int] = field(factory=lambda: dict.fromkeys(Moment, 0))
    _countdown: int = 0
    _reached: trio.Event = field(factory=trio.Event)

    def acknowledge(self) -> None:
        self._countdown -= 1
        if self._countdown == 0:
            self._reached.set()

    async def one_life(self, death: Death) -> None:
        """Begin a life, and end it. A SIGTERM comes to one that answers."""
        moments = [moment for moment in Moment if death is Death.KILL or moment is not Moment.OPENING]
        moment = self.random.choices(moments, [WEIGHTS[moment] for moment in moments])[0]
        self.moments[moment] += 1
        self.lives.begin()
        if moment is Moment.OPENING:
            await trio.sleep(self.random.uniform(0.2, 1) * self.opening_takes)
        else:
            await self.until_ready()
            await self._until(moment)
        await self.lives.end(death)

    async def until_ready(self) -> None:
        began = time.time()
        await self.lives.until_ready()
        self.opening_takes = time.time() - began

    async def _until(self, moment: Moment) -> None:
        if moment is Moment.FIRST:
            await trio.sleep(self.random.uniform(0, 0.1))
        elif moment is Moment.WORK:
            await trio.sleep(self.random.uniform(0.1, 1))
        elif moment is Moment.ACKNOWLEDGED:
            self._reached, self._countdown = trio.Event(), self.random.randint(1, 60)
            await self._reached.wait()
        else:
            for _ in range(self.random.randint(1, 40)):
                await self.arrived().wait()
