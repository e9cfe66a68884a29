"""Every statement that reads or writes the store's tables, as text.

A read gives one row holding one JSON text, however many tasks it is of. Python gives up its lock (the GIL)
around every row it steps to; beside a busy event loop each of those can cost a thread's turn of 5 ms, so that
4,096 rows took seconds and one row of 4,096 tasks takes milliseconds. Writes go many rows a statement for the
same reason.
"""

# ruff: noqa: S608 -- the texts are put together from constants of this file; values are always parameters
from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

import msgspec
from attrs import frozen

from aq.storage.sqlite.connection import Connection

_ROWS_PER_STATEMENT: Final = (64, 16, 4, 1)


def _json(columns: str, source: str) -> str:
    """All rows of a source, in its order, as one JSON array of arrays."""
    return f"SELECT CAST(json_group_array(json_array({columns})) AS BLOB) FROM {source}"


def read_json(db: Connection, sql: str, parameters: Sequence[Any] = ()) -> list[list[Any]]:
    """The rows that a statement made by `_json` gives."""
    rows: list[list[Any]] = msgspec.json.decode(db.execute(sql, parameters)[0][0])
    return rows


# -- reads --------------------------------------------------------------------------------------------------
TASK: Final = (
    "t.id, q.environment, q.name, t.webhook_url, t.priority, t.delay, t.created_at, t.due_at, t.max_retries,"
    " t.timeout, t.traceparent, t.status, t.version, t.attempt, t.failures, t.unknowns, t.started_at,"
    " t.finished_at, t.failure_reason"
)
QUEUE: Final = (
    "q.environment, q.name, q.policy, q.created_at, q.version, q.pending, q.active, q.completed, q.failed"
)
_TASKS: Final = "tasks AS t CROSS JOIN queues AS q ON q.id = t.queue_id"
_GIVEN: Final = "(SELECT value FROM json_each(?))"
_WAITING: Final = "status = 0 AND environment = 0"

META: Final = "SELECT now, sequence, commit_number FROM meta WHERE one = 1"
QUEUE_ID: Final = "SELECT id FROM queues WHERE environment = ? AND name = ?"
QUEUE_IDS: Final = _json("id, environment, name, version", "queues")
ONE_QUEUE: Final = _json(QUEUE, "queues AS q WHERE environment = ? AND name = ?")
QUEUES: Final = _json(
    QUEUE,
    "(SELECT * FROM queues WHERE environment BETWEEN ? AND ? ORDER BY environment, name LIMIT -1) AS q",
)
SETTINGS: Final = _json("name, value", "settings")
HEADS: Final = _json(
    "t.seq, t.id, q.environment, q.name, t.status, t.version",
    f"{_TASKS} WHERE t.seq IN {_GIVEN}",
)
TO_START: Final = _json(
    f"t.seq, hex(p.body), {TASK}",
    f"{_TASKS} CROSS JOIN payloads AS p ON p.seq = t.seq WHERE t.seq IN {_GIVEN}",
)
ONE_TASK: Final = _json(TASK, f"{_TASKS} WHERE t.seq = ? AND t.id = ?")
PAYLOAD: Final = "SELECT body FROM payloads WHERE seq = ?"
ATTEMPTS: Final = (
    "SELECT number, status, executed_at, duration_us, lateness_us, response_code, error_type, error,"
    " response_body, timing FROM attempts WHERE seq = ? ORDER BY number"
)
ACTIVE: Final = _json(
    TASK,
    "(SELECT seq FROM tasks INDEXED BY tasks_by_queue WHERE queue_id = ? AND status = 1 ORDER BY seq LIMIT ?)"
    f" AS page CROSS JOIN {_TASKS} WHERE t.seq = page.seq",
)
FINISHED: Final = _json(
    "seq, id, status, version",
    "(SELECT t.seq, t.id, t.status, t.version FROM"
    " (SELECT seq FROM tasks INDEXED BY tasks_by_queue WHERE queue_id = ? AND status = 2 UNION ALL"
    " SELECT seq FROM tasks INDEXED BY tasks_by_queue WHERE queue_id = ? AND status = 3"
    " ORDER BY seq LIMIT ?) AS page"
    " CROSS JOIN tasks AS t WHERE t.seq = page.seq)",
)
_ENTRY: Final = "id, priority, due_at, version"
DUE: Final = _json(
    _ENTRY,
    f"(SELECT {_ENTRY} FROM tasks INDEXED BY tasks_due WHERE {_WAITING}"
    " AND queue_id = ? AND priority = ? AND due_at <= ? ORDER BY due_at, seq LIMIT ?)",
)
UPCOMING: Final = _json(
    _ENTRY,
    f"(SELECT {_ENTRY} FROM tasks INDEXED BY tasks_upcoming WHERE {_WAITING}"
    " AND queue_id = ? AND due_at > ? ORDER BY due_at, seq LIMIT ?)",
)
COUNTS_OF_QUEUE: Final = "SELECT pending, active, completed, failed FROM queues WHERE id = ?"
COUNTS_OF_ENVIRONMENT: Final = (
    "SELECT sum(pending), sum(active), sum(completed), sum(failed)"
    " FROM queues INDEXED BY queues_by_name WHERE environment = ?"
)


