"""A storage in this process's memory: for tests, and for work that need not outlive the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from heapq import merge
from itertools import islice
from math import inf
from typing import Any, Final, TypeAlias

import trio
from attrs import evolve
from sortedcontainers import SortedList  # type: ignore[import-untyped]

from aq.errors import StorageError
from aq.ids import sequence_of
from aq.instants import Instant
from aq.storage.draft import STATUSES, Draft, Sequences
from aq.storage.protocol import (
    Answer,
    Entry,
    Floor,
    Storage,
    StoredTask,
    TaskFilter,
    TaskPage,
    Traits,
    Unit,
    Window,
)
from aq.task import Attempt, Counts, Environment, Queue, QueueKey, Status, Task

_PRIORITIES: Final = range(10, 0, -1)
_Walk: TypeAlias = tuple[Environment, str | None, Status | int]
"""The name of a walk in order: of one queue or (None) of all, by status, or by priority (0 is "any")."""


@asynccontextmanager
async def open_memory() -> AsyncIterator[Storage]:
    """An empty storage."""
    storage = MemoryStorage()
    try:
        yield storage
    finally:
        await storage.aclose()


class _Tables:
    """What is stored, with the walks over it in order. Keys are sequences."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.payloads: dict[int, bytes] = {}
        self.attempts: dict[int, dict[int, Attempt]] = {}
        self.queues: dict[QueueKey, Queue] = {}
        self.settings: dict[str, str] = {}
        self.floor = Floor()
        self._walks: dict[_Walk, SortedList] = {}

    def listed(self, environment: Environment, queue: str | None, status: Status) -> SortedList:
        """The sequences of the tasks in a state, of one queue or of all."""
        return self._walks.get((environment, queue, status)) or SortedList()

    def due(self, key: QueueKey, priority: int) -> SortedList:
        """The waiting tasks of a priority as (due_at, sequence)."""
        return self._walks.get((*key, priority)) or SortedList()

    def upcoming(self, key: QueueKey) -> SortedList:
        """The waiting tasks of every priority as (due_at, sequence)."""
        return self._walks.get((*key, 0)) or SortedList()

    # -- aq.storage.draft.Before ----------------------------------------------------------------------------
    def head(self, sequence: int) -> Task | None:
        return self.tasks.get(sequence)

    def task(self, sequence: int) -> tuple[Task, bytes]:
        return self.tasks[sequence], self.payloads[sequence]

    def finished(self, key: QueueKey, limit: int) -> Iterable[tuple[int, Task]]:
        walks = (self.listed(*key, status) for status in (Status.COMPLETED, Status.FAILED))
        return [(sequence, self.tasks[sequence]) for sequence in islice(merge(*walks), limit)]

    def queue_version(self, key: QueueKey) -> int | None:
        queue = self.queues.get(key)
        return None if queue is None else queue.version

    def held(self, key: QueueKey) -> int:
        queue = self.queues.get(key)
        return 0 if queue is None else queue.counts.total

    # -- writing --------------------------------------------------------------------------------------------
    def apply(self, draft: Draft, now: Instant) -> None:
        moved = draft.moved()
        for sequence in draft.deleted():
            self._unlist(sequence, self.tasks.pop(sequence))
            del self.payloads[sequence]
            self.attempts.pop(sequence, None)
        for sequence, task, payload in draft.inserted():
            self._list(sequence, task)
            self.payloads[sequence] = payload
        for sequence, task in draft.updated():
            self._unlist(sequence, self.tasks[sequence])
            self._list(sequence, task)
        for sequence, attempts in draft.records.items():
            known = self.attempts.setdefault(sequence, {})
            known.update((attempt.number, attempt) for attempt in attempts)
        self._put_queues(draft.queues, moved)
        self.settings.update(draft.settings)
        self.floor = Floor(max(self.floor.now, now), max(self.floor.sequence, draft.top_sequence()))

    def _put_queues(
        self, put: Mapping[QueueKey, Queue | None], moved: Mapping[QueueKey, Sequence[int]]
    ) -> None:
        for key, queue in put.items():
            if queue is None:
                self.queues.pop(key, None)
            else:
                known = self.queues.get(key)
                self.queues[key] = evolve(queue, counts=known.counts if known else Counts())
        for key, deltas in moved.items():
            if (known := self.queues.get(key)) is not None:
                counts = map(sum, zip(_each(known.counts), deltas, strict=True))
                self.queues[key] = evolve(known, counts=Counts(*counts))

    def _list(self, sequence: int, task: Task) -> None:
        self.tasks[sequence] = task
        for walk, place in _places(sequence, task):
            self._walks.setdefault(walk, SortedList()).add(place)

    def _unlist(self, sequence: int, task: Task) -> None:
        for walk, place in _places(sequence, task):
            places = self._walks[walk]
            places.remove(place)
            if not places:
                del self._walks[walk]


