"""A disk that fails: syncs, writes, reads, no space. Then the process starts again, or the power goes."""

from __future__ import annotations

import copy
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Final

import apsw
from attrs import define, field

from aq.errors import StorageError, StorageFullError, StorageUnavailableError
from aq.storage.answers import Answer
from aq.storage.changes import Unit
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.connection import Connection
from tests.engine.support import inline
from tests.powercut.connection import Doubtful
from tests.powercut.cuts import Tally
from tests.powercut.judge import Violation, put, sound
from tests.powercut.life import FIRST, small_sizes, varied
from tests.powercut.machine import STORE, Machine, Moment, NoPowerError, PartialWrite, running
from tests.powercut.platter import Create, Delete, Files, Platter, Sync, Truncate, Write
from tests.storage.deeds import Deed
from tests.storage.everything import everything_in, everything_of
from tests.storage.model import Model

COMMITS: Final = 40
"""Of one seed."""
_FAILS: Final = 1 / 60
"""Of the operations."""
_READ_FAILS: Final = 1 / 400
_FULL_FOR: Final = 40
"""Writes that a full disk refuses, at most."""
_TRIES: Final = 30
"""Of one opening, or of one commit, before the disk is given some peace."""
_CODES: Final[dict[type, int]] = {
    Sync: apsw.SQLITE_IOERR_FSYNC,
    Truncate: apsw.SQLITE_IOERR_TRUNCATE,
    Delete: apsw.SQLITE_IOERR_DELETE,
    Create: apsw.SQLITE_CANTOPEN,
}


@define
class Failing:
    """What fails on a machine, at random, and when its power goes."""

    random: Random
    machine: Machine
    platter: Platter
    failed: Counter[str]
    full_for: int = 0
    quiet: bool = False
    power_for: int | None = None
    """Operations until the power goes."""

    def plan(self, moment: Moment | None) -> None:
        if self.quiet:
            return
        if moment is None:
            if self.random.random() < _READ_FAILS:
                raise self._error(apsw.SQLITE_IOERR_READ)
            return
        if self.power_for is not None:
            self.power_for -= 1
            if self.power_for < 0:
                raise NoPowerError
        if isinstance(moment.operation, Write):
            self._write(moment.operation)
        elif self.random.random() < _FAILS:
            if isinstance(moment.operation, Sync):
                self.platter.sync_failed(moment.operation.name)
            raise self._error(_CODES[type(moment.operation)])

    def _write(self, write: Write) -> None:
        if not self.full_for and self.random.random() < _FAILS / 4:
            self.full_for = self.random.randint(1, _FULL_FOR)
        size = self.random.choice([self.random.randint(0, len(write.data)), len(write.data)])
        if self.full_for:
            self.full_for -= 1
            room = os.path.getsize(self.machine.path.with_name(write.name)) - write.offset
            raise PartialWrite(
                0 if room > 0 else min(size, len(write.data) - 1), self._error(apsw.SQLITE_FULL)
            )
        if self.random.random() < _FAILS:
            raise PartialWrite(size, self._error(apsw.SQLITE_IOERR_WRITE))

    def _error(self, code: int) -> Exception:
        names = {**apsw.mapping_result_codes, **apsw.mapping_extended_result_codes}
        self.failed[str(names[code])] += 1
        return apsw.exception_for(code)

    def around(self, db: Connection, reading: bool) -> Connection:
        """Now and then a commit is done, and SQLite says that it failed."""

        def fails() -> bool:
            if self.quiet or self.random.random() >= _FAILS:
                return False
            self._error(apsw.SQLITE_IOERR_SHMMAP)
            return True

        return Doubtful(db, reading, fails)

    @contextmanager
    def peace(self) -> Iterator[None]:
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False


