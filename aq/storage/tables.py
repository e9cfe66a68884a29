"""What `aq.storage.memory` keeps: the things themselves, and walks over the tasks in every order it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from math import inf
from typing import Any, Final, TypeAlias

from attrs import evolve
from sortedcontainers import SortedDict, SortedList  # type: ignore[import-untyped]

from aq.apikey import ApiKey
from aq.instants import Instant, to_rfc3339
from aq.schedule import Schedule
from aq.storage.answers import Entry, Floor
from aq.storage.before import Contender, QueueHead
from aq.storage.changes import Claim
from aq.storage.draft import MINUTE, Draft
from aq.storage.ordering import LineName
from aq.task import Attempt, Counts, Environment, Queue, QueueKey, Status, Task

PRIORITIES: Final = range(10, 0, -1)
_NONE: Final = SortedList()
_Walk: TypeAlias = tuple[object, ...]
"""The name of a walk."""
_Place: TypeAlias = tuple[Instant, int]
"""An instant and a sequence."""


class Tables:
    """What is stored. Tasks are known by their sequences. It is an `aq.storage.before.Before`."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.payloads: dict[int, bytes] = {}
        self.attempts: dict[int, dict[int, Attempt]] = {}
        self.held: set[int] = set()
        """Tasks that their ordering key holds back."""
        self.queues: dict[QueueKey, Queue] = {}
        self.minutes: dict[QueueKey, SortedDict] = {}
        """How many pending tasks of a queue are due in each minute; no zeros."""
        self.claims: dict[tuple[Environment, str], Claim] = {}
        self.keys: dict[str, ApiKey] = {}
        self.schedules: dict[str, Schedule] = {}
        self.settings: dict[str, str] = {}
        self.floor = Floor()
        self._claims_by_end = SortedList()
        self._walks: dict[_Walk, SortedList] = {}

    # -- the walks ------------------------------------------------------------------------------------------
    def listed(self, environment: Environment, queue: str | None, status: Status) -> SortedList:
        """The sequences of the tasks in a state, of one queue or (None) of all."""
        return self._walks.get(("listed", environment, queue, status), _NONE)

    def waiting(self, key: QueueKey) -> SortedList:
        """The tasks that may be scheduled, due or not, as places of ``due_at``."""
        return self._walks.get(("waiting", key), _NONE)

    def due(self, key: QueueKey, now: Instant) -> Iterator[int]:
        """The due tasks in running order."""
        for priority in PRIORITIES:
            walk = self._walks.get(("waiting", key, priority), _NONE)
            yield from (sequence for _, sequence in walk.irange(maximum=(now, inf)))

    def due_at(self, key: QueueKey, now: Instant, destination: str) -> Iterator[int]:
        """The due tasks of one destination in running order."""
        for priority in PRIORITIES:
            yield from (place[3] for place in self._apart(key, now, destination, -priority))

    def due_elsewhere(self, key: QueueKey, now: Instant, aside: Sequence[str]) -> Iterator[int]:
        """The due tasks of every other destination in running order."""
        walk, left_out = self._walks.get(("apart", key), _NONE), frozenset(aside)
        streams = [
            self._apart(key, now, destination, urgency)
            for destination, urgency in _beginnings(walk)
            if destination not in left_out
        ]
        return (place[3] for place in merge(*streams, key=lambda place: place[1:]))

    def _apart(self, key: QueueKey, now: Instant, destination: str, urgency: int) -> Iterator[Any]:
        walk = self._walks.get(("apart", key), _NONE)
        beginning = destination, urgency
        found: Iterator[Any] = walk.irange(beginning, (*beginning, now, inf))
        return found

    def expiring(self, key: QueueKey) -> SortedList:
        """The pending tasks that expire, as places of ``expires_at``."""
        return self._walks.get(("expiring", key), _NONE)

    def line(self, key: QueueKey, ordering_key: str) -> SortedList:
        """The pending and active tasks of an ordering key as (pending, sequence): the first is the head."""
        return self._walks.get(("line", key, ordering_key), _NONE)

    # -- aq.storage.before.Before ---------------------------------------------------------------------------
    def head(self, sequence: int) -> Task | None:
        return self.tasks.get(sequence)

    def task(self, sequence: int) -> tuple[Task, bytes]:
        return self.tasks[sequence], self.payloads[sequence]

    def finished(
        self, key: QueueKey, statuses: Sequence[Status], before: Instant | None, limit: int
    ) -> Iterable[tuple[Instant, int, Task]]:
        walks = [self._walks.get(("finished", key, status), _NONE) for status in statuses]
        end = None if before is None else (before,)
        places = islice(merge(*(walk.irange(maximum=end) for walk in walks)), limit)
        return [(at, sequence, self.tasks[sequence]) for at, sequence in places]

    def pending(self, key: QueueKey, through: int, limit: int) -> Iterable[tuple[int, Task]]:
        walk = self.listed(*key, Status.PENDING).irange(maximum=through)
        return [(sequence, self.tasks[sequence]) for sequence in islice(walk, limit)]

    def contenders(self, key: QueueKey, ordering_key: str, limit: int) -> Iterable[Contender]:
        found = []
        for _, sequence in islice(self.line(key, ordering_key), limit):
            task = self.tasks[sequence]
            found.append(Contender(sequence, task.status, sequence in self.held, Entry.of(task)))
        return found

    def queue(self, key: QueueKey) -> QueueHead | None:
        queue = self.queues.get(key)
        return None if queue is None else QueueHead.of(queue)

    def counts(self, key: QueueKey) -> Sequence[int]:
        queue = self.queues.get(key)
        return (0, 0, 0, 0) if queue is None else each(queue.counts)

    def claimed_until(self, environment: Environment, name: str) -> Instant | None:
        claim = self.claims.get((environment, name))
        return None if claim is None else claim.expires_at

    def expired_claims(self, before: Instant, limit: int) -> Iterable[tuple[Environment, str]]:
        walk = self._claims_by_end.irange(maximum=(before + 1,))
        return [(environment, name) for _, environment, name in islice(walk, limit)]

    def schedule_version(self, schedule_id: str) -> int | None:
        schedule = self.schedules.get(schedule_id)
        return None if schedule is None else schedule.version

    # -- rule 19 --------------------------------------------------------------------------------------------
    def counted_wrongly(self) -> Iterator[str]:
        """The counters that say otherwise than the tasks."""
        states = Counter((task.queue, task.status) for task in self.tasks.values())
        waiting = [task for task in self.tasks.values() if task.status is Status.PENDING]
        minutes = Counter((task.queue, task.due_at // MINUTE) for task in waiting)
        for key in sorted({*self.queues, *self.minutes, *(key for key, _ in states)}):
            queue = self.queues.get(key)
            for status, kept in zip(Status, each(queue.counts if queue else Counts()), strict=True):
                if kept != states[key, status]:
                    yield f"queue {key}: counted {kept:,} {status} tasks, there are {states[key, status]:,}"
            counted = self.minutes.get(key, {})
            for minute in sorted({*counted, *(minute for owner, minute in minutes if owner == key)}):
                kept, there = counted.get(minute, 0), minutes[key, minute]
                if kept != there:
                    due = f"pending tasks due in the minute {to_rfc3339(minute * MINUTE)}"
                    yield f"queue {key}: counted {kept:,} {due}, there are {there:,}"

    def marked_wrongly(self) -> Iterator[str]:
        """The tasks whose mark is not what their ordering key says."""
        heads: dict[LineName, tuple[bool, int]] = {}
        for sequence, task in self.tasks.items():
            if task.ordering_key is not None and not task.status.final:
                name = LineName(task.queue, task.ordering_key)
                place = task.status is Status.PENDING, sequence
                heads[name] = min(place, heads.get(name, place))
        for sequence, task in sorted(self.tasks.items()):
            waits = task.ordering_key is not None and task.status is Status.PENDING
            held = waits and heads[LineName(task.queue, task.ordering_key or "")][1] != sequence
            if held != (sequence in self.held):
                marked, so = ("not ", "") if held else ("", "not ")
                yield (
                    f"queue {task.queue}: {task.id} is {marked}marked as held back by its ordering key,"
                    f" and is {so}held back"
                )

    # -- writing --------------------------------------------------------------------------------------------
    def apply(self, draft: Draft, now: Instant) -> None:
        moved, minutes = draft.moved(), draft.minutes()
        self._put_tasks(draft)
        for sequence, attempts in draft.records.items():
            if sequence in self.tasks:
                known = self.attempts.setdefault(sequence, {})
                known.update((attempt.number, attempt) for attempt in attempts)
        self._put_queues(draft.queues, moved)
        for key, deltas in minutes.items():
            self._move_minutes(key, deltas)
        for place, claim in draft.claims.items():
            self._put_claim(place, claim)
        self.keys.update(draft.keys)
        _put(self.schedules, draft.schedules)
        self.settings.update(draft.settings)
        self.floor = Floor(max(self.floor.now, now), max(self.floor.sequence, draft.top_sequence()))

    def _put_tasks(self, draft: Draft) -> None:
        for sequence in draft.deleted():
            self._unlist(sequence)
            del self.tasks[sequence], self.payloads[sequence]
            self.attempts.pop(sequence, None)
        for sequence, task, payload in draft.inserted():
            self._list(sequence, task, draft.held.get(sequence, False))
            self.payloads[sequence] = payload
        for sequence, task in draft.updated():
            self._unlist(sequence)
            self._list(sequence, task, draft.held.get(sequence, False))
        for sequence, held in draft.held.items():
            if sequence not in draft.tasks:
                self._unlist(sequence)
                self._list(sequence, self.tasks[sequence], held)

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
                counts = map(sum, zip(each(known.counts), deltas, strict=True))
                self.queues[key] = evolve(known, counts=Counts(*counts))

    def _move_minutes(self, key: QueueKey, deltas: Mapping[int, int]) -> None:
        minutes = self.minutes.setdefault(key, SortedDict())
        for minute, delta in deltas.items():
            if count := minutes.pop(minute, 0) + delta:
                minutes[minute] = count
        if not minutes:
            del self.minutes[key]

    def _put_claim(self, place: tuple[Environment, str], claim: Claim | None) -> None:
        if (known := self.claims.pop(place, None)) is not None:
            self._claims_by_end.remove((known.expires_at, *place))
        if claim is not None:
            self.claims[place] = claim
            self._claims_by_end.add((claim.expires_at, *place))

    def _list(self, sequence: int, task: Task, held: bool) -> None:
        self.tasks[sequence] = task
        if held:
            self.held.add(sequence)
        for walk, place in _places(sequence, task, held):
            self._walks.setdefault(walk, SortedList()).add(place)

    def _unlist(self, sequence: int) -> None:
        for walk, place in _places(sequence, self.tasks[sequence], sequence in self.held):
            places = self._walks[walk]
            places.remove(place)
            if not places:
                del self._walks[walk]
        self.held.discard(sequence)


def each(counts: Counts) -> tuple[int, int, int, int]:
    return counts.pending, counts.active, counts.completed, counts.failed


def _put(table: dict[str, Any], put: Mapping[str, Any]) -> None:
    for name, value in put.items():
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value


def _places(sequence: int, task: Task, held: bool) -> Iterator[tuple[_Walk, Any]]:
    """The walks a task is on, and where."""
    key, status = task.queue, task.status
    yield ("listed", *key, status), sequence
    yield ("listed", key.environment, None, status), sequence
    if status.final:
        yield ("finished", key, status), (task.finished_at or 0, sequence)
        return
    if task.ordering_key is not None:
        yield ("line", key, task.ordering_key), (status is Status.PENDING, sequence)
    if status is Status.ACTIVE:
        return
    if task.expires_at is not None:
        yield ("expiring", key), (task.expires_at, sequence)
    if not held and key.environment is not Environment.TEST:
        yield ("waiting", key), (task.due_at, sequence)
        yield ("waiting", key, task.priority), (task.due_at, sequence)
        yield ("apart", key), (task.destination, -task.priority, task.due_at, sequence)


def _beginnings(walk: SortedList) -> Iterator[tuple[str, int]]:
    """The different (destination, -priority) on a walk, without passing over the tasks of each."""
    place = 0
    while place < len(walk):
        destination, urgency = walk[place][:2]
        yield destination, urgency
        place = walk.bisect_right((destination, urgency, inf))
