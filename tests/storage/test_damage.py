"""Bytes of a store that changed behind its back: refused, told or harmless; never written over.

A real store with every kind of page is damaged in one place, of a kind and at bytes that a seed says.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
import trio
from attrs import frozen

from aq.errors import StorageCorruptError, StorageError
from aq.storage import open_storage
from aq.storage.answers import StoredTask, TaskFilter
from aq.storage.changes import Delete, PutSetting, Start
from aq.storage.conformance.bench import FAILED, MAIL, MINUTE, NOW, SANDBOX, Bench, end_of, finished
from aq.storage.protocol import Storage
from aq.task import Environment, Status

PAGE = 4096
SEEDS = int(os.environ.get("AQ_TEST_SEEDS", "60"))
WAL_HEADER, FRAME_HEADER = 32, 24


@frozen
class Whole:
    """The files of a store as they were when its process was killed, and all that was in it."""

    folder: Path
    tasks: Mapping[str, StoredTask]
    waiting: frozenset[str]
    pages: Mapping[str, list[int]]
    """Kind of page → numbers, from 1."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return trio.run(_made, tmp_path_factory.mktemp("whole"))


async def _made(folder: Path) -> Whole:
    path, copy = folder / "aq.db", folder / "copy"
    async with open_storage(f"sqlite:///{path}") as storage:
        bench = Bench(storage)
        await bench.make(MAIL, SANDBOX)
        await bench.put(*[bench.task(SANDBOX) for _ in range(20)])
        for number in range(240):
            (task,) = await bench.put(
                bench.task(
                    due_at=NOW + number % 7 * MINUTE, ordering_key=f"k{number}" if number % 3 else None
                ),
                payload=os.urandom(40 if number % 10 else 9_000),
            )
            if number % 4 == 0:
                await bench.commit([Delete(MAIL, task.id)])
            elif number % 4 == 1:
                (begun,) = await bench.commit([Start(MAIL, task.id, 1, NOW)])
                await bench.commit(end_of(*finished(begun.started[0][0], FAILED)))  # type: ignore[union-attr]
    async with open_storage(f"sqlite:///{path}") as storage:  # the log starts anew
        bench.storage = storage
        for _ in range(5):
            await bench.put(*[bench.task() for _ in range(3)])
        tasks, waiting = await _contents(storage)
        shutil.copytree(folder, copy)
    return Whole(copy, tasks, waiting, _pages(path))


async def _contents(storage: Storage) -> tuple[dict[str, StoredTask], frozenset[str]]:
    """Every task, found by the lists; and those that would run, found by the window."""
    tasks: dict[str, StoredTask] = {}
    for environment in (Environment.LIVE, Environment.TEST):
        for status in Status:
            which, before = TaskFilter(environment, status=status), None
            while True:
                page = await storage.list_tasks(which, limit=100, before=before)
                for task in page.tasks:
                    if (stored := await storage.task(task.id)) is not None:
                        tasks[task.id] = stored
                if (before := page.more) is None:
                    break
    window = await storage.window(MAIL, NOW, 10_000)
    return tasks, frozenset(entry.id for entry in [*window.due, *window.upcoming])


def _pages(path: Path) -> dict[str, list[int]]:
    connection = sqlite3.connect(path)
    pages: dict[str, list[int]] = {}
    for name, kind, number in connection.execute("SELECT name, pagetype, pageno FROM dbstat"):
        is_index = "_by_" in name or name.startswith(("tasks_", "sqlite_auto"))
        pages.setdefault(f"{'index' if is_index else 'table'} {kind}", []).append(number)
    count = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    used = {number for numbers in pages.values() for number in numbers}
    pages["free or map"] = [number for number in range(2, count + 1) if number not in used]
    return pages


