"""What the tests of the engine share: runners that do as they are told, lives that end in a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import pytest
import trio
import trio.testing
from attrs import define, field
from msgspec.structs import replace

from aq.delivery.protocol import Delivery
from aq.engine import Engine, TaskView
from aq.errors import StorageError
from aq.instants import Instant
from aq.opening import open_engine
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.storage.answers import Answer
from aq.storage.changes import Unit, Update
from aq.storage.memory import MemoryStorage
from aq.storage.protocol import Storage
from aq.task import Environment, NewTask, Status, Task
from tests.engine.storages import Faulty

T = TypeVar("T")
URL = "http://receiver.example/"
BACK = "http://back.example/"
AT_ONCE = 5_000
"""More attempts at one instant than any test means to have: time would never go on."""
EPOCH = 1_790_000_000
"""The wall clock (Unix seconds) when Trio's clock is at 0."""
SUCCESS = Outcome.success()
FAILURE = Outcome.failure("no")
GONE = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, response_code=410)


def busy(retry_after: float | None, code: int = 429) -> Outcome:
    """The receiver asks for a pause."""
    return Outcome(
        status=AttemptStatus.FAILURE,
        error_type=ErrorType.HTTP_429 if code == 429 else ErrorType.HTTP_5XX,
        response_code=code,
        retry_after=retry_after,
    )


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def inline(function: Callable[..., T], *args: object, limiter: object = None) -> T:
    """A thread hop for SQLite that is none, so that a virtual clock does not run ahead of it."""
    await trio.lowlevel.checkpoint()
    return function(*args)


@define
class Receiver:
    """Takes ``takes`` seconds for each attempt, then ends it as ``answer`` says."""

    answer: Callable[[Delivery], Outcome] = lambda delivery: SUCCESS
    takes: float = 0
    seen: list[Delivery] = field(factory=list)
    began: list[float] = field(factory=list)
    """When, in Trio's time; beside ``seen``."""
    running: Counter[str] = field(factory=Counter)
    most: Counter[str] = field(factory=Counter)
    """Attempts at once, by URL."""
    loops: bool = False

    async def __call__(self, delivery: Delivery) -> Outcome:
        url = delivery.webhook_url
        self.seen.append(delivery)
        self.began.append(trio.current_time())
        if len(self.began) > AT_ONCE and self.began[-AT_ONCE] == trio.current_time():
            self.loops = True  # one attempt brings about another
        if self.loops:
            await trio.sleep_forever()
        self.running[url] += 1
        self.most[url] = max(self.most[url], self.running[url])
        try:
            if self.takes:
                await trio.sleep(self.takes)
            return self.answer(delivery)
        finally:
            self.running[url] -= 1

    @property
    def ids(self) -> list[str]:
        """Of the tasks whose attempts began, in order; not of callbacks."""
        return [delivery.task_id for delivery in self.seen if delivery.tells_of is None]

    @property
    def told(self) -> list[Any]:
        """The bodies of the callbacks, in order."""
        return [delivery.json() for delivery in self.seen if delivery.tells_of is not None]

    def at(self, task_id: str) -> list[float]:
        """When the attempts of a task began."""
        pairs = zip(self.seen, self.began, strict=True)
        return [began for delivery, began in pairs if delivery.task_id == task_id]


