"""Files that are moved or deleted under an open store, and places where one may not write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aq.errors import StorageCorruptError, StorageError
from aq.storage import open_storage
from aq.storage.changes import PutSetting
from aq.storage.conformance.bench import MAIL, NOW, Bench
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.connection import Row, StdlibConnection


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("backup.db"))
    path.with_name("backup.db").rename(path)


def folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def log_deleted(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def all_deleted(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("what", [moved, deleted, replaced, folder_moved, log_deleted, all_deleted])
async def test_nothing_is_acknowledged_once_the_files_are_gone(
    what: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "store" / "aq.db"
    path.parent.mkdir()
    async with open_storage(f"sqlite:///{path}") as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(bench.task())
        assert await storage.task(task.id) is not None  # there is a connection that reads
        what(path)
        for _ in range(2):
            with pytest.raises(StorageCorruptError, match=r"was moved or deleted: .*put it back .* restart"):
                await storage.commit([[PutSetting("a", "1")]], NOW)
        assert "moved or deleted" in str(storage.damage)
        assert (await storage.task(task.id)) is not None


async def test_a_store_that_is_put_back_is_whole(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "aq.db", tmp_path / "elsewhere.db"
    async with open_storage(f"sqlite:///{path}") as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        (task,) = await bench.put(bench.task())
        path.rename(elsewhere)
        with pytest.raises(StorageCorruptError):
            await storage.commit([[PutSetting("a", "1")]], NOW)
    elsewhere.rename(path)
    async with open_storage(f"sqlite:///{path}") as storage:
        assert await storage.task(task.id) is not None
        assert await storage.audit() == []
        assert await storage.settings() == {}  # what came too late was not written
        await storage.commit([[PutSetting("a", "1")]], NOW)


async def test_what_was_written_as_the_file_went_is_not_acknowledged(tmp_path: Path) -> None:
    path, going = tmp_path / "aq.db", [False]

    class Going(StdlibConnection):
        def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            if sql == "COMMIT" and going.pop():
                deleted(path)
            return super().execute(sql, parameters)

    async with open_sqlite(str(path), connect=Going) as storage:
        await storage.commit([[PutSetting("a", "1")]], NOW)
        going.append(True)
        with pytest.raises(StorageCorruptError, match="was moved or deleted"):
            await storage.commit([[PutSetting("b", "1")]], NOW)


# -- permissions --------------------------------------------------------------------------------------------
@pytest.fixture
def folder() -> Iterator[Path]:
    """Of somebody to whom permissions apply, as they do not to root."""
    root = os.geteuid() == 0
    place = Path(tempfile.mkdtemp())
    if root:
        os.chown(place, 65_534, 65_534)
        os.seteuid(65_534)
    try:
        yield place
    finally:
        if root:
            os.seteuid(0)
        place.chmod(0o700)
        shutil.rmtree(place)


async def made(path: Path) -> None:
    async with open_storage(f"sqlite:///{path}") as storage:
        await Bench(storage).make(MAIL)


async def refused(path: Path) -> str:
    with pytest.raises(StorageError) as told:
        async with open_storage(f"sqlite:///{path}"):
            pass
    assert str(path) in str(told.value)
    return str(told.value)


async def test_in_a_folder_that_one_may_not_write_to_no_store_is_made(folder: Path) -> None:
    os.chmod(folder, 0o500)
    assert "may not make files in" in await refused(folder / "aq.db")
    assert os.listdir(folder) == []


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o500, 0o600), (0o700, 0o400), (0o700, 0o000)])
async def test_a_store_that_one_may_not_write_to_is_refused_and_left_as_it_is(
    folder: Path, folder_mode: int, file_mode: int
) -> None:
    path = folder / "aq.db"
    await made(path)
    before = path.read_bytes()
    path.chmod(file_mode)
    os.chmod(folder, folder_mode)
    told = await refused(path)
    assert "this user may not" in told
    path.chmod(0o600)
    assert path.read_bytes() == before
    os.chmod(folder, 0o700)
    await made(folder / "other.db")
    async with open_storage(f"sqlite:///{path}") as storage:
        assert len(await storage.queues()) == 1
