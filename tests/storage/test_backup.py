"""A copy of a store: of one moment, whole, nobody else's, and never in the place of what is needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from aq.errors import StorageError, ValidationError
from aq.opening import open_engine
from aq.storage import backup_of, open_storage
from aq.storage.sqlite.backup import Backup
from aq.storage.sqlite.connection import Row, SqliteError, StdlibConnection
from aq.task import NewTask, Status
from tests.engine.support import Receiver, submit_many


async def test_a_copy_of_a_store_in_use_holds_what_was_acknowledged_before(tmp_path: Path) -> None:
    store, copy = f"sqlite:///{tmp_path}/aq.db", tmp_path / "copy.db"
    async with open_engine(store, runner=Receiver()) as engine:
        tasks = [*await submit_many(engine, 20), *await submit_many(engine, 20, delay=3_600)]
        for task in tasks[:20]:
            await engine.wait(task.id)
        size = backup_of(store, str(copy)).run()
        after = await engine.submit(NewTask("q", "http://a.example/", delay=60))
    assert size == copy.stat().st_size
    assert copy.stat().st_mode & 0o777 == 0o600
    async with open_storage(f"sqlite:///{copy}") as copied:
        assert copied.damage is None
        assert await copied.audit() == []
        assert await copied.task(after.id) is None
    async with open_engine(f"sqlite:///{copy}", runner=Receiver()) as restored:
        assert (await restored.list(status=Status.COMPLETED)).total == 20
        assert (await restored.list(status=Status.PENDING)).total == 20
        newer = await restored.submit(NewTask("q", "http://a.example/"))
        assert newer.id > tasks[-1].id
    assert left_in(tmp_path) == {"aq.db", "aq.db.lock", "copy.db", "copy.db.lock"}


async def test_a_copy_of_a_store_after_a_hard_end_has_its_log(tmp_path: Path) -> None:
    """With what is in the write-ahead log only: nobody has folded that into the file."""
    path = tmp_path / "aq.db"
    async with open_engine(f"sqlite:///{path}", runner=Receiver()) as engine:
        task = await engine.submit(NewTask("q", "http://a.example/", delay=60))
        crashed = tmp_path / "crashed.db"
        for end in ("", "-wal"):
            shutil.copyfile(f"{path}{end}", f"{crashed}{end}")
    Backup(str(crashed), str(tmp_path / "copy.db")).run()
    async with open_storage(f"sqlite:///{tmp_path}/copy.db") as copied:
        assert await copied.task(task.id) is not None


async def made(tmp_path: Path) -> Path:
    async with open_engine(f"sqlite:///{tmp_path}/aq.db", runner=Receiver()) as engine:
        await submit_many(engine, 3)
    return tmp_path / "aq.db"


async def test_nothing_is_replaced_unless_asked_for(tmp_path: Path) -> None:
    path, target = await made(tmp_path), tmp_path / "copy.db"
    target.write_text("mine")
    with pytest.raises(StorageError, match="is there already"):
        Backup(str(path), str(target)).run()
    assert target.read_text() == "mine"
    Backup(str(path), str(target), replace=True).run()
    assert target.read_bytes().startswith(b"SQLite format 3\0")


async def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path, target = await made(tmp_path), tmp_path / "copy.db"

    class Slow(StdlibConnection):
        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            if sql.startswith("VACUUM"):
                target.write_text("mine")
            return super().execute(sql, parameters)

    with pytest.raises(StorageError, match="cannot write"):
        Backup(str(path), str(target), connect=Slow).run()
    assert target.read_text() == "mine"
    assert left_in(tmp_path) == {"aq.db", "aq.db.lock", "copy.db"}


@pytest.mark.parametrize("name", ["aq.db", "aq.db-wal", "aq.db-shm", "aq.db.lock", "link.db"])
async def test_the_store_and_what_belongs_to_it_are_never_replaced(tmp_path: Path, name: str) -> None:
    path = await made(tmp_path)
    (tmp_path / "link.db").symlink_to(path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="choose another name"):
        Backup(str(path), str(tmp_path / name), replace=True).run()
    assert path.read_bytes() == before


async def test_a_store_in_use_is_not_replaced_and_a_log_is_not_taken_over(tmp_path: Path) -> None:
    path = await made(tmp_path)
    async with open_storage(f"sqlite:///{tmp_path}/other.db"):
        for name, reason in (("other.db", "would be taken for"), ("empty.db", "in use by process")):
            if name == "empty.db":
                (tmp_path / "empty.db").hardlink_to(tmp_path / "other.db")
                (tmp_path / "empty.db.lock").hardlink_to(tmp_path / "other.db.lock")
            with pytest.raises(StorageError, match=reason):
                Backup(str(path), str(tmp_path / name), replace=True).run()


async def test_a_damaged_store_gives_no_copy(tmp_path: Path) -> None:
    path = await made(tmp_path)
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot back up"):
        Backup(str(path), str(tmp_path / "copy.db")).run()
    assert left_in(tmp_path) == {"aq.db", "aq.db.lock"}


async def test_a_copy_that_is_not_whole_is_none(tmp_path: Path) -> None:
    path = await made(tmp_path)

    class Broken(StdlibConnection):
        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            rows = super().execute(sql, parameters)
            if sql.startswith("VACUUM"):
                with open(parameters[0], "r+b") as copy:
                    copy.seek(4096)
                    copy.write(os.urandom(4096))
            return rows

    with pytest.raises(StorageError, match=r"the copy is damaged|cannot back up"):
        Backup(str(path), str(tmp_path / "copy.db"), connect=Broken).run()
    assert left_in(tmp_path) == {"aq.db", "aq.db.lock"}


async def test_it_can_be_stopped(tmp_path: Path) -> None:
    path = await made(tmp_path)
    copying, stopped = Event(), Event()

    class Endless(StdlibConnection):
        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            if not sql.startswith("VACUUM"):
                return super().execute(sql, parameters)
            copying.set()
            stopped.wait()
            raise SqliteError("SQLITE_INTERRUPT", "interrupted")

        def interrupt(self) -> None:
            stopped.set()

    backup, ends = Backup(str(path), str(tmp_path / "copy.db"), connect=Endless), list[str]()

    def run() -> None:
        try:
            backup.run()
        except StorageError as error:
            ends.append(str(error))

    thread = Thread(target=run)
    thread.start()
    copying.wait()
    backup.stop()
    thread.join()
    assert ["interrupted" in end for end in ends] == [True]
    assert left_in(tmp_path) == {"aq.db", "aq.db.lock"}


def test_what_is_on_no_disk_or_not_there_or_not_ours(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="storage"):
        backup_of("memory:", str(tmp_path / "copy.db"))
    with pytest.raises(StorageError, match="there is no store"):
        backup_of(f"sqlite:///{tmp_path}/none.db", str(tmp_path / "copy.db")).run()
    other = StdlibConnection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StorageError, match="of another program"):
        backup_of(f"sqlite:///{tmp_path}/other.db", str(tmp_path / "copy.db")).run()
    with pytest.raises(StorageError, match="cannot write"):
        backup_of(f"sqlite:///{tmp_path}/other.db", str(tmp_path / "no/copy.db")).run()
    assert not (tmp_path / "copy.db").exists()


def left_in(folder: Path) -> set[str]:
    """What is there, but for the empty log and index that a reader of a store leaves."""
    return {
        path.name
        for path in folder.iterdir()
        if not path.name.endswith("-shm") and not (path.name.endswith("-wal") and not path.stat().st_size)
    }
