"""A simulated disk under the memory storage: slow, full, failing for a moment, and gone in a power cut.

What a world needs of any disk is `Disk`: `simulate` takes a function that makes one, so that another storage
(SQLite on a simulated file system, say) can be put in the place of this one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Protocol, TypeAlias

import trio
from attrs import frozen

from aq.errors import StorageError, StorageFullError, StorageUnavailableError
from aq.instants import Instant
from aq.sim.trace import Trace
from aq.storage.answers import Answer, StoredTask, Window
from aq.storage.changes import Unit
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.storage.tables import Tables
from aq.task import QueueKey


class Disk(Protocol):
    """What outlives the process. One storage at a time is open on it."""

    def open(self) -> AbstractAsyncContextManager[Storage]:
        """Open what is durable. Called again after each end of a life, polite or not."""
        ...

    def crash(self) -> None:
        """The power is cut, now: the storage that is open raises StorageError from everything, for good.

        What a commit has returned for is still there at the next `open`; a commit that is under way is there
        as a whole or not at all.
        """
        ...

    def heal(self) -> None:
        """No more faults from now on."""
        ...


@frozen(kw_only=True)
class Weather:
    """How a disk behaves. Chances are per call, spans are in seconds."""

    commit_takes: tuple[float, ...] = (0.002,)
    """One of these, drawn for each commit; half of it goes by before the commit has happened."""
    read_takes: tuple[float, ...] = (0,)
    fails: float = 0
    """Chance that a commit raises StorageUnavailableError and has not happened."""
    in_doubt: float = 0
    """Chance that it does so and has."""
    read_fails: float = 0
    full: Sequence[tuple[float, float]] = ()
    """Spans, in Trio's time, in which there is no space left."""

    @property
    def is_full(self) -> bool:
        """There is no space left now."""
        now = trio.current_time()
        return any(begin <= now < end for begin, end in self.full)


DiskFactory: TypeAlias = Callable[[Random, Weather, Trace], Disk]


class MemoryDisk:
    """A `Disk` whose storage is `aq.storage.memory` under such weather."""

    def __init__(self, random: Random, weather: Weather, trace: Trace) -> None:
        self.weather = weather
        self._random = random
        self._trace = trace
        self._tables = Tables()
        self._storage: SimulatedStorage | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Storage]:
        storage = self._storage = SimulatedStorage(self, self._tables, self._random, self._trace)
        try:
            yield storage
        finally:
            with trio.CancelScope(shield=True):
                await storage.aclose()

    def crash(self) -> None:
        if self._storage is not None:
            self._storage.crash()

    def heal(self) -> None:
        self.weather = Weather()


class SimulatedStorage(MemoryStorage):
    """One opening of a `MemoryDisk`. A commit under way is not cancelled; only a power cut ends it."""

    def __init__(self, disk: MemoryDisk, tables: Tables, random: Random, trace: Trace) -> None:
        super().__init__()
        self._tables = tables
        self._disk = disk
        self._random = random
        self._trace = trace
        self._dead = False
        self._under_way: tuple[Sequence[Unit], Instant] | None = None
        self._waits = trio.CancelScope()
        self._doubtful: tuple[Sequence[Unit], Sequence[Answer]] | None = None
        """Of a commit that happened and raised: its units, and what they are answered when repeated."""

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        if self._closed:
            raise StorageError("the store is closed")
        weather, random = self._disk.weather, self._random
        takes = random.choice(weather.commit_takes) / 2
        if (answers := self._answered(units)) is not None:
            await self._pause(takes)
            self._doubtful = None
            return answers
        if weather.is_full:
            await self._pause(takes)
            self._trace.fault("disk full")
            raise StorageFullError("there is no space left on the disk")
        chance = random.random()
        if chance < weather.fails:
            await self._pause(takes)
            self._trace.fault("commit failed")
            raise StorageUnavailableError("the disk failed")
        self._under_way = units, now
        await self._pause(takes)
        answers, self._under_way = self._apply(units, now), None
        await self._pause(takes)
        if chance < weather.fails + weather.in_doubt:
            self._trace.fault("commit in doubt")
            self._doubtful = units, answers
            raise StorageUnavailableError("the disk failed, perhaps too late")
        return answers

    def crash(self) -> None:
        """A commit that is on its way to the disk may have arrived there."""
        self._dead = True
        if self._under_way is not None and self._random.random() < 0.5:
            self._trace.fault("commit survived")
            self._apply(*self._under_way)
        self._under_way = None
        self._waits.cancel()

    async def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
    ) -> Window:
        found = await super().window(key, now, limit, aside, aside_limit)
        await self._lag()
        return found

    async def task(self, task_id: str) -> StoredTask | None:
        found = await super().task(task_id)
        await self._lag()
        return found

    # -- within ---------------------------------------------------------------------------------------------
    def _answered(self, units: Sequence[Unit]) -> Sequence[Answer] | None:
        """What the very units of a commit whose end was not told are answered (rule 3)."""
        if self._doubtful is None or list(map(id, self._doubtful[0])) != list(map(id, units)):
            return None
        return self._doubtful[1]

    async def _checkpoint(self) -> Tables:
        """Every read comes by here."""
        await self._lag()
        tables = await super()._checkpoint()
        if self._dead:
            raise StorageError("the power was cut")
        if self._random.random() < self._disk.weather.read_fails:
            self._trace.fault("read failed")
            raise StorageUnavailableError("a read failed")
        return tables

    async def _lag(self) -> None:
        seconds = self._random.choice(self._disk.weather.read_takes)
        if seconds:
            await trio.sleep(seconds)

    async def _pause(self, seconds: float) -> None:
        """Time goes by in a commit, which the caller cannot cut short."""
        if seconds and not self._dead:
            with trio.CancelScope(shield=True) as self._waits:
                await trio.sleep(seconds)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        if self._dead:
            raise StorageError("the power was cut")
