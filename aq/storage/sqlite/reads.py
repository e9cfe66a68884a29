"""The reads, each over one connection and each of one moment. They run in worker threads.

Larger ones have a module of their own: `lists`, `windows`, `audit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from aq.apikey import ApiKey
from aq.ids import sequence_of
from aq.instants import Instant
from aq.schedule import Schedule
from aq.storage.answers import Backlog, Claimed, Expiring, Floor, StoredTask, Window
from aq.storage.draft import MINUTE
from aq.storage.sqlite import statements as sql
from aq.storage.sqlite import windows
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.rows import ENVIRONMENT_RANK, ENVIRONMENTS, attempt_of, key_of, queue_of, task_of
from aq.storage.sqlite.statements import one_moment
from aq.task import Environment, Queue, QueueKey, Task

_SCHEDULE: Final = msgspec.json.Decoder(Schedule)
_SCHEDULES: Final = msgspec.json.Decoder(list[Schedule])


def task(db: Connection, task_id: str) -> StoredTask | None:
    sequence = sequence_of(task_id)
    if sequence is None:
        return None
    with one_moment(db):
        found = sql.read_json(db, sql.ONE_TASK, (sequence, task_id))
        payload = db.execute(sql.PAYLOAD, (sequence,)) if found else []
        attempts = db.execute(sql.ATTEMPTS, (sequence,)) if found else []
    if not found:
        return None
    return StoredTask(task_of(found[0]), payload[0][0], [attempt_of(row) for row in attempts])


def window(
    db: Connection, key: QueueKey, now: Instant, limit: int, aside: Sequence[str], aside_limit: int
) -> Window:
    with one_moment(db):
        return windows.window(db, _queue_id(db, key), now, limit, aside, aside_limit)


def expiring(db: Connection, key: QueueKey, now: Instant, limit: int) -> Expiring:
    with one_moment(db):
        queue_id = _queue_id(db, key)
        rows = sql.read_json(db, sql.EXPIRED, (queue_id, now, limit + 1))
        following = [] if len(rows) > limit else db.execute(sql.NEXT_TO_EXPIRE, (queue_id, now))
    tasks = [task_of(columns) for columns in rows]
    if len(tasks) > limit:
        return Expiring(tasks[:limit], tasks[limit].expires_at)
    return Expiring(tasks, following[0][0] if following else None)


def head_of(db: Connection, key: QueueKey, ordering_key: str) -> str | None:
    with one_moment(db):
        rows = sql.read_json(db, sql.HEAD_OF_LINE, (_queue_id(db, key), ordering_key))
    return rows[0][0] if rows else None


def active(db: Connection, key: QueueKey, limit: int) -> Sequence[Task]:
    with one_moment(db):
        rows = sql.read_json(db, sql.ACTIVE, (_queue_id(db, key), limit))
    return [task_of(columns) for columns in rows]


def queue(db: Connection, key: QueueKey) -> Queue | None:
    rows = sql.read_json(db, sql.ONE_QUEUE, (ENVIRONMENT_RANK[key.environment], key.name))
    return queue_of(rows[0]) if rows else None


def queues(db: Connection, environment: Environment | None) -> Sequence[Queue]:
    found = [queue_of(columns) for columns in sql.read_json(db, sql.QUEUES, _ranks(environment))]
    return sorted(found, key=lambda queue: queue.key)


def backlogs(
    db: Connection, environment: Environment, now: Instant, name: str | None
) -> Mapping[str, Backlog]:
    rank, minute = ENVIRONMENT_RANK[environment], now // MINUTE
    if name is None:
        rows = sql.read_json(db, sql.BACKLOGS, (minute, rank))
    else:
        rows = sql.read_json(db, sql.BACKLOG, (minute, rank, name))
    return {name: Backlog(scheduled, oldest) for name, scheduled, oldest in rows}


def claim(db: Connection, environment: Environment, name: str, now: Instant) -> Claimed | None:
    rows = db.execute(sql.CLAIM, (ENVIRONMENT_RANK[environment], name, now))
    return Claimed(*rows[0]) if rows else None


def api_keys(db: Connection) -> Sequence[ApiKey]:
    return [key_of(columns) for columns in sql.read_json(db, sql.API_KEYS)]


def schedule(db: Connection, schedule_id: str) -> Schedule | None:
    rows = db.execute(sql.SCHEDULE, (schedule_id,))
    return _SCHEDULE.decode(rows[0][0]) if rows else None


def schedules(db: Connection, environment: Environment | None) -> Sequence[Schedule]:
    return _SCHEDULES.decode(db.execute(sql.SCHEDULES, _ranks(environment))[0][0])


def settings(db: Connection) -> Mapping[str, str]:
    return {name: value for name, value in sql.read_json(db, sql.SETTINGS)}  # noqa: C416 -- typed


def floor(db: Connection) -> Floor:
    now, sequence, _ = db.execute(sql.META)[0]
    return Floor(now, sequence)


def _ranks(environment: Environment | None) -> tuple[int, int]:
    """The lowest and the highest rank of what is asked for."""
    return (0, len(ENVIRONMENTS)) if environment is None else (ENVIRONMENT_RANK[environment],) * 2


def _queue_id(db: Connection, key: QueueKey) -> int:
    """0, which no queue has, for one that is not there."""
    rows = db.execute(sql.QUEUE_ID, (ENVIRONMENT_RANK[key.environment], key.name))
    return int(rows[0][0]) if rows else 0
