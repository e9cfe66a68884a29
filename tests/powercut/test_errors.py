"""Disks that fail: units that are repeated happen once, "full" means not happened; cuts come on top."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

import apsw
import pytest

from aq.errors import StorageError
from aq.storage.changes import PutSetting
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.writer import Writer
from tests.engine.support import inline
from tests.powercut.cuts import Tally
from tests.powercut.errors import Trial
from tests.powercut.judge import Violation, sound
from tests.powercut.machine import Machine, Moment, running
from tests.powercut.platter import Platter, Sync

SEEDS = range(12)
ERRORS = {
    "SQLITE_FULL",
    "SQLITE_IOERR_FSYNC",
    "SQLITE_IOERR_READ",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_TRUNCATE",
}


async def trials(directory: Path) -> set[str]:
    """The errors that came."""
    seen: set[str] = set()
    for seed in SEEDS:
        (directory / str(seed)).mkdir()
        trial = Trial(seed, directory / str(seed), Tally())
        await trial.run()
        assert trial.done["commits"]
        assert trial.tally.cuts
        seen |= set(trial.done)
    return seen


async def test_failing_disks_neither_lose_nor_repeat(tmp_path: Path) -> None:
    assert await trials(tmp_path) >= ERRORS


async def test_a_doubt_that_is_forgotten_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that failed and yet is there would be repeated."""
    real = Writer.commit

    def forgetful(self: Writer, *args: object) -> object:
        self._doubt = None
        return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "commit", forgetful)
    with pytest.raises(Violation, match="answered"):
        await trials(tmp_path)


async def test_what_a_failed_sync_left_in_the_log_is_written_again(tmp_path: Path) -> None:
    """The process starts again on the same system, commits, and then the power goes."""
    broken: list[str] = []

    def plan(moment: Moment | None) -> None:
        if moment is not None and isinstance(moment.operation, Sync) and broken:
            platter.sync_failed(broken.pop())
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    platter = Platter({})
    machine = Machine(tmp_path / "aq.db", plan=plan, done=lambda moment: platter.apply(moment.operation))

    def opened() -> AbstractAsyncContextManager[Storage]:
        return open_sqlite(str(machine.path), connect=machine.connect, hop=inline)

    with running(machine):
        async with opened() as storage:
            await storage.commit([[PutSetting("one", "acknowledged")]], 0)
            await (
                storage.settings()
            )  # a connection that reads closes last, and cannot fold the log into the file
            broken.append("aq.db-wal")
            with pytest.raises(StorageError, match="uncertain"):
                await storage.commit([[PutSetting("two", "in doubt")]], 0)
        async with opened() as storage:
            found = await storage.settings()
            await storage.commit([[PutSetting("three", "acknowledged")]], 0)
            disks = [platter.surviving(Random(seed)) for seed in range(50)]
    for number, files in enumerate(disks):
        async with sound(files, tmp_path / str(number)) as storage:
            assert await storage.settings() == {**found, "three": "acknowledged"}
