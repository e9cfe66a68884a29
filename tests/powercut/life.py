"""Seeded units go through a store on a machine; the truth after each commit is kept, and every operation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import pytest
from attrs import Factory, define

from aq.policy import QueuePolicy
from aq.storage.answers import TaskFilter
from aq.storage.changes import PutQueue, Unit
from aq.storage.conformance.bench import NOW, Bench
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.storage.sqlite import open_sqlite, writer
from aq.task import Environment, Queue, Status
from tests.engine.support import inline
from tests.powercut.judge import Truth, Violation, looking, put, tables
from tests.powercut.machine import STORE, Machine, Moment, running
from tests.powercut.platter import Files
from tests.storage.deeds import KEYS, Deed
from tests.storage.model import Model
from tests.storage.test_opening import write_version_1

COMMITS: Final = 12
"""Of one life."""
FIRST: Final[Sequence[Unit]] = [[PutQueue(Queue(key, QueuePolicy(), 0))] for key in KEYS[:4]]
"""What every new store begins with."""


@define
class Life:
    """``begun[n]`` and ``acknowledged[n]``: how many operations were done when that commit began, and ended.

    The truth before commit n is ``truths[n]``; the opening is no commit.
    """

    born: Files
    """The disk that it began with."""
    log: list[Moment] = Factory(list)
    begun: list[int] = Factory(list)
    acknowledged: list[int] = Factory(list)
    truths: list[Truth] = Factory(list)

    def allowed(self, place: int) -> list[Truth]:
        """What a disk may hold after a cut in the midst of the operation at this place."""
        done = sum(end <= place for end in self.acknowledged)
        under_way = done < len(self.begun) and self.begun[done] <= place
        return self.truths[done : done + 1 + under_way]


@contextmanager
def small_sizes(random: Random) -> Iterator[None]:
    """Pages are given back and logs are cut off in stores of a few hundred pages, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SPARE_PAGES", random.choice([0, 4, 2_048]))
        patch.setattr(writer, "_MANY", random.choice([1, 3]))
        patch.setattr(writer, "WAL_LIMIT", random.choice([40_000, 150_000, 32 << 20]))
        yield


def varied(machine: Machine, random: Random) -> Machine:
    """SQLite folds its log early, and writes to it within transactions, or does neither."""
    machine.folds_at = random.choice([3, 10, 30, 1_000])
    if random.random() < 0.3:
        machine.replaced["PRAGMA cache_size = -32768"] = "PRAGMA cache_size = 10"
    return machine


async def live(machine: Machine, born: Files, model: Model, deed: Deed, *, commits: int = COMMITS) -> Life:
    """One life, from its opening to its closing. Raises Violation where an answer is not the model's."""
    life = Life(born)
    machine.done = life.log.append
    put(born, machine.path.parent)
    with running(machine):
        async with open_sqlite(str(machine.path), connect=machine.connect, hop=inline) as storage:
            look = looking(machine.path)
            try:
                if born and not model.state.queues:
                    await adopt(storage, model)
                life.truths.append(Truth(tables(look), copy.copy(model)))
                if not model.state.queues:
                    await told(life, storage, model, FIRST, 0)
                    life.truths.append(Truth(tables(look), copy.copy(model)))
                for _ in range(commits):
                    await told(life, storage, model, deed.units(), deed.now)
                    life.truths.append(Truth(tables(look), copy.copy(model)))
            finally:
                look.close()
    return life


async def adopt(storage: Storage, model: Model) -> None:
    """The model takes over what a store holds that it has not seen being made."""
    state, floor = model.state, await storage.floor()
    model.now, state.sequence = floor.now, floor.sequence
    state.queues = {queue.key: queue for queue in await storage.queues()}
    for environment in Environment:
        for task in (await storage.list_tasks(TaskFilter(environment), limit=1_000)).tasks:
            if (stored := await storage.task(task.id)) is not None:
                state.tasks[task.id] = stored.task
                state.payloads[task.id] = stored.payload
                state.attempts[task.id] = {attempt.number: attempt for attempt in stored.attempts}


def version_1(directory: Path) -> Files:
    """A store of the first version, with tasks of every status."""
    bench = Bench(MemoryStorage())
    tasks = [bench.task(status=status, due_at=NOW + place) for place, status in enumerate([*Status] * 3)]
    write_version_1(directory / "old.db", tasks)
    return {STORE: (directory / "old.db").read_bytes()}


async def told(life: Life, storage: Storage, model: Model, units: Sequence[Unit], now: int) -> None:
    """One commit, and a read after it."""
    life.begun.append(len(life.log))
    answers = list(await storage.commit(units, now))
    life.acknowledged.append(len(life.log))
    if answers != model.commit(units, now):
        raise Violation(f"answered otherwise than the model: {answers}")
    if list(await storage.queues()) != model.queues():
        raise Violation("a read does not see what was acknowledged")
