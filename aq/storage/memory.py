"""A storage in this process's memory: for tests, and for work that need not outlive the process."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from heapq import merge
from itertools import islice
from math import inf

import trio
from sortedcontainers import SortedList  # type: ignore[import-untyped]

from aq.apikey import ApiKey
from aq.errors import StorageError
from aq.ids import sequence_of
from aq.instants import Instant
from aq.outcome import ErrorType
from aq.schedule import Schedule
from aq.storage.answers import (
    MOST_LOOKED_AT,
    SAMPLES,
    Answer,
    Aside,
    Backlog,
    Claimed,
    Entry,
    Expiring,
    FailureGroup,
    Failures,
    Floor,
    StoredTask,
    TaskFilter,
    TaskPage,
    Window,
)
from aq.storage.before import STATUSES
from aq.storage.changes import Unit
from aq.storage.draft import MINUTE, Draft, Sequences
from aq.storage.protocol import Storage, Traits
from aq.storage.tables import Tables
from aq.task import Environment, Queue, QueueKey, Status, Task


@asynccontextmanager
async def open_memory() -> AsyncIterator[Storage]:
    """An empty storage."""
    storage = MemoryStorage()
    try:
        yield storage
    finally:
        await storage.aclose()


class MemoryStorage:
    """A `aq.storage.protocol.Storage`; opened by `open_memory`. Its reads and writes never wait."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._closed = False

    @property
    def traits(self) -> Traits:
        return Traits(durable=False, shared=False)

    @property
    def damage(self) -> str | None:
        return None

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        await self._checkpoint()
        return self._apply(units, now)

    def _apply(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        draft = Draft(self._tables, Sequences(), now)
        answers = draft.answer(units)
        self._tables.apply(draft, now)
        return answers

    async def task(self, task_id: str) -> StoredTask | None:
        tables = await self._checkpoint()
        sequence = sequence_of(task_id)
        task = None if sequence is None else tables.tasks.get(sequence)
        if sequence is None or task is None or task.id != task_id:
            return None
        attempts = tables.attempts.get(sequence, {})
        return StoredTask(task, tables.payloads[sequence], [attempts[number] for number in sorted(attempts)])

    # -- lists ----------------------------------------------------------------------------------------------
    async def list_tasks(
        self,
        which: TaskFilter,
        *,
        limit: int,
        offset: int = 0,
        before: str | None = None,
        after: str | None = None,
    ) -> TaskPage:
        tables = await self._checkpoint()
        lists = self._lists(which)
        if after is not None:
            walk = self._upwards(lists, which, after)
        else:
            walk = self._downwards(lists, which, before)
        if which.counted:
            total, most = sum(map(len, lists)), inf
        else:
            total, most = None, MOST_LOOKED_AT
        found: list[Task] = []
        looked, last = 0, None
        for sequence in walk:
            if len(found) == offset + limit or looked == most:
                return TaskPage(found[offset:], total, last)
            task = tables.tasks[sequence]
            looked, last = looked + 1, task.id
            if matches(task, which):
                found.append(task)
        return TaskPage(found[offset:], total, None)

    def _lists(self, which: TaskFilter) -> list[SortedList]:
        """What there is of the queues and states asked for."""
        statuses = STATUSES if which.status is None else (which.status,)
        names: Iterable[str | None] = [None] if which.queues is None else set(which.queues)
        return [self._tables.listed(which.environment, name, status) for name in names for status in statuses]

    def _upwards(self, lists: Sequence[SortedList], which: TaskFilter, after: str) -> Iterator[int]:
        above = sequence_of(after) if after else -1
        return merge(*(self._between(found, which, inf if above is None else above, inf) for found in lists))

    def _downwards(self, lists: Sequence[SortedList], which: TaskFilter, before: str | None) -> Iterator[int]:
        below = inf if before is None else sequence_of(before) or 0
        walks = [self._between(found, which, -1, below, reverse=True) for found in lists]
        return merge(*walks, reverse=True)

    def _between(
        self, found: SortedList, which: TaskFilter, above: float, below: float, *, reverse: bool = False
    ) -> Iterator[int]:
        """A part of a walk, without what was created too early or too late."""
        least = max(above + 1, first_sequence(which.created_after or 0))
        walk: Iterator[int] = found.irange(least, min(below, self._end(found, which)), (True, False), reverse)
        return walk

    def _end(self, found: SortedList, which: TaskFilter) -> float:
        """The first sequence that was created too late: creation and sequence rise together."""
        if which.created_before is None:
            return inf
        tasks = self._tables.tasks
        place = bisect_left(found, which.created_before, key=lambda sequence: tasks[sequence].created_at)
        return found[place] if place < len(found) else inf

    async def count_tasks(self, which: TaskFilter) -> int:
        tables = await self._checkpoint()
        lists = self._lists(which)
        if which.counted:
            return sum(map(len, lists))
        return sum(matches(tables.tasks[sequence], which) for found in lists for sequence in found)

    async def failures(
        self, environment: Environment, queues: tuple[str, ...] | None, *, most: int
    ) -> Failures:
        which = TaskFilter(environment, queues, Status.FAILED)
        tables = await self._checkpoint()
        lists = self._lists(which)
        kinds: dict[tuple[str, str, ErrorType | None], list[Task]] = {}
        for sequence in islice(self._downwards(lists, which, None), most):
            task = tables.tasks[sequence]
            kinds.setdefault((task.queue.name, task.destination, task.error_type), []).append(task)
        groups = [self._group(*kind, tasks) for kind, tasks in kinds.items()]
        return Failures.of(groups, sum(map(len, lists)))

    def _group(
        self, queue: str, destination: str, error_type: ErrorType | None, tasks: Sequence[Task]
    ) -> FailureGroup:
        """``tasks`` are newest first."""
        ended = [task.finished_at or 0 for task in tasks]
        samples = tuple(task.id for task in tasks[:SAMPLES])
        attempts = self._tables.attempts.get(sequence_of(samples[0]) or 0)
        error = attempts[max(attempts)].error if attempts else None
        return FailureGroup(
            queue, destination, error_type, len(tasks), min(ended), max(ended), samples, error
        )

    # -- scheduling -----------------------------------------------------------------------------------------
    async def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
    ) -> Window:
        tables = await self._checkpoint()
        walk = tables.due_elsewhere(key, now, aside) if aside else tables.due(key, now)
        due, due_complete = self._entries(walk, limit)
        later = (sequence for _, sequence in tables.waiting(key).irange(minimum=(now, inf)))
        upcoming, upcoming_complete = self._entries(later, limit)
        apart = {
            destination: Aside(*self._entries(tables.due_at(key, now, destination), aside_limit))
            for destination in aside
        }
        return Window(due, due_complete, upcoming, upcoming_complete, apart)

    def _entries(self, sequences: Iterable[int], limit: int) -> tuple[list[Entry], bool]:
        """The first ones, and whether they are all."""
        found = list(islice(sequences, limit + 1))
        return [Entry.of(self._tables.tasks[sequence]) for sequence in found[:limit]], len(found) <= limit

    async def expiring(self, key: QueueKey, now: Instant, limit: int) -> Expiring:
        tables = await self._checkpoint()
        places = list(islice(tables.expiring(key), limit + 1))
        expired = [tables.tasks[sequence] for at, sequence in places[:limit] if at <= now]
        return Expiring(expired, places[len(expired)][0] if len(expired) < len(places) else None)

    async def head_of(self, key: QueueKey, ordering_key: str) -> str | None:
        tables = await self._checkpoint()
        line = tables.line(key, ordering_key)
        return tables.tasks[line[0][1]].id if line else None

    async def active(self, key: QueueKey, limit: int) -> Sequence[Task]:
        tables = await self._checkpoint()
        sequences = tables.listed(*key, Status.ACTIVE)
        return [tables.tasks[sequence] for sequence in islice(sequences, limit)]

    async def backlogs(
        self, environment: Environment, now: Instant, name: str | None = None
    ) -> Mapping[str, Backlog]:
        tables = await self._checkpoint()
        found = {}
        for key, minutes in tables.minutes.items():
            if key.environment is environment and name in (None, key.name):
                later = minutes.irange(minimum=now // MINUTE + 1)
                waiting = tables.waiting(key)
                oldest = waiting[0][0] if waiting else None
                found[key.name] = Backlog(sum(minutes[minute] for minute in later), oldest)
        return found

    # -- everything else ------------------------------------------------------------------------------------
    async def queue(self, key: QueueKey) -> Queue | None:
        tables = await self._checkpoint()
        return tables.queues.get(key)

    async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
        tables = await self._checkpoint()
        keys = sorted(key for key in tables.queues if environment in (None, key.environment))
        return [tables.queues[key] for key in keys]

    async def claim(self, environment: Environment, name: str, now: Instant) -> Claimed | None:
        tables = await self._checkpoint()
        claim = tables.claims.get((environment, name))
        if claim is None or claim.expires_at <= now:
            return None
        return Claimed(claim.fingerprint, claim.answer)

    async def api_keys(self) -> Sequence[ApiKey]:
        tables = await self._checkpoint()
        return [key for _, key in sorted(tables.keys.items())]

    async def schedule(self, schedule_id: str) -> Schedule | None:
        tables = await self._checkpoint()
        return tables.schedules.get(schedule_id)

    async def schedules(self, environment: Environment | None = None) -> Sequence[Schedule]:
        tables = await self._checkpoint()
        found = [schedule for _, schedule in sorted(tables.schedules.items())]
        return [schedule for schedule in found if environment in (None, schedule.environment)]

    async def settings(self) -> Mapping[str, str]:
        tables = await self._checkpoint()
        return dict(tables.settings)

    async def floor(self) -> Floor:
        tables = await self._checkpoint()
        return tables.floor

    async def audit(self) -> Sequence[str]:
        tables = await self._checkpoint()
        return [*tables.counted_wrongly(), *tables.marked_wrongly()]

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _checkpoint(self) -> Tables:
        """Every call lets others run first and can be cancelled there, as calls that wait for a disk can."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StorageError("the store is closed")
        return self._tables


def matches(task: Task, which: TaskFilter) -> bool:
    """Whether a task of the queues and states asked for is one of those that are listed."""
    ended = which.finished_after is not None or which.finished_before is not None
    return (
        (which.tag is None or which.tag in task.options.tags)
        and which.error_type in (None, task.error_type)
        and which.destination in (None, task.destination)
        and _within(task.created_at, which.created_after, which.created_before)
        and not (ended and task.finished_at is None)
        and _within(task.finished_at or 0, which.finished_after, which.finished_before)
    )


def _within(at: Instant, least: Instant | None, end: Instant | None) -> bool:
    return (least is None or at >= least) and (end is None or at < end)


def first_sequence(at: Instant) -> int:
    """The lowest sequence that an id made at that instant or later can have."""
    return at // 1000 << 15
