"""Opening: URLs, one process at a time, files that are not ours, are newer, or are damaged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from aq.errors import StorageCorruptError, StorageError, ValidationError
from aq.storage import open_storage
from aq.storage.conformance.bench import MAIL, Bench
from aq.storage.protocol import PutSetting, TaskFilter, Traits
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.connection import StdlibConnection
from aq.storage.sqlite.schema import APPLICATION_ID, CHECKED_AT_OPEN, WAL_LIMIT, migrations

HOLDER = Path(__file__).with_name("holder.py")


def url(path: Path) -> str:
    return f"sqlite:///{path}"


async def open_and_close(path: Path) -> None:
    async with open_storage(url(path)):
        pass


# -- URLs ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postgresql://localhost/aq", "not speak"),
        ("postgres://localhost/aq", "not speak"),
        ("sqlite:///", "must be"),
        ("sqlite://aq.db", "must be"),
        ("memory", "must be"),
        ("memory://", "must be"),
        ("", "must be"),
        ("aq.db", "must be"),
    ],
)
def test_other_urls_are_refused_at_once(text: str, wanted: str) -> None:
    with pytest.raises(ValidationError, match=wanted):
        open_storage(text)


async def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path) -> None:
    async with open_storage(url(tmp_path / "a%20b?c#d.db")) as storage:
        assert storage.traits == Traits(durable=True, shared=False)
        assert (tmp_path / "a%20b?c#d.db").exists()
    async with open_storage(f"sqlite:///{_relative(tmp_path / 'relative.db')}"):
        assert (tmp_path / "relative.db").exists()
    async with open_storage("memory:") as storage:
        assert storage.traits == Traits(durable=False, shared=False)


def _relative(path: Path) -> str:
    return os.path.relpath(path)


# -- the file -----------------------------------------------------------------------------------------------
async def test_the_file_is_set_up_as_promised(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    async with open_storage(url(path)):
        connection = sqlite3.connect(path)

        def pragma(name: str) -> object:
            return connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("journal_mode") == "wal"
        assert pragma("auto_vacuum") == 2
        assert pragma("application_id") == APPLICATION_ID
        assert pragma("user_version") == len(migrations()) >= 1
        connection.close()
    assert _names(tmp_path) == ["aq.db", "aq.db.lock"]


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    """Rule 2: anything less than FULL loses acknowledged tasks with the power."""
    made = []

    def connect(path: str, *, read_only: bool = False) -> StdlibConnection:
        made.append(StdlibConnection(path, read_only=read_only))
        return made[-1]

    async with open_sqlite(str(tmp_path / "aq.db"), connect=connect):
        assert made[0].execute("PRAGMA synchronous") == [(2,)]


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("absent/aq.db", "directory .*absent does not exist"),
        ("here", "is a directory"),
        ("file/aq.db", "does not exist"),
        ("x" * 300, "cannot open"),
    ],
)
async def test_a_path_that_cannot_be(place: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=wanted):
        await open_and_close(tmp_path / place)


async def test_a_place_where_nothing_can_be_made() -> None:
    with pytest.raises(StorageError, match=r"cannot open /proc/aq\.db"):
        await open_and_close(Path("/proc/aq.db"))


async def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program"):
        await open_and_close(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n" * 1_000)
    with pytest.raises(StorageError, match=r"cannot open .*not a database"):
        await open_and_close(path)
    assert path.read_text() == "dear diary\n" * 1_000


async def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    await open_and_close(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(StorageError, match=r"newer aq \(schema 9999"):
        await open_and_close(path)


async def test_a_failed_opening_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    path.write_text("nonsense " * 500)
    with pytest.raises(StorageError):
        await open_and_close(path)
    path.unlink()
    await open_and_close(path)


# -- one process at a time ----------------------------------------------------------------------------------
async def test_one_process_cannot_open_it_twice(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    (tmp_path / "link.db").symlink_to(path)
    async with open_storage(url(path)):
        for name in (path, tmp_path / "link.db"):
            with pytest.raises(StorageError, match=f"in use by process {os.getpid()}; one process"):
                await open_and_close(name)
    await open_and_close(path)


async def test_a_killed_process_leaves_its_commits_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    command = [sys.executable, str(HOLDER), url(path)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        said = b""
        while not said.endswith(b"\n"):
            chunk = await process.stdout.receive_some()
            assert chunk, "the holder ended"
            said += chunk
        with pytest.raises(StorageError, match=f"in use by process {process.pid}; one process at a time"):
            await open_and_close(path)
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()
    async with open_storage(url(path)) as storage:
        assert await storage.settings() == {"by": "the holder"}


# -- damage -------------------------------------------------------------------------------------------------
async def filled(path: Path, payload: int, tasks: int) -> None:
    async with open_storage(url(path)) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        for _ in range(tasks):
            await bench.put(bench.task(), payload=bytes(payload))


def damage(path: Path) -> None:
    """Zeroes over a leaf page of the index of lists."""
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = 'tasks_by_environment' AND pagetype = 'leaf'"
    )
    page = found.fetchall()[0][0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(64))


async def test_damage_is_found_when_a_store_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    await filled(path, payload=10, tasks=20)
    damage(path)
    async with open_storage(url(path)) as storage:
        assert storage.damage is not None
        with pytest.raises(StorageCorruptError, match="nothing is written"):
            await storage.commit([[PutSetting("a", "1")]], 1)
        assert (await storage.queues())[0].counts.pending == 20


async def test_damage_of_a_large_store_is_found_beside_its_use(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    await filled(path, payload=8 << 20, tasks=1 + CHECKED_AT_OPEN // (8 << 20))
    assert path.stat().st_size > CHECKED_AT_OPEN
    damage(path)
    async with open_sqlite(str(path)) as storage:
        await storage.checked()
        assert storage.damage is not None
        with pytest.raises(StorageCorruptError):
            await storage.commit([[PutSetting("a", "1")]], 1)
    async with open_sqlite(str(path)):
        """Closed at once: the check gives up."""


# -- the write-ahead log ------------------------------------------------------------------------------------
async def test_the_log_stays_bounded_under_writes_and_endless_reads(tmp_path: Path) -> None:
    """Somebody reads at every moment (each read short), so the log never starts anew by itself."""
    path = tmp_path / "aq.db"
    log = tmp_path / "aq.db-wal"
    megabyte, most = 1 << 20, 0
    async with open_storage(url(path)) as storage, trio.open_nursery() as nursery:
        bench = Bench(storage)
        await bench.make(MAIL)
        nursery.start_soon(_read_without_a_gap, path)
        for _ in range(2 * WAL_LIMIT // megabyte):
            await bench.put(bench.task(), payload=bytes(megabyte))
            most = max(most, log.stat().st_size)
        assert (await storage.list_tasks(TaskFilter(), limit=1)).total == 2 * WAL_LIMIT // megabyte
        nursery.cancel_scope.cancel()
    assert WAL_LIMIT / 2 < most < WAL_LIMIT + 3 * megabyte


async def _read_without_a_gap(path: Path) -> None:
    """Of two connections at least one is in a snapshot, at every moment."""

    def begin(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM tasks").fetchall()

    one, other = (sqlite3.connect(path, isolation_level=None, check_same_thread=False) for _ in range(2))
    try:
        begin(one)
        while True:
            await trio.to_thread.run_sync(begin, other)
            await trio.to_thread.run_sync(one.execute, "COMMIT")
            one, other = other, one
    finally:
        one.close()
        other.close()
