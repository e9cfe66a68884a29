"""The reads, each over one connection and each of one moment. They run in worker threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from aq.ids import sequence_of
from aq.instants import Instant
from aq.storage.draft import RANK
from aq.storage.protocol import Entry, Floor, StoredTask, TaskFilter, TaskPage, Window
from aq.storage.sqlite import statements as sql
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.rows import ENVIRONMENT_RANK, ENVIRONMENTS, attempt_of, queue_of, task_of
from aq.task import Environment, Queue, QueueKey, Task

_PRIORITIES: Final = range(10, 0, -1)
_ABOVE_ALL: Final = (1 << 63) - 1
_ENTRIES: Final = msgspec.json.Decoder(list[Entry])


@contextmanager
def _one_moment(db: Connection) -> Iterator[None]:
    """Several statements, one snapshot. After an error the connection is closed, which ends it too."""
    db.execute("BEGIN")
    yield
    db.execute("COMMIT")


def task(db: Connection, task_id: str) -> StoredTask | None:
    sequence = sequence_of(task_id)
    if sequence is None:
        return None
    with _one_moment(db):
        found = sql.read_json(db, sql.ONE_TASK, (sequence, task_id))
        payload = db.execute(sql.PAYLOAD, (sequence,)) if found else []
        attempts = db.execute(sql.ATTEMPTS, (sequence,)) if found else []
    if not found:
        return None
    return StoredTask(task_of(found[0]), payload[0][0], [attempt_of(row) for row in attempts])


def list_tasks(db: Connection, which: TaskFilter, limit: int, offset: int, before: str | None) -> TaskPage:
    below = _ABOVE_ALL if before is None else sequence_of(before) or 0
    statuses = sql.ALL_STATUSES if which.status is None else (RANK[which.status],)
    environment = ENVIRONMENT_RANK[which.environment]
    with _one_moment(db):
        if which.queue is None:
            column, value = "environment", environment
            counts = db.execute(sql.COUNTS_OF_ENVIRONMENT, (environment,))[0]
        else:
            column, value = "queue_id", _queue_id(db, QueueKey(which.environment, which.queue))
            counts = next(iter(db.execute(sql.COUNTS_OF_QUEUE, (value,))), ())
        rows = sql.read_json(
            db, sql.PAGES[column, statuses], (*(value, below) * len(statuses), limit, offset)
        )
    total = sum(counts[status] or 0 for status in statuses) if counts else 0
    return TaskPage([task_of(columns) for columns in rows], total)


def window(db: Connection, key: QueueKey, now: Instant, limit: int) -> Window:
    due: list[Entry] = []
    with _one_moment(db):
        queue_id = _queue_id(db, key)
        for priority in _PRIORITIES:
            due += _entries(db, sql.DUE, (queue_id, priority, now, limit + 1 - len(due)))
            if len(due) > limit:
                break
        upcoming = _entries(db, sql.UPCOMING, (queue_id, now, limit + 1))
    return Window(due[:limit], len(due) <= limit, upcoming[:limit], len(upcoming) <= limit)


def active(db: Connection, key: QueueKey, limit: int) -> Sequence[Task]:
    with _one_moment(db):
        rows = sql.read_json(db, sql.ACTIVE, (_queue_id(db, key), limit))
    return [task_of(columns) for columns in rows]


def queue(db: Connection, key: QueueKey) -> Queue | None:
    rows = sql.read_json(db, sql.ONE_QUEUE, (ENVIRONMENT_RANK[key.environment], key.name))
    return queue_of(rows[0]) if rows else None


def queues(db: Connection, environment: Environment | None) -> Sequence[Queue]:
    ranks = (0, len(ENVIRONMENTS)) if environment is None else (ENVIRONMENT_RANK[environment],) * 2
    return [queue_of(columns) for columns in sql.read_json(db, sql.QUEUES, ranks)]


def settings(db: Connection) -> Mapping[str, str]:
    return {name: value for name, value in sql.read_json(db, sql.SETTINGS)}  # noqa: C416 -- typed


def floor(db: Connection) -> Floor:
    now, sequence, _ = db.execute(sql.META)[0]
    return Floor(now, sequence)


def _entries(db: Connection, statement: str, parameters: Sequence[Any]) -> list[Entry]:
    return _ENTRIES.decode(db.execute(statement, parameters)[0][0])


def _queue_id(db: Connection, key: QueueKey) -> int:
    """0, which no queue has, for one that is not there."""
    rows = db.execute(sql.QUEUE_ID, (ENVIRONMENT_RANK[key.environment], key.name))
    return int(rows[0][0]) if rows else 0
