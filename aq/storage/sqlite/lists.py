"""Lists of tasks, and how many there are."""

# ruff: noqa: S608 -- the texts are put together from constants of this file; values are always parameters
from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from attrs import frozen

from aq.ids import sequence_of
from aq.instants import Instant
from aq.storage.answers import MOST_LOOKED_AT, TaskFilter, TaskPage
from aq.storage.before import RANK
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.rows import ENVIRONMENT_RANK, task_of
from aq.storage.sqlite.statements import (
    COUNTS_OF_ENVIRONMENT,
    COUNTS_OF_QUEUES,
    TASK,
    TASKS,
    as_json,
    given,
    one_moment,
    read_json,
)

MOST_MERGED: Final = 100
"""Queues whose walks are merged. A list of more walks the whole environment, as a filtered list does."""
ALL_STATUSES: Final = (0, 1, 2, 3)
INDEXES: Final = {"queue_id": "tasks_by_queue", "environment": "tasks_by_environment"}
CONDITIONS: Final = {
    "queues": "t.queue_id IN (SELECT value FROM json_each(?))",
    "tag": "EXISTS (SELECT 1 FROM json_each(t.options, '$.tags') WHERE value = ?)",
    "error_type": "t.error_type = ?",
    "destination": "t.destination = ?",
    "created_after": "t.created_at >= ?",
    "created_before": "t.created_at < ?",
    "finished_after": "t.finished_at >= ?",
    "finished_before": "t.finished_at < ?",
}
_BEYOND_ALL: Final = (1 << 63) - 1
_COUNTER_BITS: Final = 15
_BORROWED_US: Final = 100_000
"""By how much an id may run ahead of its task's creation: a burst borrows from the milliseconds to come."""

_Bounds: TypeAlias = tuple[int, int]
"""Sequences: above the one, below the other."""
EVERYWHERE: Final = -1, _BEYOND_ALL


@frozen
class Walk:
    """Tasks in the order of their sequences: of so many queues (or one environment) and these states."""

    column: str
    keys: int
    statuses: tuple[int, ...]
    upwards: bool = False

    def text(self) -> str:
        """For each key and status the key and the two bounds; then limit and offset."""
        return f"{self.arms()} ORDER BY seq {'ASC' if self.upwards else 'DESC'} LIMIT ? OFFSET ?"

    def arms(self) -> str:
        """The same in no order, without an end."""
        walk = f"SELECT seq FROM tasks INDEXED BY {INDEXES[self.column]} WHERE {self.column} = ?"
        arms = [f"{walk} AND status = {status} AND seq > ? AND seq < ?" for status in self.statuses]
        return " UNION ALL ".join(arms * self.keys)


@lru_cache(maxsize=256)
def page_text(walk: Walk) -> str:
    """The tasks of a walk."""
    return as_json(TASK, f"({walk.text()}) AS page CROSS JOIN {TASKS} WHERE t.seq = page.seq")


@lru_cache(maxsize=256)
def filtered_text(walk: Walk, conditions: tuple[str, ...]) -> str:
    """The tasks of a walk that meet the conditions; then their parameters, limit and offset."""
    where = " AND ".join(CONDITIONS[name] for name in conditions)
    found = f"({walk.text()}) AS walk CROSS JOIN tasks AS t WHERE t.seq = walk.seq AND {where}"
    page = f"(SELECT t.seq FROM {found} LIMIT ? OFFSET ?)"
    return as_json(TASK, f"{page} AS page CROSS JOIN {TASKS} WHERE t.seq = page.seq")


@lru_cache(maxsize=256)
def count_text(walk: Walk, conditions: tuple[str, ...]) -> str:
    """How many tasks of a walk meet the conditions: it looks at each of them."""
    where = " AND ".join(CONDITIONS[name] for name in conditions)
    found = f"({walk.arms()}) AS walk CROSS JOIN tasks AS t WHERE t.seq = walk.seq AND {where}"
    return f"SELECT count(*) FROM {found}"


@lru_cache(maxsize=256)
def ids_text(walk: Walk) -> str:
    """The ids of a walk."""
    return as_json("t.id", f"({walk.text()}) AS walk CROSS JOIN tasks AS t WHERE t.seq = walk.seq")