def hurt(whole: Whole, folder: Path, random: Random) -> str:
    """Damage one place; which kind it is of."""
    db, log = folder / "aq.db", folder / "aq.db-wal"
    kinds = [*whole.pages, "header", "truncated"]
    if random.random() < 0.5:
        sqlite3.connect(db).execute(
            "PRAGMA wal_checkpoint(TRUNCATE)"
        ).connection.close()  # as a clean end does
    else:
        kinds += ["log header", "log frame", "log truncated"]
    kind = random.choice(kinds)
    if kind == "truncated":
        os.truncate(db, random.randrange(1, db.stat().st_size))
    elif kind == "log truncated":
        os.truncate(log, random.randrange(1, log.stat().st_size))
    elif kind == "header":
        scribble(db, 0, 100, random)
    elif kind == "log header":
        scribble(log, 0, WAL_HEADER, random)
    elif kind == "log frame":
        frame = FRAME_HEADER + PAGE
        frames = (log.stat().st_size - WAL_HEADER) // frame
        scribble(log, WAL_HEADER + random.randrange(frames) * frame, frame, random)
    else:
        scribble(db, (random.choice(whole.pages[kind]) - 1) * PAGE, PAGE, random)
    return kind


def scribble(path: Path, start: int, size: int, random: Random) -> None:
    """Other bytes, from one to all of a stretch."""
    length = random.choice((1, 1, 4, 64, size))
    begin = start + random.randrange(size - min(length, size) + 1)
    with path.open("r+b") as file:
        file.seek(begin)
        before = file.read(min(length, size))
        file.seek(begin)
        file.write(
            bytes(byte ^ random.randrange(1, 256) for byte in before) if length < size else bytes(size)
        )


UNSEEN = ("table leaf", "table overflow", "table internal")
"""SQLite keeps no checksum of a page: other bytes within a value are another value."""


async def outcome(whole: Whole, folder: Path, kind: str) -> str:
    """What became of a damaged store; asserts what must hold of each outcome."""
    files, refusal = _bytes(folder), "newer aq"
    try:
        async with open_storage(f"sqlite:///{folder}/aq.db") as storage:
            if storage.damage is None:
                return await _sound(whole, storage, kind)
            with pytest.raises(StorageCorruptError, match="nothing is written to it"):
                await storage.commit([[PutSetting("a", "1")]], NOW)
            told = "told"
            try:
                assert (await storage.queues())[0].key == MAIL
            except StorageCorruptError:
                told = "told, and unreadable"
    except StorageError as error:
        told, refusal = "refused", str(error)
    assert any(text in refusal for text in ("nothing was written to it", "newer aq", "another program"))
    assert _bytes(folder) == files
    return told


def _bytes(folder: Path) -> dict[str, bytes]:
    """Of the store and its log; the index of the log is made anew by whoever opens it."""
    files = {name: folder / name for name in ("aq.db", "aq.db-wal")}
    return {name: path.read_bytes() if path.exists() else b"" for name, path in files.items()}


async def _sound(whole: Whole, storage: Storage, kind: str) -> str:
    """Nothing was said at the opening: all is there, or the audit or the first touch says what is not."""
    try:
        if await storage.audit():
            return "found by the audit"
        tasks, waiting = await _contents(storage)
    except StorageCorruptError:
        assert storage.damage is not None
        return "found at first touch"
    if kind in UNSEEN and tasks != whole.tasks:
        return "another value"
    if kind in ("log frame", "log truncated") and len(tasks) < len(whole.tasks):
        return "the end of the log is gone"
    assert tasks == whole.tasks
    assert waiting == whole.waiting
    return "harmless"


async def test_damage_is_refused_told_found_or_harmless_and_never_written_over(
    whole: Whole, tmp_path: Path
) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        shutil.copytree(whole.folder, folder)
        kind = hurt(whole, folder, Random(seed))
        outcomes[await outcome(whole, folder, kind)] += 1
        shutil.rmtree(folder)
    assert outcomes["told"] + outcomes["refused"] > SEEDS / 4
    assert outcomes["another value"] + outcomes["the end of the log is gone"] < SEEDS / 4


