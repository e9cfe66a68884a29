"""Rule 3 and what each error of SQLite leads to: exactly one effect, whatever fails and when."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio
from msgspec.structs import replace

from aq.errors import StorageCorruptError, StorageError, StorageFullError, StorageUnavailableError
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Reason, StoredTask, TaskFilter
from aq.storage.changes import Insert, PutQueue, PutSetting, Record, Start, Sweep, Unit, Update
from aq.storage.conformance.bench import FAILED, MAIL, NOW, Bench, end_of, finished
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite, statements, writer
from aq.storage.sqlite.connection import StdlibConnection
from aq.storage.sqlite.lists import Walk, page_text
from aq.task import Queue, Status

from .deeds import KEYS, Deed
from .model import Model
from .scripted import Fault, Script, once
from .test_differential import compare

TRANSIENT = ("SQLITE_BUSY", "SQLITE_IOERR_WRITE", "SQLITE_NOMEM", "SQLITE_CANTOPEN")


@asynccontextmanager
async def scripted(path: Path) -> AsyncIterator[tuple[Bench, Script]]:
    """A store with the queue MAIL in it, and the script of its connections."""
    script = Script()
    async with open_sqlite(str(path / "aq.db"), connect=script.connect) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        script.log.clear()
        yield bench, script


def rows(path: Path, sql: str) -> list[tuple[int, ...]]:
    """What a second, plain connection sees in the file."""
    connection = sqlite3.connect(path / "aq.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("happens", [False, True])
async def test_a_commit_in_doubt_takes_effect_once(happens: bool, tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        task = bench.task()
        units: list[Unit] = [[Insert(task, b"{}")], [Insert(task, b"{}")]]
        script.plan = once("COMMIT", Fault("SQLITE_IOERR_WRITE", happens))
        with pytest.raises(StorageUnavailableError):
            await bench.storage.commit(units, NOW)
        answers = list(await bench.storage.commit(list(units), NOW))
        assert [type(answer).__name__ for answer in answers] == ["Applied", "Refused"]
        assert (await bench.counts(MAIL)).pending == 1


async def test_only_a_write_proves_that_a_commit_lasts(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        units: list[Unit] = [[PutSetting("a", "1")]]
        script.plan = once("COMMIT", Fault("SQLITE_IOERR_WRITE", happens=True))
        with pytest.raises(StorageUnavailableError):
            await bench.storage.commit(units, NOW)
        number = rows(tmp_path, "SELECT commit_number FROM meta")[0][0]
        script.log.clear()
        assert await bench.storage.commit(units, NOW) == [Applied()]
        assert [sql for sql in script.log if sql.startswith(("INSERT", "UPDATE", "COMMIT"))][-1] == "COMMIT"
        assert not any(sql.startswith("INSERT") for sql in script.log), "written a second time"
        assert rows(tmp_path, "SELECT commit_number FROM meta")[0][0] > number


async def test_a_doubt_may_last_for_several_tries(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        units: list[Unit] = [[Insert(bench.task(), b"{}")]]
        for happens in (False, True, False, True):
            script.plan = once("COMMIT", Fault("SQLITE_IOERR_WRITE", happens))
            with pytest.raises(StorageUnavailableError):
                await bench.storage.commit(units, NOW)
        assert await bench.storage.commit(units, NOW) == [Applied()]
        assert (await bench.counts(MAIL)).pending == 1


async def test_what_ran_before_a_doubt_is_looked_at_anew(tmp_path: Path) -> None:
    """The writer remembers what it has started, and cannot remember an end that it did not see."""
    async with scripted(tmp_path) as (bench, script):
        (task,) = await bench.put(bench.task())
        (answer,) = await bench.commit([Start(MAIL, task.id, 1, NOW)])
        assert isinstance(answer, Applied)
        end = end_of(*finished(answer.started[0][0], FAILED))
        units: list[Unit] = [end]
        script.plan = once("COMMIT", Fault("SQLITE_IOERR_WRITE", happens=True))
        with pytest.raises(StorageUnavailableError):
            await bench.storage.commit(units, NOW)
        assert await bench.storage.commit(units, NOW) == [Applied()]
        await bench.refused(6, Reason.STATE, *end)


async def test_other_units_end_the_doubt(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        units: list[Unit] = [[PutSetting("a", "1")]]
        script.plan = once("COMMIT", Fault("SQLITE_IOERR_WRITE", happens=True))
        with pytest.raises(StorageUnavailableError):
            await bench.storage.commit(units, NOW)
        assert await bench.storage.commit([[PutSetting("a", "2")]], NOW) == [Applied()]
        assert await bench.storage.commit(units, NOW) == [Applied()]
        assert await bench.storage.settings() == {"a": "1"}


@pytest.mark.parametrize("happens", [False, True])
async def test_each_call_of_a_commit_may_fail(happens: bool, tmp_path: Path) -> None:
    """The n-th call fails, for every n there is; the same units are committed again, and once."""
    async with scripted(tmp_path) as (bench, script):
        failures, failed = 0, True
        while failed:
            task = bench.task()
            units: list[Unit] = [[Insert(task, b"{}"), PutSetting("n", str(failures))]]
            script.plan = _nth(failures, Fault("SQLITE_IOERR_READ", happens))
            failed = False
            try:
                await bench.storage.commit(units, NOW)
            except StorageUnavailableError:
                failed = True
                assert await bench.storage.commit(units, NOW) == [Applied()]
            assert await bench.storage.task(task.id) is not None
            failures += 1
        assert failures > 6
        assert (await bench.counts(MAIL)).pending == failures
        assert await bench.storage.settings() == {"n": str(failures - 1)}


def _nth(n: int, fault: Fault) -> Callable[[str, bool], Fault | None]:
    left = [n]

    def plan(sql: str, read_only: bool) -> Fault | None:
        left[0] -= not read_only
        return fault if left[0] == -1 and not read_only else None

    return plan


@pytest.mark.parametrize("seed", range(10))
async def test_random_operations_on_a_failing_disk(seed: int, tmp_path: Path) -> None:
    """One call in thirty fails, reads too: what the caller was told is what is there."""
    model, random = Model(), Random(seed)
    deed = Deed(seed + 1_000, model)
    script = Script()

    def plan(sql: str, read_only: bool) -> Fault | None:
        if random.random() > 1 / 30:
            return None
        full = not read_only and random.random() < 0.3
        return Fault("SQLITE_FULL") if full else Fault(random.choice(TRANSIENT), random.random() < 0.5)

    async with open_sqlite(str(tmp_path / "aq.db"), connect=script.connect) as storage:
        units: Sequence[Unit] = [[PutQueue(Queue(key, QueuePolicy(), 0))] for key in KEYS]
        assert list(await storage.commit(units, 0)) == model.commit(units, 0)
        for _ in range(60):
            units = deed.units()
            script.plan = plan
            answers = await _until_told(storage, units, deed.now)
            script.plan = Script().plan
            if answers is not None:
                assert list(answers) == model.commit(units, deed.now)
            await compare(storage, model, Random(seed), deed.seen, deed.now)


async def _until_told(storage: Storage, units: Sequence[Unit], now: int) -> Sequence[Answer] | None:
    """Commit until it is known what has become of it; None is "not happened"."""
    while True:
        try:
            return await storage.commit(units, now)
        except StorageFullError:
            return None
        except StorageUnavailableError:
            continue


async def test_a_full_disk_means_not_happened(tmp_path: Path) -> None:
    """SQLite's own error, from a file that may not grow."""

    def connect(path: str, *, read_only: bool = False) -> StdlibConnection:
        connection = StdlibConnection(path, read_only=read_only)
        connection.execute("PRAGMA max_page_count = 100")
        return connection

    async with open_sqlite(str(tmp_path / "aq.db"), connect=connect) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        kept = 0
        full = False
        while not full:
            try:
                await bench.put(bench.task(), payload=bytes(20_000))
                kept += 1
            except StorageFullError:
                full = True
        assert (await bench.counts(MAIL)).pending == kept
        assert len(await bench.ids(TaskFilter())) == kept
        await bench.commit([PutSetting("small", "fits")])
        assert await storage.settings() == {"small": "fits"}


