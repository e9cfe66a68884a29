"""Every statement is an index walk, on an empty store and on one whose statistics SQLite knows."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from aq.storage import open_storage
from aq.storage.conformance.bench import MAIL, SANDBOX, Bench
from aq.storage.sqlite import statements
from aq.storage.sqlite.statements import Bulk
from aq.task import Environment, QueueKey, Status

WHOLE_TABLES = {"QUEUE_IDS": "queues", "SETTINGS": "settings"}
"""Reads of everything in a table that holds little."""
READS = {
    **{name: text for name, text in vars(statements).items() if str(text).startswith("SELECT")},
    **{f"PAGES[{column}, {which}]": text for (column, which), text in statements.PAGES.items()},
}
WRITES = {
    **{name: bulk.text(3) for name, bulk in vars(statements).items() if isinstance(bulk, Bulk)},
    **{f"DELETE_TASKS[{place}]": text for place, text in enumerate(statements.DELETE_TASKS)},
    "DELETE_QUEUE": statements.DELETE_QUEUE,
    "RAISE_META": statements.RAISE_META,
}


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    parameters = [None] * (max(numbered) if numbered else sql.count("?"))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]


@pytest.fixture
async def stores(tmp_path: Path) -> list[Path]:
    empty, full = tmp_path / "empty.db", tmp_path / "full.db"
    async with open_storage(f"sqlite:///{empty}"), open_storage(f"sqlite:///{full}") as storage:
        bench = Bench(storage)
        await bench.make(MAIL, SANDBOX, *(QueueKey(Environment.LIVE, f"q{number}") for number in range(50)))
        statuses = [Status.PENDING, *Status]
        for place in range(400):
            key = SANDBOX if place % 7 == 0 else MAIL
            await bench.put(bench.task(key, status=statuses[place % 5], priority=1 + place % 3))
    with sqlite3.connect(full) as connection:
        connection.execute("ANALYZE")
    connection.close()
    return [empty, full]


async def test_no_statement_walks_a_table_or_sorts(stores: list[Path]) -> None:
    assert len(READS) > 20
    assert len(WRITES) > 10
    for store in stores:
        connection = sqlite3.connect(store)
        for name, sql in {**READS, **WRITES}.items():
            steps = plan(connection, sql)
            assert not [step for step in steps if "TEMP B-TREE" in step], (name, steps)
            scans = [
                step
                for step in steps
                if re.match(r"SCAN (tasks|payloads|attempts|queues|settings|meta|[tp])\b", step)
            ]
            assert len(scans) == (name in WHOLE_TABLES), (name, steps)
        connection.close()


async def test_lists_and_windows_walk_their_index_to_the_place_asked_for(stores: list[Path]) -> None:
    """A walk of rows by sequence would be no "scan" either, and pass over every task of other queues."""
    wanted = {
        "DUE": "INDEX tasks_due (queue_id=? AND priority=? AND due_at<?)",
        "UPCOMING": "INDEX tasks_upcoming (queue_id=? AND due_at>?)",
        "ACTIVE": "COVERING INDEX tasks_by_queue (queue_id=? AND status=?)",
        "FINISHED": "COVERING INDEX tasks_by_queue (queue_id=? AND status=?)",
        "PAGES[queue_id": "COVERING INDEX tasks_by_queue (queue_id=? AND status=? AND seq<?)",
        "PAGES[environment": "COVERING INDEX tasks_by_environment (environment=? AND status=? AND seq<?)",
    }
    for store in stores:
        connection = sqlite3.connect(store)
        for name, sql in READS.items():
            walks = [step for step in plan(connection, sql) if step.startswith("SEARCH tasks ")]
            index = wanted.get(name.partition(",")[0])
            assert all(step == f"SEARCH tasks USING {index}" for step in walks), (name, walks)
            assert bool(walks) == (index is not None), name
        connection.close()


def test_a_bulk_of_any_size_is_written_whole() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE numbers (a, b)")
    steps = []

    class Counting:
        def execute(self, sql: str, parameters: list[int]) -> list[tuple[int, ...]]:
            steps.append(sql)
            return connection.execute(sql, parameters).fetchall()

    bulk = Bulk("INSERT INTO numbers", 2)
    for size in (0, 1, 3, 4, 63, 64, 65, 150):
        steps.clear()
        connection.execute("DELETE FROM numbers")
        bulk.run(Counting(), [(number, -number) for number in range(size)])  # type: ignore[arg-type]
        found = connection.execute("SELECT a, b FROM numbers ORDER BY a").fetchall()
        assert found == [(number, -number) for number in range(size)]
        assert len(steps) <= size // 64 + 9
    connection.close()
