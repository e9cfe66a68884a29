"""Opening: URLs, one process at a time, files that are not ours, are newer, or are damaged."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from aq.errors import StorageCorruptError, StorageError, ValidationError
from aq.ids import sequence_of
from aq.outcome import ErrorType
from aq.policy import Backoff, QueuePolicy
from aq.storage import open_storage
from aq.storage.answers import Applied, Backlog, TaskFilter
from aq.storage.changes import PutSetting, Start, Sweep
from aq.storage.conformance.bench import MAIL, MINUTE, NOW, SANDBOX, Bench, entry
from aq.storage.protocol import Traits
from aq.storage.sqlite import open_sqlite, writer
from aq.storage.sqlite.connection import StdlibConnection
from aq.storage.sqlite.lock import StoreLock
from aq.storage.sqlite.schema import APPLICATION_ID, CHECKED_AT_OPEN, WAL_LIMIT, migrations
from aq.task import Environment, FailureReason, Status, Task

from .scripted import Fault, Script, once

HOLDER = Path(__file__).with_name("holder.py")


def url(path: Path) -> str:
    return f"sqlite:///{path}"


PROBE = """
import fcntl, sys
with open(sys.argv[1], "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
"""
"""Takes the byte of the log's index that every process with an open connection holds a part of."""


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
        assert pragma("user_version") == len(migrations()) >= 2
        connection.close()
    assert _names(tmp_path) == ["aq.db", "aq.db.lock"]


async def test_to_open_and_close_a_store_changes_no_byte_of_it(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    async with open_storage(url(path)) as storage:
        await storage.commit([[PutSetting("a", "b")]], NOW)
    before = path.read_bytes()
    await open_and_close(path)
    assert path.read_bytes() == before


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


async def test_what_is_made_is_for_its_owner_only(tmp_path: Path, wide_open: None) -> None:
    """Payloads, headers and signing secrets are in it as they are."""
    path = tmp_path / "aq.db"
    async with open_storage(url(path)) as storage:
        await storage.commit([[PutSetting("a", "b")]], NOW)
        assert _names(tmp_path) == ["aq.db", "aq.db-shm", "aq.db-wal", "aq.db.lock"]
        assert {name: oct(_mode(tmp_path / name)) for name in _names(tmp_path)} == dict.fromkeys(
            _names(tmp_path), "0o600"
        )


async def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path, wide_open: None) -> None:
    """Who lets a group read it, for backups say, has said so."""
    path = tmp_path / "aq.db"
    path.touch(0o640)
    await open_and_close(path)
    assert _mode(path) == 0o640


def _mode(path: Path) -> int:
    return os.stat(path).st_mode & 0o777


@pytest.fixture
def wide_open() -> Iterator[None]:
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    """Rule 2: anything less than FULL loses acknowledged tasks with the power."""
    made = []

    def connect(path: str, *, read_only: bool = False) -> StdlibConnection:
        connection = StdlibConnection(path, read_only=read_only)
        made.extend([] if read_only else [connection])
        return connection

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


# -- a store of version 1 -----------------------------------------------------------------------------------
OLD_TASK = (
    "INSERT INTO tasks VALUES ({seq}, '{id}', {environment}, {queue}, {status}, {version}, 5, {due},"
    " 'https://example.com', NULL, 'https://example.com/hooks?x=1', 0, {created}, NULL, NULL, NULL,"
    " {attempt}, {failures}, 0, NULL, {finished}, {reason})"
)


def write_version_1(path: Path, tasks: list[Task]) -> None:
    """As the first version left it, with an attempt for each task that failed."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.executescript(migrations()[0].sql)
    policy = '{"max_retries":7,"retry_backoff":"fixed","timeout":5,"concurrency":3,"paused":false}'
    for number, (environment, name) in enumerate([(0, "mail"), (1, "mail")], start=1):
        counts = [
            sum(task.status is status and _rank(task) == environment for task in tasks) for status in Status
        ]
        queue = (number, environment, name, policy, 2, NOW, *counts)
        connection.execute("INSERT INTO queues VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", queue)
    for task in tasks:
        seq = sequence_of(task.id)
        fields = {
            "seq": seq,
            "id": task.id,
            "environment": _rank(task),
            "queue": _rank(task) + 1,
            "status": list(Status).index(task.status),
            "version": task.version,
            "due": task.due_at,
            "created": task.created_at,
            "attempt": task.attempt,
            "failures": task.failures,
            "finished": task.finished_at or "NULL",
            "reason": f"'{task.failure_reason}'" if task.failure_reason else "NULL",
        }
        connection.execute(OLD_TASK.format(**fields))
        connection.execute("INSERT INTO payloads VALUES (?, ?)", (seq, b"{}"))
        for number in range(1, task.attempt + 1):
            error = "dns" if number == task.attempt else "timeout"
            attempt = (seq, number, "error", NOW, 1, 2, None, error, "no", None, None)
            connection.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", attempt)
    connection.execute(f"UPDATE meta SET now = {NOW}, sequence = {sequence_of(tasks[-1].id)}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()


def _rank(task: Task) -> int:
    return int(task.queue.environment is Environment.TEST)


async def test_a_store_of_version_1_is_taken_over_with_all_that_is_in_it(tmp_path: Path) -> None:
    async with open_storage("memory:") as memory:
        bench = Bench(memory)
    waiting = [bench.task(due_at=NOW + place * MINUTE) for place in range(3)]
    tasks = [
        *waiting,
        bench.task(SANDBOX, due_at=-1),
        bench.task(attempt=2, failures=2, version=5),
        *(
            bench.task(
                status=Status.FAILED,
                failure_reason=FailureReason.EXHAUSTED,
                attempt=2,
                failures=2,
                version=5,
                finished_at=NOW - place,
            )
            for place in range(2)
        ),
        bench.task(status=Status.COMPLETED, finished_at=NOW, version=3),
    ]
    path = tmp_path / "aq.db"
    write_version_1(path, tasks)
    for _ in range(2):
        async with open_storage(url(path)) as storage:
            assert list(await storage.audit()) == []
            for task in tasks:
                found = await storage.task(task.id)
                assert found is not None
                assert found.task == replace(task, error_type=ErrorType.DNS if task.attempt else None)
                assert len(found.attempts) == task.attempt
            queue = await storage.queue(MAIL)
            assert queue is not None
            assert queue.policy == QueuePolicy(
                max_retries=7, retry_backoff=Backoff.FIXED, timeout=5, concurrency=3
            )
            assert (queue.counts.pending, queue.counts.failed, queue.version) == (4, 2, 2)
            assert await storage.backlogs(Environment.LIVE, NOW) == {"mail": Backlog(2, NOW)}
            window = await storage.window(MAIL, NOW, 9, ["https://example.com"], 9)
            assert window.due == []
            apart = window.aside["https://example.com"].due
            assert list(apart) == [entry(waiting[0]), entry(tasks[4])]
            assert [one.id for one in window.upcoming] == [task.id for task in waiting[1:]]
            dns = TaskFilter(error_type=ErrorType.DNS, status=Status.FAILED)
            assert await storage.count_tasks(dns) == 2
    async with open_storage(url(path)) as storage:
        (swept, begun) = await storage.commit([[Sweep(MAIL, 1)], [Start(MAIL, waiting[0].id, 1, NOW)]], NOW)
        assert isinstance(swept, Applied)
        assert swept.removed == (tasks[6].id,), "the one that finished first"
        assert isinstance(begun, Applied)
        assert list(await storage.audit()) == []


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


# -- what is counted and marked (rule 19) -------------------------------------------------------------------
async def test_the_audit_tells_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "aq.db"
    async with open_storage(url(path)) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        head, held, free = await bench.put(
            bench.task(ordering_key="a"), bench.task(ordering_key="a"), bench.task(due_at=NOW + 5 * MINUTE)
        )
        assert list(await storage.audit()) == []
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE queues SET failed = 1200")
        connection.execute("UPDATE due_minutes SET pending = 7 WHERE pending = 2")
        connection.execute("DELETE FROM due_minutes WHERE pending = 1")
        connection.execute("UPDATE tasks SET held = NOT held WHERE ordering_key IS NOT NULL")
    connection.close()
    async with open_storage(url(path)) as storage:
        assert list(await storage.audit()) == [
            "queue mail: counted 1,200 failed tasks, there are 0",
            "queue mail: counted 7 pending tasks due in the minute 2027-01-15T08:00Z, there are 2",
            "queue mail: counted 0 pending tasks due in the minute 2027-01-15T08:05Z, there are 1",
            f"queue mail: {head.id} is marked as held back by its ordering key, and is not held back",
            f"queue mail: {held.id} is not marked as held back by its ordering key, and is held back",
        ]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET held = NOT held WHERE ordering_key IS NOT NULL")
        connection.execute("UPDATE tasks SET queue_id = 9 WHERE id = ?", (free.id,))
    connection.close()
    async with open_storage(url(path)) as storage:
        found = list(await storage.audit())
        assert "a queue that is not there (number 9): counted 0 pending tasks, there are 1" in found


async def test_after_a_failed_sync_the_log_is_written_again(tmp_path: Path) -> None:
    """The lock file says so until it is done; nothing in the log changes by it."""
    script = Script()
    async with open_sqlite(str(tmp_path / "aq.db"), connect=script.connect) as storage:
        await storage.commit([[PutSetting("a", "1")]], 1)
        for name in ("aq.db", "aq.db-wal"):
            (tmp_path / f"left-{name}").write_bytes((tmp_path / name).read_bytes())
        script.plan = once("COMMIT", Fault("SQLITE_IOERR_FSYNC"))
        with pytest.raises(StorageError, match="uncertain"):
            await storage.commit([[PutSetting("a", "2")]], 1)
    (tmp_path / "left-aq.db.lock").write_bytes((tmp_path / "aq.db.lock").read_bytes())
    left = str(tmp_path / "left-aq.db")
    for times in (1, 1):
        async with open_sqlite(left, connect=script.connect) as storage:
            assert await storage.settings() == {"a": "1"}
            assert script.log.count("rewrite the log") == times


# -- pages given back ---------------------------------------------------------------------------------------
async def test_swept_pages_go_back_to_the_system_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SPARE_PAGES", 100)
    path = tmp_path / "aq.db"
    async with open_storage(url(path)) as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        for _ in range(10):
            tasks = [bench.task(status=Status.FAILED, finished_at=NOW) for _ in range(100)]
            await bench.put(*tasks, payload=bytes(9_000))
        largest = _pages(path)
        assert largest > 2_000
        before = largest
        for _ in range(10):
            await bench.commit([Sweep(MAIL, 100)])
            after = _pages(path)
            assert before - 256 <= after <= before
            before = after
        assert after < largest - 1_500
        assert (await storage.list_tasks(TaskFilter(), limit=1)).total == 0


def _pages(path: Path) -> int:
    connection = sqlite3.connect(path)
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    return pages


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


async def test_other_programs_see_that_the_store_is_in_use(tmp_path: Path) -> None:
    """By SQLite's own locks, which a process loses with the first descriptor of the file that it closes."""
    path = tmp_path / "aq.db"
    await open_and_close(path)
    async with open_storage(url(path)) as storage:
        await storage.commit([[PutSetting("a", "1")]], NOW)
        command = [sys.executable, "-c", PROBE, f"{path}-shm"]
        taken = await trio.run_process(command, check=False, capture_stderr=True)
        assert b"BlockingIOError" in taken.stderr


def test_a_lock_that_cannot_be_written_loses_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk, say: what it is there for, the lock and the mark, needs no space."""

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = str(tmp_path / "aq.db")
    lock = StoreLock(path)
    lock.sync_failed()
    lock.release()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        lock = StoreLock(path)
        assert lock.not_synced
        lock.sync_failed()
        lock.release()
    lock = StoreLock(path)
    assert lock.not_synced
    lock.synced()
    lock.release()
    lock = StoreLock(path)
    assert not lock.not_synced
    lock.release()
    assert "No space left" in caplog.text