class Source:
    """What a filter asks of the store: which walk, and under which conditions."""

    def __init__(self, db: Connection, which: TaskFilter, upwards: bool) -> None:
        environment = ENVIRONMENT_RANK[which.environment]
        self.statuses = ALL_STATUSES if which.status is None else (RANK[which.status],)
        if which.queues is None:
            rows = read_json(db, COUNTS_OF_ENVIRONMENT, (environment,))
            column, self.keys = "environment", [environment]
        else:
            rows = read_json(db, COUNTS_OF_QUEUES, (environment, given(which.queues)))
            column, self.keys = "queue_id", [queue_id for queue_id, *_ in rows]
        self.total = sum(counts[status] for _, *counts in rows for status in self.statuses)
        asked = {name: getattr(which, name) for name in CONDITIONS if name != "queues"}
        conditions = {name: value for name, value in asked.items() if value is not None}
        if len(self.keys) > MOST_MERGED:
            conditions = {"queues": given(self.keys), **conditions}
            column, self.keys = "environment", [environment]
        self.conditions = tuple(conditions)
        self.values = tuple(conditions.values())
        self.walk = Walk(column, len(self.keys), self.statuses, upwards)

    def within(self, bounds: _Bounds) -> list[int]:
        """The parameters of the walk, but its limit and offset."""
        return [value for key in self.keys for _ in self.statuses for value in (key, *bounds)]


def list_tasks(
    db: Connection, which: TaskFilter, limit: int, offset: int, before: str | None, after: str | None
) -> TaskPage:
    bounds = _bounds(which, before, after)
    with one_moment(db):
        source = Source(db, which, upwards=after is not None)
        total = source.total if which.counted else None
        if not source.keys or _empty(bounds):
            return TaskPage([], total, None)
        if source.conditions:
            return _filtered(db, source, bounds, total, limit, offset)
        rows = read_json(db, page_text(source.walk), (*source.within(bounds), limit + 1, offset))
    tasks = [task_of(columns) for columns in rows]
    return TaskPage(tasks[:limit], total, tasks[limit - 1].id if limit and len(tasks) > limit else None)


def _filtered(
    db: Connection, source: Source, bounds: _Bounds, total: int | None, limit: int, offset: int
) -> TaskPage:
    """At most `MOST_LOOKED_AT` tasks are looked at; what else there is comes with the next page."""
    looked = *source.within(bounds), MOST_LOOKED_AT, 0
    rows = read_json(
        db, filtered_text(source.walk, source.conditions), (*looked, *source.values, limit, offset)
    )
    tasks = [task_of(columns) for columns in rows]
    if len(tasks) < limit:
        place = *source.within(bounds), 2, MOST_LOOKED_AT - 1
        last = read_json(db, ids_text(source.walk), place)
        return TaskPage(tasks, total, last[0][0] if len(last) == 2 else None)
    if not tasks:
        return TaskPage([], total, None)
    last_sequence = sequence_of(tasks[-1].id) or 0
    beyond = (last_sequence, bounds[1]) if source.walk.upwards else (bounds[0], last_sequence)
    more = read_json(db, ids_text(source.walk), (*source.within(beyond), 1, 0))
    return TaskPage(tasks, total, tasks[-1].id if more else None)


def count_tasks(db: Connection, which: TaskFilter) -> int:
    bounds = _bounds(which, None, None)
    with one_moment(db):
        source = Source(db, which, upwards=False)
        if which.counted:
            return int(source.total)
        if not source.keys or _empty(bounds):
            return 0
        text = count_text(source.walk, source.conditions)
        found: int = db.execute(text, (*source.within(bounds), *source.values))[0][0]
    return found


def _bounds(which: TaskFilter, before: str | None, after: str | None) -> _Bounds:
    """Between which sequences a page lies; nothing lies in bounds that are empty."""
    low, high = EVERYWHERE
    for text in (before, after or None):
        if text is not None and sequence_of(text) is None:
            return 0, 0
    if before is not None:
        high = sequence_of(before) or 0
    if after:
        low = sequence_of(after) or 0
    if which.created_after is not None:
        low = max(low, _first_sequence(which.created_after) - 1)
    if which.created_before is not None:
        high = min(high, _first_sequence(which.created_before + 1_000 + _BORROWED_US))
    return low, high


def _first_sequence(at: Instant) -> int:
    """The lowest one of an id that is made then."""
    return at // 1_000 << _COUNTER_BITS


def _empty(bounds: _Bounds) -> bool:
    return bounds[0] + 1 >= bounds[1]