@define
class Trial:
    """One store on failing disks, and what it may hold."""

    seed: int
    directory: Path
    tally: Tally
    done: Counter[str] = field(factory=Counter)
    """Errors given to SQLite by name, commits that were acknowledged, starts."""
    random: Random = field(init=False)
    model: Model = field(init=False)
    deed: Deed = field(init=False)
    may: list[Model] = field(init=False)
    """More than one after a commit of which nobody was told; told only by what is acknowledged after it."""
    left: int = COMMITS

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)
        self.model = Model()
        self.deed = Deed(self.seed, self.model)
        self.may = [copy.copy(self.model)]

    async def run(self) -> None:
        """Raises Violation."""
        files: Files = {}
        with small_sizes(self.random):
            for number in itertools.count():
                path = self.directory / f"machine-{number}" / STORE
                files = await self._machine(path, files)
                await self._judge(files, self.directory / f"cut-{number}")
                if self.left <= 0:
                    return

    async def _machine(self, path: Path, born: Files) -> Files:
        """Processes on one machine until its power goes; returns what is left on its disk."""
        machine, platter = varied(Machine(path), self.random), Platter(born)
        failing = Failing(self.random, machine, platter, self.done)
        machine.plan, machine.around = failing.plan, failing.around
        machine.done = lambda moment: platter.apply(moment.operation)
        put(born, path.parent)
        with running(machine):
            while self.left > 0 and machine.powered:
                failing.power_for = self.random.choice([None, self.random.randrange(400)])
                await self._process(machine, failing)
                if self.random.random() < 0.3:
                    break
        return platter.surviving(self.random)

    async def _process(self, machine: Machine, failing: Failing) -> None:
        async with self._opened(machine, failing) as storage:
            if storage is None or not machine.powered:
                return
            if (
                len(self.may) > 1 or self.random.random() < 0.5
            ):  # else nobody has read, and a log may be begun anew
                with failing.peace():
                    await self._recognise(storage)
            for _ in range(self.random.randint(1, 15)):
                self.left -= 1
                units = self.deed.units() if self.model.state.queues else FIRST
                if not await self._commit(storage, units, self.deed.now, machine, failing):
                    break
        self.done["starts"] += 1

    @asynccontextmanager
    async def _opened(self, machine: Machine, failing: Failing) -> AsyncIterator[Storage | None]:
        """None where the power went."""
        for number in range(_TRIES + 1):
            failing.quiet = number == _TRIES
            async with AsyncExitStack() as stack:
                opening = open_sqlite(str(machine.path), connect=machine.connect, hop=inline)
                try:
                    storage = await stack.enter_async_context(opening)
                except StorageError:
                    if machine.powered:
                        continue
                    yield None
                    return
                failing.quiet = False
                yield storage
                return
        raise Violation("it does not open on a disk that works again")

    async def _recognise(self, storage: Storage) -> None:
        """After a start: the model is what the store holds. Told or not is still open."""
        found = await everything_in(storage, self.deed.seen)
        for model in self.may:
            if everything_of(model, self.deed.seen) == found:
                self.model.state, self.model.now = model.state, model.now
                return
        raise Violation("after a start it is not what was acknowledged")

    async def _commit(
        self, storage: Storage, units: Sequence[Unit], now: int, machine: Machine, failing: Failing
    ) -> bool:
        """False where this process can do no more."""
        after = copy.copy(self.model)
        wanted = after.commit(units, now)
        earlier = list(self.may)
        try:
            answers = await self._told(storage, units, now, machine, failing)
        except StorageFullError:
            if not machine.powered:
                return False
            if self.random.random() < 0.5:
                with failing.peace():
                    await self._recognise(storage)
            return True
        except (StorageError, StorageUnavailableError):
            self.may = [*earlier, after]
            return False
        if list(answers) != wanted:
            raise Violation(f"answered {answers}, the model says {wanted}")
        self.model.state, self.model.now = after.state, after.now
        self.may = [after]
        self.done["commits"] += 1
        return True

    async def _told(
        self, storage: Storage, units: Sequence[Unit], now: int, machine: Machine, failing: Failing
    ) -> Sequence[Answer]:
        """Commit until it is known what has become of it. Raises StorageError where that cannot be."""
        for number in range(_TRIES + 1):
            failing.quiet = number == _TRIES
            try:
                return await storage.commit(units, now)
            except StorageUnavailableError:
                if not machine.powered:
                    raise
            finally:
                failing.quiet = False
        raise Violation("it does not commit on a disk that works again")

    async def _judge(self, files: Files, directory: Path) -> None:
        async with sound(files, directory) as storage:
            await self._recognise(storage)
        self.may = [copy.copy(self.model)]
        self.tally.count("failing disk")
