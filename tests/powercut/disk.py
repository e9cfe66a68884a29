"""A disk for the worlds of `aq.sim`: real SQLite on machines, each of which ends with its power.

    simulated(seed, directory)      simulate(seed, make_disk=partial(SqliteDisk, directory))

SQLite is called without threads. A commit that is under way at a cut is cut at one of its operations;
openings and closings are cut now and then. The weather's faults are those of a disk: SQLite is told that a
write or a read has failed, or that no space is left.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import apsw
import trio
from attrs import Factory, define, field

from aq.errors import AsyncQueueError, StorageCorruptError, StorageError
from aq.instants import Instant
from aq.sim.disk import Weather
from aq.sim.simulate import Report, simulate
from aq.sim.trace import Trace
from aq.storage.answers import Answer
from aq.storage.changes import Unit
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from tests.engine.support import inline
from tests.powercut.connection import Doubtful
from tests.powercut.judge import put
from tests.powercut.life import small_sizes, varied
from tests.powercut.machine import STORE, Machine, Moment, NoPowerError, running
from tests.powercut.platter import Files, Platter, Write

_CUT: Final = 0.3
"""Of the openings and closings."""
_OPENING: Final = 60
"""Operations of an opening within which it is cut."""
_COMMIT: Final = 20
"""Operations of a commit, or of a closing, within which it is cut."""


@define
class Current:
    """One machine, from its start until its power goes."""

    machine: Machine
    platter: Platter
    power_for: int | None = None
    """Operations until the power goes."""
    last: Moment | None = None
    """The operation in whose midst it went."""
    storage: DiskStorage | None = None

    def plan(self, moment: Moment | None) -> None:
        if moment is not None and self.power_for is not None:
            if self.power_for == 0:
                self.last = moment
                raise NoPowerError
            self.power_for -= 1
        if self.storage is not None:
            self.storage.weather(moment)

    def doubted(self) -> bool:
        return self.storage is not None and self.storage.doubted()


@define
class SqliteDisk:
    """An `aq.sim.disk.Disk` in a directory of its own. ``arrange`` may plant a fault in each machine."""

    directory: Path
    random: Random
    weather: Weather
    trace: Trace
    arrange: Callable[[Machine], object] = field(default=lambda machine: None, kw_only=True)
    _files: Files = Factory(dict)
    _numbers: Any = Factory(itertools.count)
    _storage: DiskStorage | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Storage]:
        while self.random.random() < _CUT:
            await self._open_and_be_cut()
        async with self._running() as current, self._opened(current) as storage:
            self._storage = current.storage = DiskStorage(storage, self, current)
            try:
                yield cast(Storage, self._storage)
            finally:
                current.storage = None
                if self._storage.dead:
                    current.machine.powered = False
                elif self.random.random() < _CUT:
                    current.power_for = self.random.randrange(_COMMIT)

    def crash(self) -> None:
        if self._storage is not None:
            self._storage.crash()

    def heal(self) -> None:
        self.weather = Weather()

    async def _open_and_be_cut(self) -> None:
        async with self._running() as current:
            current.power_for = self.random.randrange(_OPENING)
            try:
                async with self._opened(current):
                    pass
            except StorageError:
                if current.machine.powered:
                    raise

    @asynccontextmanager
    async def _opened(self, current: Current) -> AsyncIterator[Storage]:
        machine = current.machine
        async with open_sqlite(str(machine.path), connect=machine.connect, hop=inline) as storage:
            if storage.damage is not None:
                raise StorageCorruptError(f"damaged after a cut: {storage.damage}")
            yield storage

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Current]:
        """The next machine, with the disk that the one before has left."""
        machine = varied(Machine(self.directory / str(next(self._numbers)) / STORE), self.random)
        self.arrange(machine)
        current, around = Current(machine, Platter(self._files)), machine.around
        machine.plan = current.plan
        machine.around = lambda db, reading: Doubtful(around(db, reading), reading, current.doubted)
        machine.done = lambda moment: current.platter.apply(moment.operation)
        put(self._files, machine.path.parent)
        try:
            with running(machine):
                yield current
        finally:
            self.trace.fault(f"cut: {current.last.kind if current.last else 'at rest'}")
            last = current.last.operation if current.last else None
            self._files = current.platter.surviving(self.random, last)


class DiskStorage:
    """What a `SqliteDisk` has opened: slow and failing as the weather says. To be cast to Storage."""

    def __init__(self, storage: Storage, disk: SqliteDisk, current: Current) -> None:
        self._storage = storage
        self._disk = disk
        self._current = current
        self._random = disk.random
        self._waits = trio.CancelScope()
        self._under_way = False
        self._doubt = False
        self._read_fails = False
        self._writes_until_failing: int | None = None
        self.dead = False

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        """Half of its time goes by before it happens. It is not cancelled."""
        self._require_power()
        half = self._random.choice(self._disk.weather.commit_takes) / 2
        self._under_way = True
        await self._pause(half)
        weather, chance = self._disk.weather, self._random.random()
        if chance < weather.fails:
            self._writes_until_failing = self._random.randrange(_COMMIT // 2)
        self._doubt = weather.fails <= chance < weather.fails + weather.in_doubt
        try:
            with trio.CancelScope(shield=True):
                answers = await self._storage.commit(units, now)
        except BaseException:
            self._require_power()
            raise
        finally:
            self._under_way = self._doubt = False
            self._writes_until_failing = None
            if self.dead:
                self._current.machine.powered = False
        await self._pause(half)
        self._require_power()
        return answers

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if not callable(found):
            return found

        async def read(*args: Any, **options: Any) -> Any:
            self._require_power()
            weather = self._disk.weather
            if seconds := self._random.choice(weather.read_takes):
                await trio.sleep(seconds)
            self._read_fails = self._random.random() < weather.read_fails
            try:
                answer = await found(*args, **options)
            except AsyncQueueError:
                self._require_power()
                raise
            finally:
                self._read_fails = False
            self._require_power()
            return answer

        return read

    def crash(self) -> None:
        """A commit that is on its way to the disk may get as far as it likes."""
        self.dead = True
        self._waits.cancel()
        if self._under_way:
            self._current.power_for = self._random.randrange(_COMMIT)
        else:
            self._current.machine.powered = False

    def weather(self, moment: Moment | None) -> None:
        """Raises what SQLite is to get from an operation, or from a read (None)."""
        if moment is None:
            if self._read_fails:
                self._read_fails = False
                self._disk.trace.fault("read failed")
                raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        elif isinstance(moment.operation, Write):
            if self._disk.weather.is_full:
                self._disk.trace.fault("disk full")
                raise apsw.exception_for(apsw.SQLITE_FULL)
            if self._writes_until_failing is not None:
                self._writes_until_failing -= 1
                if self._writes_until_failing < 0:
                    self._writes_until_failing = None
                    self._disk.trace.fault("write failed")
                    raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    def doubted(self) -> bool:
        """Whether a commit that is done is told to have failed."""
        if doubted := self._doubt:
            self._doubt = False
            self._disk.trace.fault("commit in doubt")
        return doubted

    def _require_power(self) -> None:
        if self.dead:
            raise StorageError("the power was cut")

    async def _pause(self, seconds: float) -> None:
        if seconds and not self.dead:
            with trio.CancelScope(shield=True) as self._waits:
                await trio.sleep(seconds)


def simulated(
    seed: int,
    directory: Path,
    *,
    arrange: Callable[[Machine], object] = lambda machine: None,
    log: bool = False,
) -> Report:
    """The world of a seed on such a disk; ``directory`` is made for it."""
    directory.mkdir()
    with small_sizes(Random(seed)):
        return simulate(seed, make_disk=partial(SqliteDisk, directory, arrange=arrange), log=log)
