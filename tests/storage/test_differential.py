"""Random operations: memory, SQLite (reopened on the way) and the plain model must agree on everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from attrs import evolve

from aq.ids import IdMinter
from aq.lifecycle import ended, started
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.policy import QueuePolicy
from aq.storage import open_storage
from aq.storage.protocol import (
    Applied,
    Change,
    Delete,
    DropQueue,
    Insert,
    PutQueue,
    PutSetting,
    Record,
    Start,
    Storage,
    Sweep,
    TaskFilter,
    Unit,
    Update,
)
from aq.task import Environment, Queue, QueueKey, Status, Task

from .model import Model

KEYS = [QueueKey(environment, name) for environment in Environment for name in ("a", "b")]
SEEDS = 16
COMMITS = 40
MOST_UNITS = 8
OUTCOMES = (
    Outcome.success(),
    Outcome(
        status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, response_code=410, response_body=b"\x00"
    ),
    Outcome(status=AttemptStatus.TIMEOUT, error_type=ErrorType.TIMEOUT, error="ü", timing=Timing(1, None, 2)),
)


class Deed:
    """Makes up changes: mostly sensible ones, some aimed at what is not there or not so any more."""

    def __init__(self, seed: int, model: Model) -> None:
        self.random = Random(seed)
        self.model = model
        self.minter = IdMinter(self.random.getrandbits)
        self.now = 1_000_000
        self.seen: list[Task] = []
        """Every task as it was at some moment."""
        self.makers: Sequence[tuple[int, Callable[[], list[Change]]]] = (
            (30, self.insert),
            (25, self.start),
            (25, self.end),
            (8, self.delete),
            (6, self.put_queue),
            (3, self.drop_queue),
            (4, self.sweep),
            (3, self.put_setting),
            (3, self.record),
        )

    def units(self) -> list[Unit]:
        self.now += self.random.randint(-1_000, 2_000_000)
        return [self.unit() for _ in range(self.random.randint(0, MOST_UNITS))]

    def unit(self) -> list[Change]:
        weights, makers = zip(*self.makers, strict=True)
        chosen = self.random.choices(makers, weights, k=self.random.choice([1, 1, 1, 2, 3]))
        return [change for make in chosen for change in make()]

    def key(self) -> QueueKey:
        return self.random.choice(KEYS)

    def known(self) -> Task:
        """A task as it is now, or (one time in six) as it was, or as it never was."""
        if self.seen and self.random.random() < 1 / 6:
            return self.random.choice(self.seen)
        tasks = list(self.model.state.tasks.values())
        return self.random.choice(tasks) if tasks else self.fresh()

    def fresh(self) -> Task:
        status = self.random.choice([Status.PENDING] * 8 + list(Status))
        return Task(
            id=self.minter.mint(self.now),
            queue=self.key(),
            webhook_url=self.random.choice(["http://a.example/", "https://[::1]:8443/x?y=%20"]),
            priority=self.random.randint(1, 10),
            delay=self.random.randint(0, 9),
            created_at=self.now,
            due_at=self.now + self.random.randint(-3, 3) * 1_000_000,
            max_retries=self.random.choice([None, 0, 2]),
            timeout=self.random.choice([None, 1, 900]),
            traceparent=self.random.choice([None, "00-0af7-01"]),
            status=status,
            started_at=self.now if status is Status.ACTIVE else None,
        )

    def insert(self) -> list[Change]:
        task = self.fresh() if self.random.random() < 0.95 else self.known()
        self.seen.append(task)
        return [Insert(task, self.random.randbytes(self.random.choice([0, 3, 9_000])))]

    def start(self) -> list[Change]:
        task = self.known()
        self.seen.append(task)
        return [Start(task.queue, task.id, task.version, self.now)]

    def end(self) -> list[Change]:
        task = self.known()
        active = (
            task if task.status is Status.ACTIVE else started(evolve(task, status=Status.PENDING), self.now)
        )
        active = evolve(active, started_at=self.now)
        outcome, policy = self.random.choice(OUTCOMES), QueuePolicy(max_retries=1)
        after, attempt = ended(active, outcome, policy, now=self.now, chance=self.random.random())
        self.seen.append(after)
        return [Update(after, Status.ACTIVE), Record(after.id, attempt)]

    def record(self) -> list[Change]:
        return self.end()[1:]

    def delete(self) -> list[Change]:
        task = self.known()
        return [Delete(task.queue if self.random.random() < 0.9 else self.key(), task.id)]

    def put_queue(self) -> list[Change]:
        key = self.key()
        known = self.model.state.queues.get(key)
        version = (
            self.random.choice([1, 2, 3]) if known is None else known.version + self.random.choice([1, 1, 2])
        )
        policy = QueuePolicy(concurrency=self.random.randint(1, 99), paused=self.random.random() < 0.5)
        return [PutQueue(Queue(key, policy, self.now, version))]

    def drop_queue(self) -> list[Change]:
        key = self.key()
        emptied: list[Change] = [Sweep(key, 1_000)] if self.random.random() < 0.5 else []
        return [*emptied, DropQueue(key)]

    def sweep(self) -> list[Change]:
        return [Sweep(self.key(), self.random.choice([0, 1, 3, 100]))]

    def put_setting(self) -> list[Change]:
        return [PutSetting(self.random.choice("xyz"), str(self.random.random()))]


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
    for task in random.sample(seen, min(6, len(seen))):
        assert await storage.task(task.id) == model.task(task.id)
    which = TaskFilter(
        random.choice(list(Environment)), random.choice([None, "a", "b"]), random.choice([None, *Status])
    )
    before = random.choice([None, None, *(task.id for task in seen[-20:])])
    limit, offset = random.choice([0, 1, 5, 1_000]), 0 if before else random.randint(0, 4)
    found = await storage.list_tasks(which, limit=limit, offset=offset, before=before)
    assert found == model.list_tasks(which, limit, offset, before)
    for key in KEYS:
        at, limit = now + random.randint(-4, 4) * 1_000_000, random.choice([1, 3, 1_000])
        assert await storage.window(key, at, limit) == model.window(key, at, limit)
        assert list(await storage.active(key, limit)) == model.active(key, limit)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_storages_and_the_model_agree(seed: int, tmp_path: Path) -> None:
    model = Model()
    deed = Deed(seed, model)
    async with open_storage("memory:") as memory, opened(tmp_path / "aq.db") as sqlite:
        await memory.commit([], 0)
        for key in KEYS[:3]:
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
        model.commit([[PutQueue(Queue(key, QueuePolicy(), 0))] for key in KEYS[:3]], 0)
        for _ in range(COMMITS):
            units = deed.units()
            for unit, answer in zip(units, model.commit(units, deed.now), strict=True):
                if isinstance(answer, Applied):
                    seen.update((type(change).__name__, "applied") for change in unit)
                elif len(unit) == 1:
                    seen.add((type(unit[0]).__name__, str(answer.reason)))
    applied = "Insert", "Start", "Delete", "Record", "PutQueue", "Sweep", "DropQueue", "PutSetting"
    missing = "Insert", "Start", "Delete", "Record", "PutQueue", "DropQueue"
    assert {
        *((name, "applied") for name in applied),
        *((name, "missing") for name in missing),
        *((name, "state") for name in ("Start", "Delete", "DropQueue")),
        ("Insert", "exists"),
        ("Start", "version"),
        ("PutQueue", "version"),
    } <= seen