async def test_a_full_disk_does_not_deny_what_is_in_doubt(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        units: list[Unit] = [[PutSetting("a", "1")]]
        script.plan = once("COMMIT", Fault("SQLITE_IOERR_WRITE", happens=True))
        with pytest.raises(StorageUnavailableError):
            await bench.storage.commit(units, NOW)
        script.plan = once("COMMIT", Fault("SQLITE_FULL"))
        with pytest.raises(StorageUnavailableError) as caught:
            await bench.storage.commit(units, NOW)
        assert not isinstance(caught.value, StorageFullError)
        assert await bench.storage.commit(units, NOW) == [Applied()]


@pytest.mark.parametrize("code", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"])
async def test_a_failed_fsync_ends_the_storage(code: str, tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        script.plan = once("COMMIT", Fault(code, happens=True))
        with pytest.raises(StorageError, match="uncertain"):
            await bench.commit([PutSetting("a", "1")])
        script.log.clear()
        with pytest.raises(StorageError, match="uncertain"):
            await bench.commit([PutSetting("a", "1")])
        with pytest.raises(StorageError, match="uncertain"):
            await bench.storage.settings()
        assert script.log == []


@pytest.mark.parametrize("code", [*TRANSIENT, "SQLITE_FULL", "SQLITE_IOERR_FSYNC", "SQLITE_CORRUPT"])
async def test_what_is_committed_stays_so_when_pages_cannot_be_given_back(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SPARE_PAGES", 0)
    async with scripted(tmp_path) as (bench, script):
        gone = [bench.task(status=Status.FAILED, finished_at=NOW) for _ in range(100)]
        await bench.put(*gone, payload=bytes(9_000))
        script.plan = once("PRAGMA incremental_vacuum", Fault(code))
        (answer,) = await bench.commit([Sweep(MAIL, 100)])
        assert isinstance(answer, Applied)
        assert answer.count == 100
        assert any(sql.startswith("PRAGMA incremental_vacuum") for sql in script.log)
        if code == "SQLITE_IOERR_FSYNC":
            with pytest.raises(StorageError, match="uncertain"):
                await bench.commit([PutSetting("a", "1")])
        elif code == "SQLITE_CORRUPT":
            assert bench.storage.damage is not None
        else:
            await bench.commit([PutSetting("a", "1")])
            assert (await bench.counts(MAIL)).total == 0


@pytest.mark.parametrize("code", ["SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_NOTADB"])
async def test_nothing_is_written_to_a_damaged_store(code: str, tmp_path: Path) -> None:
    """Rule 15."""
    async with scripted(tmp_path) as (bench, script):
        script.plan = once("INSERT", Fault(code))
        with pytest.raises(StorageCorruptError):
            await bench.commit([PutSetting("a", "1")])
        assert bench.storage.damage is not None
        assert code in bench.storage.damage
        script.log.clear()
        with pytest.raises(StorageCorruptError):
            await bench.commit([PutSetting("a", "1")])
        assert script.log == []
        assert await bench.storage.settings() == {}


async def test_a_read_that_finds_damage_stops_the_writes(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        script.plan = lambda sql, read_only: Fault("SQLITE_CORRUPT") if read_only else None
        with pytest.raises(StorageCorruptError):
            await bench.storage.queues()
        with pytest.raises(StorageCorruptError):
            await bench.commit([PutSetting("a", "1")])


@pytest.mark.parametrize("code", TRANSIENT)
async def test_a_read_that_fails_is_for_now(code: str, tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, script):
        await bench.storage.queues()
        script.plan = lambda sql, read_only: Fault(code) if read_only else None
        for _ in range(5):
            with pytest.raises(StorageUnavailableError):
                await bench.storage.window(MAIL, NOW, 5)
        script.plan = lambda sql, read_only: None
        assert (await bench.storage.window(MAIL, NOW, 5)).due_complete


async def test_a_unit_that_makes_no_sense_leaves_no_transaction_behind(tmp_path: Path) -> None:
    async with scripted(tmp_path) as (bench, _):
        with pytest.raises(ValueError, match="minter"):
            await bench.commit([PutSetting("a", "1")], [Insert(bench.task(id="task_1"), b"{}")])
        with pytest.raises(OverflowError):
            await bench.commit([PutSetting("a", "1")], [Insert(bench.task(due_at=1 << 70), b"{}")])
        assert await bench.storage.settings() == {}
        await bench.commit([PutSetting("a", "2")])
        assert await bench.storage.settings() == {"a": "2"}


# -- not a failure, but seen in the same way ----------------------------------------------------------------
async def test_a_read_sees_one_moment_whatever_is_committed_in_its_middle(tmp_path: Path) -> None:
    """Rule 11. The commit comes right before the read's last statement."""
    async with scripted(tmp_path) as (bench, script):
        storage = bench.storage

        async def end_one() -> None:
            script.plan = Script().plan
            (task,) = (await storage.window(MAIL, NOW, 1)).due
            (started,) = await bench.commit([Start(MAIL, task.id, 1, NOW)])
            assert isinstance(started, Applied)
            after, attempt = finished(started.started[0][0], FAILED)
            await bench.commit([Update(after, Status.ACTIVE), Record(task.id, attempt)])

        async def put_off_one() -> None:
            script.plan = Script().plan
            due = await bench.stored(second)
            later = replace(due.task, due_at=NOW + 9, version=2)
            assert await bench.commit([Update(later, Status.PENDING)]) == [Applied()]

        def at(statement: str, deed: Callable[[], Awaitable[None]]) -> Callable[[str, bool], Fault | None]:
            def plan(sql: str, read_only: bool) -> Fault | None:
                if sql == statement:
                    trio.from_thread.run(deed)
                return None

            return plan

        first, _, second = await bench.put(bench.task(), bench.task(), bench.task(priority=1))
        script.plan = at(statements.ATTEMPTS, end_one)
        assert await storage.task(first.id) == StoredTask(first, b"{}", [])
        script.plan = at(page_text(Walk("queue_id", 1, (0,))), end_one)
        page = await storage.list_tasks(TaskFilter(queues=("mail",), status=Status.PENDING), limit=9)
        assert len(page.tasks) == page.total == 2
        script.plan = at(statements.UPCOMING, put_off_one)
        window = await storage.window(MAIL, NOW, 9)
        assert [entry.id for entry in window.due] == [second.id]
        assert window.upcoming == []