class Gate:
    """Holds every attempt until it is told how it ends."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.held: dict[str, trio.Event] = {}
        self._outcomes: dict[str, Outcome] = {}

    async def __call__(self, delivery: Delivery) -> Outcome:
        assert delivery.task_id not in self.held, "two attempts of one task"
        self.began.append(delivery.task_id)
        self.held[delivery.task_id] = event = trio.Event()
        try:
            await event.wait()
            return self._outcomes.pop(delivery.task_id)
        finally:
            del self.held[delivery.task_id]

    async def end(self, task: Task | str, outcome: Outcome = SUCCESS) -> None:
        """Returns when all that it brings about has come to rest."""
        task_id = task if isinstance(task, str) else task.id
        self._outcomes[task_id] = outcome
        self.held[task_id].set()
        await settled()


class KilledError(StorageError):
    """The process has died in a commit."""


class Mortal(Faulty):
    """Dies in its ``dies_at``-th commit: before it took effect or, with ``after``, just after it did."""

    def __init__(self, storage: Storage, dies_at: int | None = None, *, after: bool = False) -> None:
        super().__init__(storage)
        self.dies_at = dies_at
        self.dies_on: Callable[[Sequence[Unit]], object] = lambda units: False
        self.commits = 0
        self.dead = False
        self._after = after

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        if self.dead:
            raise KilledError
        self.commits += 1
        self.dead = self.commits == self.dies_at or bool(self.dies_on(units))
        if self.dead and not self._after:
            raise KilledError
        answers = await super().commit(units, now)
        if self.dead:
            raise KilledError
        return answers


async def meddle(storage: Storage, task: Task) -> None:
    """Behind the back of an active task's supervisor, which crashes when the attempt ends."""
    stored = await storage.task(task.id)
    assert stored is not None
    changed = replace(stored.task, version=stored.task.version + 1)
    await storage.commit([[Update(changed, was=Status.ACTIVE)]], 0)


def wall() -> float:
    return EPOCH + trio.current_time()


@asynccontextmanager
async def up(storage: Storage | None = None, runner: Any = None, **options: Any) -> AsyncIterator[Engine]:
    """An engine on a virtual clock, with chances that repeat."""
    storage = MemoryStorage() if storage is None else storage
    options = {"wall": wall, "random": Random(1), "grace": 0, **options}
    async with open_engine(storage, runner=runner or Receiver(), **options) as engine:
        yield engine


async def until_it_dies(
    storage: Mortal, runner: Any, live: Callable[[Engine], Awaitable[object]], **options: Any
) -> None:
    """An engine on a storage that dies in one of the commits that ``live`` brings about."""

    async def run() -> None:
        async with up(storage, runner, **options) as engine:
            await live(engine)
            await trio.sleep(80_000)

    with pytest.raises(KilledError):
        await run()


@asynccontextmanager
async def until_killed(storage: Storage, runner: Any = None, **options: Any) -> AsyncIterator[Engine]:
    """An engine that is killed at the end of the block, in the midst of whatever it does."""
    with trio.CancelScope() as scope:
        async with up(storage, runner, **options) as engine:
            yield engine
            scope.cancel()
            await trio.sleep_forever()


async def submit(engine: Engine, queue: str = "q", url: str = URL, **fields: Any) -> Task:
    """One task; ``fields`` are those of `NewTask`."""
    environment = fields.pop("environment", Environment.LIVE)
    return await engine.submit(NewTask(queue, url, **fields), environment=environment)


async def ended(engine: Engine, task: Task, seconds: float = 100_000) -> TaskView:
    """A task once it has ended; virtual time has a limit, so that nothing hangs."""
    with trio.fail_after(seconds):
        return await engine.wait(task.id)


async def wait_for(engine: Engine, tasks: Sequence[Task], seconds: float = 100_000) -> None:
    """Until all of them have ended."""
    with trio.fail_after(seconds):
        for task in tasks:
            await engine.wait(task.id)


async def submit_many(
    engine: Engine, number: int, queue: str = "q", url: str = URL, **fields: Any
) -> list[Task]:
    """Alike, in batches."""
    tasks: list[Task] = []
    while len(tasks) < number:
        news = [NewTask(queue, url, **fields)] * min(500, number - len(tasks))
        tasks += [receipt.task for receipt in (await engine.submit_all(news)).value]
    return tasks


def slow(kind: type, seconds: float = 1) -> Callable[[Sequence[Unit]], Awaitable[None] | None]:
    """For ``before_commit``: a commit that holds such a change takes so long."""

    async def pause() -> None:
        await trio.sleep(seconds)

    def wait(units: Sequence[Unit]) -> Awaitable[None] | None:
        return pause() if any(isinstance(c, kind) for unit in units for c in unit) else None

    return wait
