"""``aq doctor``: counters that drifted from the truth are found, however that came about."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import trio
from click.testing import CliRunner, Result

from aq.cli import main
from aq.delivery.protocol import Delivery
from aq.opening import open_engine
from aq.outcome import Outcome
from aq.task import NewTask


async def never(delivery: Delivery) -> Outcome:
    await trio.sleep_forever()


async def fill(path: Path) -> None:
    async with open_engine(f"sqlite:///{path}", runner=never, grace=0) as engine:
        for number in range(5):
            await engine.submit(NewTask("q", "http://a.example/", delay=60 * number))


def doctor(path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--storage", f"sqlite:///{path}", *options])


def test_a_store_after_a_hard_end_is_true(tmp_path: Path) -> None:
    trio.run(fill, tmp_path / "aq.db")
    result = doctor(tmp_path / "aq.db")
    assert (result.exit_code, result.stdout) == (
        0,
        "all is true: counters and marks agree with every task\n",
    )


def test_a_counter_that_drifted_is_told(tmp_path: Path) -> None:
    trio.run(fill, tmp_path / "aq.db")
    with sqlite3.connect(tmp_path / "aq.db") as connection:
        connection.execute("UPDATE queues SET pending = pending + 1")
    connection.close()
    result = doctor(tmp_path / "aq.db", "--json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert "pending" in problem
    assert "q" in problem


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = doctor(tmp_path / "none.db")
    assert result.exit_code == 1
    assert "there is no store at" in result.output
    assert "--storage names another" in result.output
    assert not (tmp_path / "none.db").exists()
