"""Rule 19: what is kept counted or marked, against what every task says. These statements scan and sort."""

# ruff: noqa: S608 -- the texts are put together from constants of this file
from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from aq.storage.before import STATUSES
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.rows import queue_key
from aq.storage.sqlite.statements import as_json, one_moment, read_json

MOST_TOLD: Final = 1_000
"""Differences of one kind that are told."""
_MINUTE: Final = "(due_at - (due_at % 60000000 + 60000000) % 60000000) / 60000000"
_NAMED: Final = "AS d LEFT JOIN queues AS q ON q.id = d.queue_id"

COUNTS: Final = as_json(
    "q.environment, q.name, d.queue_id, d.status, d.kept, d.there",
    "(SELECT queue_id, status, sum(kept) AS kept, sum(there) AS there FROM ("
    "SELECT id AS queue_id, 0 AS status, pending AS kept, 0 AS there FROM queues"
    " UNION ALL SELECT id, 1, active, 0 FROM queues"
    " UNION ALL SELECT id, 2, completed, 0 FROM queues"
    " UNION ALL SELECT id, 3, failed, 0 FROM queues"
    " UNION ALL SELECT queue_id, status, 0, count(*) FROM tasks GROUP BY queue_id, status)"
    f" GROUP BY queue_id, status HAVING sum(kept) <> sum(there) LIMIT {MOST_TOLD}) {_NAMED}",
)
MINUTES: Final = as_json(
    "q.environment, q.name, d.queue_id, d.minute, d.kept, d.there",
    "(SELECT queue_id, minute, sum(kept) AS kept, sum(there) AS there FROM ("
    "SELECT queue_id, minute, pending AS kept, 0 AS there FROM due_minutes"
    f" UNION ALL SELECT queue_id, {_MINUTE}, 0, count(*) FROM tasks WHERE status = 0 GROUP BY 1, 2)"
    f" GROUP BY queue_id, minute HAVING sum(kept) <> sum(there) LIMIT {MOST_TOLD}) {_NAMED}",
)
MARKS: Final = as_json(
    "q.environment, q.name, d.queue_id, d.id, d.held",
    "(SELECT t.queue_id, t.id, t.held FROM tasks AS t LEFT JOIN"
    " (SELECT seq, row_number() OVER (PARTITION BY queue_id, ordering_key ORDER BY status DESC, seq) AS place"
    " FROM tasks WHERE ordering_key IS NOT NULL AND status < 2) AS line ON line.seq = t.seq"
    " WHERE t.held <> (t.status = 0 AND coalesce(line.place, 1) > 1)"
    f" ORDER BY t.seq LIMIT {MOST_TOLD}) {_NAMED}",
)


def audit(db: Connection) -> Sequence[str]:
    """What differs, in words; nothing on a store that is as it should be."""
    with one_moment(db):
        return [*_integrity(db), *_counts(db), *_minutes(db), *_marks(db)]


def _integrity(db: Connection) -> Iterator[str]:
    """Indexes against their tables, too: the check at the opening does not compare them."""
    for (text,) in db.execute(f"PRAGMA integrity_check({MOST_TOLD})"):
        if text != "ok":
            yield f"the file: {text}"


def _counts(db: Connection) -> Iterator[str]:
    for environment, name, queue_id, status, kept, there in read_json(db, COUNTS):
        queue = _queue(environment, name, queue_id)
        yield f"{queue}: counted {kept:,} {STATUSES[status]} tasks, there are {there:,}"


def _minutes(db: Connection) -> Iterator[str]:
    for environment, name, queue_id, minute, kept, there in read_json(db, MINUTES):
        at = datetime.fromtimestamp(60 * minute, UTC)
        yield (
            f"{_queue(environment, name, queue_id)}: counted {kept:,} pending tasks due in the minute"
            f" {at:%Y-%m-%dT%H:%MZ}, there are {there:,}"
        )


def _marks(db: Connection) -> Iterator[str]:
    for environment, name, queue_id, task_id, held in read_json(db, MARKS):
        yield (
            f"{_queue(environment, name, queue_id)}: {task_id} is {'' if held else 'not '}marked as held back"
            f" by its ordering key, and is {'not ' if held else ''}held back"
        )


def _queue(environment: int | None, name: str | None, queue_id: int) -> str:
    if environment is None or name is None:
        return f"a queue that is not there (number {queue_id})"
    return f"queue {queue_key(environment, name)}"