def _page(index: str, column: str, statuses: Sequence[int]) -> str:
    """For each status the queue or environment and below which sequence, then limit, offset; newest first."""
    walks = " UNION ALL ".join(
        f"SELECT seq FROM tasks INDEXED BY {index} WHERE {column} = ? AND status = {status} AND seq < ?"
        for status in statuses
    )
    return _json(
        TASK,
        f"({walks} ORDER BY seq DESC LIMIT ? OFFSET ?) AS page CROSS JOIN {_TASKS} WHERE t.seq = page.seq",
    )


ALL_STATUSES: Final = (0, 1, 2, 3)
PAGES: Final = {
    (column, statuses): _page(index, column, statuses)
    for index, column in (("tasks_by_queue", "queue_id"), ("tasks_by_environment", "environment"))
    for statuses in (ALL_STATUSES, (0,), (1,), (2,), (3,))
}
"""By (column, statuses): the list statements."""


# -- writes -------------------------------------------------------------------------------------------------
@frozen
class Bulk:
    """A statement over a list of rows: ``head VALUES (…), (…) tail``, ``width`` columns each."""

    head: str
    width: int
    tail: str = ""

    def run(self, db: Connection, rows: Sequence[Sequence[Any]]) -> None:
        at = 0
        for size in _ROWS_PER_STATEMENT:
            while len(rows) - at >= size:
                db.execute(self.text(size), list(chain.from_iterable(rows[at : at + size])))
                at += size

    def text(self, size: int) -> str:
        """The statement for so many rows."""
        return _bulk_text(self, size)


@cache
def _bulk_text(bulk: Bulk, size: int) -> str:
    row = f"({', '.join('?' * bulk.width)})"
    return f"{bulk.head} VALUES {', '.join([row] * size)} {bulk.tail}"


def _update(table: str, columns: Sequence[str], key: str) -> Bulk:
    """Update many rows; a row is the key, then what each column is set to (``{}`` stands for the value)."""
    sets = ", ".join(column.format(f"v.column{place}") for place, column in enumerate(columns, start=2))
    return Bulk(f"UPDATE {table} SET {sets} FROM (", 1 + len(columns), f") AS v WHERE {key} = v.column1")


INSERT_TASKS: Final = Bulk("INSERT INTO tasks", 22)
INSERT_PAYLOADS: Final = Bulk("INSERT INTO payloads", 2)
UPDATE_TASKS: Final = _update(
    "tasks",
    [
        "status = {}",
        "version = {}",
        "priority = {}",
        "due_at = {}",
        "max_retries = {}",
        "timeout = {}",
        "attempt = {}",
        "failures = {}",
        "unknowns = {}",
        "started_at = {}",
        "finished_at = {}",
        "failure_reason = {}",
    ],
    "seq",
)
PUT_ATTEMPTS: Final = Bulk("INSERT OR REPLACE INTO attempts", 11)
PUT_SETTINGS: Final = Bulk("INSERT OR REPLACE INTO settings", 2)
INSERT_QUEUES: Final = Bulk("INSERT INTO queues", 10)
UPDATE_QUEUES: Final = _update("queues", ["policy = {}", "version = {}", "created_at = {}"], "id")
MOVE_COUNTS: Final = _update(
    "queues", [f"{name} = {name} + {{}}" for name in ("pending", "active", "completed", "failed")], "id"
)
DELETE_QUEUE: Final = "DELETE FROM queues WHERE id = ?"
DELETE_TASKS: Final = [
    f"DELETE FROM {table} WHERE seq IN {_GIVEN}" for table in ("tasks", "payloads", "attempts")
]
RAISE_META: Final = (
    "UPDATE meta SET now = max(now, ?), sequence = max(sequence, ?), commit_number = ? WHERE one = 1"
)
