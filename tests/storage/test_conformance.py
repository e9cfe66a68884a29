"""Every storage keeps every promise of aq.storage.protocol."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve

from aq.storage import open_storage
from aq.storage.conformance import CASES, DURABLE_CASES, Case
from aq.storage.conformance.bench import MAIL, NOW, Bench, expect
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.storage.watched import watched
from aq.task import Counts
from aq.totals import StorageTotals


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_memory(case: Case) -> None:
    await case(lambda: open_storage("memory:"))


@pytest.mark.parametrize("case", [*CASES, *DURABLE_CASES], ids=lambda case: case.__name__)
async def test_sqlite(case: Case, tmp_path: Path) -> None:
    await case(lambda: open_storage(f"sqlite:///{tmp_path}/aq.db"))


def test_expect_raises_whatever_the_interpreter_is_told() -> None:
    with pytest.raises(AssertionError, match="rule 7: expected 1, got 2"):
        expect(7, 2, 1)


async def two_in_line(bench: Bench) -> list[str]:
    """What an audit has to say once each counter is one too high, and each mark is the other one."""
    await bench.make(MAIL)
    head, held = await bench.put(bench.task(ordering_key="k"), bench.task(ordering_key="k"))
    return [
        "queue mail: counted 3 pending tasks, there are 2",
        "queue mail: counted 3 pending tasks due in ",
        f"queue mail: {head.id} is marked as held back by its ordering key, and is not held back",
        f"queue mail: {held.id} is not marked as held back by its ordering key, and is held back",
    ]


async def test_an_audit_of_memory_tells_what_differs() -> None:
    """Rule 19."""
    storage = MemoryStorage()
    wanted = await two_in_line(Bench(storage))
    tables = storage._tables
    tables.queues[MAIL] = evolve(tables.queues[MAIL], counts=Counts(pending=3))
    tables.minutes[MAIL][NOW // 60_000_000] += 1
    tables.held = set(tables.tasks) - tables.held
    found = await storage.audit()
    assert [text[: len(start)] for text, start in zip(found, wanted, strict=True)] == wanted


async def test_an_audit_of_sqlite_tells_what_differs(tmp_path: Path) -> None:
    """Rule 19."""
    async with open_storage(f"sqlite:///{tmp_path}/aq.db") as storage:
        wanted = await two_in_line(Bench(storage))
    with sqlite3.connect(tmp_path / "aq.db") as connection:
        connection.execute("UPDATE queues SET pending = pending + 1")
        connection.execute("UPDATE due_minutes SET pending = pending + 1")
        connection.execute("UPDATE tasks SET held = 1 - held")
    connection.close()
    async with open_storage(f"sqlite:///{tmp_path}/aq.db") as storage:
        found = await storage.audit()
    assert [text[: len(start)] for text, start in zip(found, wanted, strict=True)] == wanted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_storage_that_is_watched_is_the_same_storage(case: Case) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Storage]:
        async with open_storage("memory:") as storage:
            yield watched(storage, StorageTotals())

    await case(opened)
