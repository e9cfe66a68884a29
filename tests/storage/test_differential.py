"""Random operations: memory, SQLite (reopened on the way) and the plain model must agree on everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from aq.outcome import ErrorType
from aq.policy import QueuePolicy
from aq.storage import open_storage
from aq.storage.answers import Applied, Backlog, TaskFilter
from aq.storage.changes import Change, PutQueue, Unit
from aq.storage.protocol import Storage
from aq.task import Environment, Queue, Status, Task, destination_of

from .deeds import KEYS, SECOND, TAGS, URLS, Deed
from .model import Model

__all__ = ["KEYS", "Deed", "compare"]

SEEDS = 16
COMMITS = 60
MADE = KEYS[:4]
DESTINATIONS = [*(destination_of(url) for url in URLS), "http://nowhere.example"]


class Reopened:
    """SQLite behind one name: closed and opened again when told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = AsyncExitStack()
        self.storage: Storage

    async def open(self) -> None:
        self.storage = await self._stack.enter_async_context(open_storage(f"sqlite:///{self._path}"))

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Reopened]:
    store = Reopened(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def compare(storage: Storage, model: Model, random: Random, seen: Sequence[Task], now: int) -> None:
    """All that can be read, with a random choice of filters, pages and instants."""
    assert list(await storage.queues()) == model.queues()
    assert await storage.settings() == model.settings()
    assert await storage.floor() == model.floor()
    assert list(await storage.api_keys()) == model.api_keys()
    assert list(await storage.audit()) == []
    for environment in (None, *Environment):
        assert list(await storage.schedules(environment)) == model.schedules(environment)
    for environment, name in model.state.claims:
        at = now + random.randint(-1, 1) * SECOND
        assert await storage.claim(environment, name, at) == model.claim(environment, name, at)
    for task in random.sample(seen, min(6, len(seen))):
        assert await storage.task(task.id) == model.task(task.id)
    await compare_lists(storage, model, random, seen, now)
    await compare_queues(storage, model, random, now)


async def compare_lists(
    storage: Storage, model: Model, random: Random, seen: Sequence[Task], now: int
) -> None:
    counted = TaskFilter(
        random.choice(list(Environment)),
        random.choice([None, (), ("a",), ("b",), ("a", "unheard"), ("a", "b", "b")]),
        random.choice([None, *Status]),
    )
    ids = [task.id for task in seen[-20:]]
    before, after = random.choice([(None, None), (None, ""), *((one, None) for one in ids)])
    if before and random.random() < 0.5:
        before, after = None, before
    limit = random.choice([1, 2, 5, 1_000])
    offset = random.randint(0, 4) if before is None and after is None else 0
    found = await storage.list_tasks(counted, limit=limit, offset=offset, before=before, after=after)
    assert found == model.list_tasks(counted, limit, offset, before, after)
    assert await storage.count_tasks(counted) == len(model.listed(counted))

    most = random.choice([1, 3, 1_000])
    failures = await storage.failures(counted.environment, counted.queues, most=most)
    assert failures == model.failures(counted.environment, counted.queues, most)

    def moment() -> int | None:
        return random.choice([None, now - random.randint(0, 30) * SECOND])

    which = TaskFilter(
        counted.environment,
        counted.queues,
        counted.status,
        tag=random.choice([None, *TAGS]),
        error_type=random.choice([None, None, ErrorType.DNS, ErrorType.GONE]),
        destination=random.choice([None, None, *DESTINATIONS]),
        created_after=moment(),
        created_before=moment(),
        finished_after=random.choice([None, moment()]),
        finished_before=random.choice([None, moment()]),
    )
    assert await storage.count_tasks(which) == len(model.listed(which))
    assert await walked(storage, which, limit) == model.listed(which)
    upwards = await storage.list_tasks(which, limit=limit, after="")
    assert list(upwards.tasks) == model.listed(which)[::-1][:limit]


async def walked(storage: Storage, which: TaskFilter, limit: int) -> list[Task]:
    """All pages, one after the other."""
    found: list[Task] = []
    more = None
    while True:
        page = await storage.list_tasks(which, limit=limit, before=more)
        assert (page.total is not None) == which.counted
        assert len(page.tasks) <= limit
        found += page.tasks
        more = page.more
        if more is None:
            return found


async def compare_queues(storage: Storage, model: Model, random: Random, now: int) -> None:
    for key in KEYS:
        at, limit = now + random.randint(-4, 4) * SECOND, random.choice([1, 3, 1_000])
        aside, most = random.sample(DESTINATIONS, random.choice([0, 0, 1, 2, 4])), random.choice([0, 1, 100])
        assert await storage.window(key, at, limit, aside, most) == model.window(key, at, limit, aside, most)
        assert await storage.expiring(key, at, limit) == model.expiring(key, at, limit)
        assert list(await storage.active(key, limit)) == model.active(key, limit)
        for ordering_key in ("x", "y", "ü z", "unheard"):
            assert await storage.head_of(key, ordering_key) == model.head_of(key, ordering_key)
        backlogs = await storage.backlogs(key.environment, at, random.choice([None, key.name]))
        assert backlogs.get(key.name, Backlog()) == model.backlog(key, at)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_storages_and_the_model_agree(seed: int, tmp_path: Path) -> None:
    model = Model()
    deed = Deed(seed, model)
    async with open_storage("memory:") as memory, opened(tmp_path / "aq.db") as sqlite:
        await memory.commit([], 0)
        for key in MADE:
            units: list[Unit] = [[PutQueue(Queue(key, QueuePolicy(), 0))]]
            answers = model.commit(units, 0)
            assert list(await memory.commit(units, 0)) == answers
            assert list(await sqlite.storage.commit(units, 0)) == answers
        for _ in range(COMMITS):
            units = deed.units()
            answers = model.commit(units, deed.now)
            assert list(await memory.commit(units, deed.now)) == answers
            assert list(await sqlite.storage.commit(units, deed.now)) == answers
            if deed.random.random() < 0.05:
                await sqlite.close()
                await sqlite.open()
            look = deed.random.random()
            await compare(memory, model, Random(look), deed.seen, deed.now)
            await compare(sqlite.storage, model, Random(look), deed.seen, deed.now)


def test_the_random_operations_reach_every_answer() -> None:
    """The seeds above are worth something: each kind of change is applied, and refused for each reason."""
    seen: set[tuple[str, str]] = set()
    for seed in range(SEEDS):
        model = Model()
        deed = Deed(seed, model)
        model.commit([[PutQueue(Queue(key, QueuePolicy(), 0))] for key in MADE], 0)
        for _ in range(COMMITS):
            units = deed.units()
            for unit, answer in zip(units, model.commit(units, deed.now), strict=True):
                if isinstance(answer, Applied):
                    seen.update((type(change).__name__, "applied") for change in unit)
                    if answer.released:
                        seen.update((type(change).__name__, "released") for change in unit)
                elif len(unit) == 1:
                    seen.add((type(unit[0]).__name__, str(answer.reason)))
    missing = ["Insert", "Start", "Update", "Delete", "Record", "PutQueue", "DropQueue"]
    missing += ["PutSchedule", "DropSchedule"]
    assert {
        *((kind.__name__, "applied") for kind in get_args(Change)),
        *((name, "missing") for name in missing),
        *((name, "state") for name in ("Insert", "Start", "Update", "Delete", "DropQueue", "Sweep")),
        *((name, "exists") for name in ("Insert", "Claim", "PutSchedule")),
        *((name, "version") for name in ("Start", "Update", "PutQueue", "PutSchedule")),
        *((name, "released") for name in ("Insert", "Update", "Delete", "Purge")),
    } <= seen