def _places(sequence: int, task: Task) -> Iterator[tuple[_Walk, Any]]:
    """The walks a task is on, and where."""
    environment, name = task.queue
    yield (environment, name, task.status), sequence
    yield (environment, None, task.status), sequence
    if task.status is Status.PENDING and environment is Environment.LIVE:
        yield (environment, name, task.priority), (task.due_at, sequence)
        yield (environment, name, 0), (task.due_at, sequence)


class MemoryStorage:
    """A `aq.storage.protocol.Storage`; opened by `open_memory`. Its reads and writes never wait."""

    def __init__(self) -> None:
        self._tables = _Tables()
        self._closed = False

    @property
    def traits(self) -> Traits:
        return Traits(durable=False, shared=False)

    @property
    def damage(self) -> str | None:
        return None

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        tables = await self._checkpoint()
        draft = Draft(tables, Sequences())
        answers = draft.answer(units)
        tables.apply(draft, now)
        return answers

    async def task(self, task_id: str) -> StoredTask | None:
        tables = await self._checkpoint()
        sequence = sequence_of(task_id)
        task = None if sequence is None else tables.tasks.get(sequence)
        if sequence is None or task is None or task.id != task_id:
            return None
        attempts = tables.attempts.get(sequence, {})
        return StoredTask(task, tables.payloads[sequence], [attempts[number] for number in sorted(attempts)])

    async def list_tasks(
        self, which: TaskFilter, *, limit: int, offset: int = 0, before: str | None = None
    ) -> TaskPage:
        tables = await self._checkpoint()
        below = inf if before is None else sequence_of(before) or 0
        statuses = STATUSES if which.status is None else (which.status,)
        lists = [tables.listed(which.environment, which.queue, status) for status in statuses]
        walks = [found.irange(maximum=below, inclusive=(True, False), reverse=True) for found in lists]
        page = islice(merge(*walks, reverse=True), offset, offset + limit)
        return TaskPage([tables.tasks[sequence] for sequence in page], sum(map(len, lists)))

    async def window(self, key: QueueKey, now: Instant, limit: int) -> Window:
        tables = await self._checkpoint()
        due: list[Entry] = []
        for priority in _PRIORITIES:
            walk = tables.due(key, priority).irange(maximum=(now, inf))
            due += self._entries(walk, limit + 1 - len(due))
        upcoming = self._entries(tables.upcoming(key).irange(minimum=(now, inf)), limit + 1)
        return Window(due[:limit], len(due) <= limit, upcoming[:limit], len(upcoming) <= limit)

    async def active(self, key: QueueKey, limit: int) -> Sequence[Task]:
        tables = await self._checkpoint()
        sequences = tables.listed(*key, Status.ACTIVE)
        return [tables.tasks[sequence] for sequence in islice(sequences, limit)]

    async def queue(self, key: QueueKey) -> Queue | None:
        tables = await self._checkpoint()
        return tables.queues.get(key)

    async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
        tables = await self._checkpoint()
        keys = sorted(key for key in tables.queues if environment in (None, key.environment))
        return [tables.queues[key] for key in keys]

    async def settings(self) -> Mapping[str, str]:
        tables = await self._checkpoint()
        return dict(tables.settings)

    async def floor(self) -> Floor:
        tables = await self._checkpoint()
        return tables.floor

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _checkpoint(self) -> _Tables:
        """Every call lets others run first and can be cancelled there, as calls that wait for a disk can."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StorageError("the store is closed")
        return self._tables

    def _entries(self, places: Iterable[tuple[Instant, int]], limit: int) -> list[Entry]:
        tasks = (self._tables.tasks[sequence] for _, sequence in islice(places, limit))
        return [Entry(task.id, task.priority, task.due_at, task.version) for task in tasks]


def _each(counts: Counts) -> tuple[int, int, int, int]:
    return counts.pending, counts.active, counts.completed, counts.failed