@pytest.mark.parametrize("name", ["aq.db", "gone"])
async def test_a_log_without_its_store_is_not_thrown_away(whole: Whole, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "store"
    shutil.copytree(whole.folder, folder)
    log = (folder / "aq.db-wal").read_bytes()
    os.truncate(folder / "aq.db", 0)
    if name == "gone":
        (folder / "aq.db").unlink()
    with pytest.raises(StorageError, match="put the file back"):
        async with open_storage(f"sqlite:///{folder}/aq.db"):
            pass
    assert (folder / "aq.db-wal").read_bytes() == log


async def test_a_commit_under_way_when_the_machine_stopped_is_no_damage(whole: Whole, tmp_path: Path) -> None:
    """Of the last commit some frames are there and some not; before, a log from its beginning."""
    for size in range(WAL_HEADER, (whole.folder / "aq.db-wal").stat().st_size, 7 * PAGE + 999):
        folder = tmp_path / str(size)
        shutil.copytree(whole.folder, folder)
        os.truncate(folder / "aq.db-wal", size)
        async with open_storage(f"sqlite:///{folder}/aq.db") as storage:
            assert storage.damage is None
            assert await storage.audit() == []
            await storage.commit([[PutSetting("a", "1")]], NOW)


async def test_rests_of_two_commits_under_way_are_no_damage(whole: Whole, tmp_path: Path) -> None:
    """The first frame of one was lost with the power, then that of a shorter one written over it.

    By plain SQLite, which goes on where the log is readable to, as an earlier version of aq did.
    """
    place, folder = (whole.folder / "aq.db-wal").stat().st_size, whole.folder
    for number, size in enumerate((40 * PAGE, 1)):
        at = shutil.copytree(folder, tmp_path / str(number))
        connection = sqlite3.connect(at / "aq.db", isolation_level=None)
        connection.execute("BEGIN")
        connection.execute("INSERT INTO settings VALUES ('a', ?)", ("x" * size,))
        connection.execute("UPDATE meta SET commit_number = 0")
        connection.execute("COMMIT")
        folder = shutil.copytree(at, tmp_path / f"cut-{number}")
        connection.close()
        with (folder / "aq.db-wal").open("r+b") as log:
            log.seek(place)
            log.write(bytes(FRAME_HEADER + PAGE))
    async with open_storage(f"sqlite:///{folder}/aq.db") as storage:
        assert storage.damage is None
        assert "a" not in await storage.settings()
        assert await storage.audit() == []


async def test_what_was_not_there_after_a_cut_does_not_come_back_after_the_next(
    whole: Whole, tmp_path: Path
) -> None:
    """Of two commits that are cut the first pages are the same: the rest of one would go with the other."""
    frame, one, other = FRAME_HEADER + PAGE, tmp_path / "one", tmp_path / "other"
    place = (whole.folder / "aq.db-wal").stat().st_size
    shutil.copytree(whole.folder, one)
    async with open_storage(f"sqlite:///{one}/aq.db") as storage:
        await storage.commit([[PutSetting("a", "1")]], NOW)
        log = (one / "aq.db-wal").read_bytes()
        shutil.copytree(one, other)
    (other / "aq.db-wal").write_bytes(log[:place] + bytes(frame) + log[place + frame :])
    async with open_storage(f"sqlite:///{other}/aq.db") as storage:
        assert "a" not in await storage.settings()
        before = (other / "aq.db-wal").read_bytes()
        await storage.commit([[PutSetting("b", "1")]], NOW)
        after = (other / "aq.db-wal").read_bytes()
        cut = shutil.copytree(other, tmp_path / "cut")
    (cut / "aq.db-wal").write_bytes(after[:-frame] + before[len(after) - frame :])  # its last page was lost
    async with open_storage(f"sqlite:///{cut}/aq.db") as storage:
        assert storage.damage is None
        assert not {"a", "b"} & set(await storage.settings())
        assert await storage.audit() == []
