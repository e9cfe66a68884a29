"""What cuts have found, each by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from aq.errors import StorageError
from aq.storage.sqlite import open_sqlite
from tests.engine.support import inline
from tests.powercut.judge import sound
from tests.powercut.machine import STORE, Machine, Moment, NoPowerError, running
from tests.powercut.platter import Delete

JOURNAL = f"{STORE}-journal"


async def test_a_cut_while_a_file_becomes_a_store_is_undone_by_the_next_opening(tmp_path: Path) -> None:
    """Until it has its write-ahead log a file has a journal, which reading alone cannot roll back."""

    def plan(moment: Moment | None) -> None:
        if moment is not None and isinstance(moment.operation, Delete):
            raise NoPowerError

    with running(Machine(tmp_path / STORE, plan=plan)) as machine, pytest.raises(StorageError):
        async with open_sqlite(str(machine.path), connect=machine.connect, hop=inline):
            pass
    files = {name: (tmp_path / name).read_bytes() for name in (STORE, JOURNAL)}
    assert all(files.values())
    async with sound(files, tmp_path / "next"):
        pass
