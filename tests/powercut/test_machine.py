"""The storage on apsw's SQLite and on a machine keeps the same promises, and names errors alike."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from aq.storage.conformance import CASES, DURABLE_CASES, Case
from aq.storage.sqlite import open_sqlite
from aq.storage.sqlite.connection import Connection, SqliteError, StdlibConnection
from tests.engine.support import inline
from tests.powercut.connection import ApswConnection
from tests.powercut.life import FIRST
from tests.powercut.machine import Machine, Moment, NoPowerError, running
from tests.powercut.platter import Sync
from tests.storage.deeds import Deed
from tests.storage.model import Model
from tests.storage.test_differential import compare


@pytest.mark.parametrize("case", [*CASES, *DURABLE_CASES], ids=lambda case: case.__name__)
async def test_a_storage_on_a_machine_keeps_its_promises(case: Case, tmp_path: Path) -> None:
    with running(Machine(tmp_path / "aq.db")) as machine:
        await case(lambda: open_sqlite(str(machine.path), connect=machine.connect, hop=inline))


@pytest.mark.parametrize("case", [*CASES, *DURABLE_CASES], ids=lambda case: case.__name__)
async def test_a_storage_on_apsw_in_threads_keeps_its_promises(case: Case, tmp_path: Path) -> None:
    await case(lambda: open_sqlite(str(tmp_path / "aq.db"), connect=ApswConnection))


@pytest.mark.parametrize("seed", range(2))
async def test_a_storage_on_a_machine_and_the_model_agree(seed: int, tmp_path: Path) -> None:
    model = Model()
    deed = Deed(seed, model)
    with running(Machine(tmp_path / "aq.db")) as machine:
        for _ in range(4):
            async with open_sqlite(str(machine.path), connect=machine.connect, hop=inline) as storage:
                for _ in range(10):
                    units = deed.units() if model.state.queues else FIRST
                    assert list(await storage.commit(units, deed.now)) == model.commit(units, deed.now)
                    await compare(storage, model, Random(seed), deed.seen, deed.now)


WRONG = {
    "SELECT nothing": "SQLITE_ERROR",
    "INSERT INTO t VALUES (1)": "SQLITE_CONSTRAINT_PRIMARYKEY",
    "INSERT INTO t VALUES ('x')": "SQLITE_MISMATCH",
    "COMMIT": "SQLITE_ERROR",
}


@pytest.mark.parametrize("connect", [StdlibConnection, ApswConnection])
def test_errors_have_the_same_names(connect: type[StdlibConnection | ApswConnection], tmp_path: Path) -> None:
    db: Connection = connect(str(tmp_path / "aq.db"))
    db.script("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT; INSERT INTO t VALUES (1);")
    for sql, code in WRONG.items():
        with pytest.raises(SqliteError) as caught:
            db.execute(sql)
        assert caught.value.code == code
    reader: Connection = connect(str(tmp_path / "aq.db"), read_only=True)
    with pytest.raises(SqliteError) as caught:
        reader.execute("DELETE FROM t")
    assert caught.value.code == "SQLITE_READONLY"
    reader.close()
    db.close()
    with pytest.raises(SqliteError) as caught:
        connect(str(tmp_path / "nowhere" / "aq.db"))
    assert caught.value.code.startswith("SQLITE_CANTOPEN")


def test_from_its_cut_on_a_machine_does_nothing(tmp_path: Path) -> None:
    def plan(moment: Moment | None) -> None:
        if moment is not None and isinstance(moment.operation, Sync):
            raise NoPowerError

    done: list[Moment] = []
    went_off: list[bool] = []
    machine = Machine(tmp_path / "aq.db", done=done.append, off=lambda: went_off.append(True))
    with running(machine):
        db = machine.connect(str(machine.path))
        db.script("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
        number = len(done)
        machine.plan = plan
        with pytest.raises(SqliteError):
            db.execute("INSERT INTO t VALUES (1)")
        assert any(moment.kind == "log write" for moment in done[number:])
        number = len(done)
        with pytest.raises(SqliteError):
            db.execute("INSERT INTO t VALUES (2)")
        db.close()
    assert len(done) == number
    assert went_off == [True]
