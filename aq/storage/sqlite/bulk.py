"""Every statement that changes the store's tables, as text: many rows a statement (`statements` says why)."""

# ruff: noqa: S608 -- the texts are put together from constants of this file; values are always parameters
from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

from attrs import frozen

from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.statements import GIVEN

_ROWS_PER_STATEMENT: Final = (64, 32, 16, 8, 4, 2, 1)


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


def _set(*columns: str) -> list[str]:
    return [f"{column} = {{}}" for column in columns]


def _update(table: str, columns: Sequence[str], key: str) -> Bulk:
    """Update many rows; a row is the key, then what each column is set to (``{}`` stands for the value)."""
    sets = ", ".join(column.format(f"v.column{place}") for place, column in enumerate(columns, start=2))
    return Bulk(f"UPDATE {table} SET {sets} FROM (", 1 + len(columns), f") AS v WHERE {key} = v.column1")


_PLAIN: Final = (
    "seq, id, environment, queue_id, status, version, priority, due_at, destination, ordering_key,"
    " webhook_url, delay, created_at, max_retries, timeout, traceparent, attempt, failures, unknowns,"
    " started_at, finished_at, failure_reason"
)
INSERT_TASKS: Final = Bulk(
    f"INSERT INTO tasks ({_PLAIN}, options, error_type, expires_at, callback_id, held, lane)", 28
)
INSERT_PLAIN_TASKS: Final = Bulk(f"INSERT INTO tasks ({_PLAIN})", 22)
INSERT_PAYLOADS: Final = Bulk("INSERT INTO payloads", 2)
_KEPT: Final = "priority", "due_at", "max_retries", "timeout", "attempt"
_RARE: Final = "error_type", "expires_at", "callback_id", "held", "lane"
_ENDED: Final = "status", "version", "failures", "unknowns", "started_at", "finished_at", "failure_reason"
UPDATE_TASKS: Final = _update("tasks", _set(*_ENDED, *_KEPT, *_RARE), "seq")
END_TASKS: Final = _update("tasks", _set(*_ENDED), "seq")
START_TASKS: Final = _update("tasks", _set("status", "version", "attempt", "started_at"), "seq")
MARK_TASKS: Final = _update("tasks", _set("held"), "seq")
DELETE_TASKS: Final = [
    f"DELETE FROM {table} WHERE seq IN {GIVEN}" for table in ("tasks", "payloads", "attempts")
]
PUT_ATTEMPTS: Final = Bulk("INSERT OR REPLACE INTO attempts", 11)

INSERT_QUEUES: Final = Bulk(
    "INSERT INTO queues (id, environment, name, policy, version, created_at, clearing, revival,"
    " pending, active, completed, failed)",
    12,
)
UPDATE_QUEUES: Final = _update(
    "queues",
    _set("policy", "version", "created_at", "clearing", "revival"),
    "id",
)
DELETE_QUEUE: Final = "DELETE FROM queues WHERE id = ?"
MOVE_COUNTS: Final = _update(
    "queues", [f"{name} = {name} + {{}}" for name in ("pending", "active", "completed", "failed")], "id"
)
MOVE_MINUTES: Final = Bulk(
    "INSERT INTO due_minutes",
    3,
    "ON CONFLICT DO UPDATE SET pending = pending + excluded.pending",
)
DELETE_MINUTES: Final = (
    "DELETE FROM due_minutes WHERE pending = 0"
    " AND (queue_id, minute) IN (SELECT value->>0, value->>1 FROM json_each(?))"
)

PUT_CLAIMS: Final = Bulk(
    "INSERT INTO claims (environment, name, fingerprint, answer, expires_at)",
    5,
    "ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer,"
    " expires_at = excluded.expires_at",
)
DELETE_CLAIMS: Final = (
    "DELETE FROM claims WHERE seq IN (SELECT c.seq FROM json_each(?) AS given"
    " CROSS JOIN claims AS c INDEXED BY claims_by_name"
    " WHERE c.environment = given.value->>0 AND c.name = given.value->>1)"
)
PUT_KEYS: Final = Bulk("INSERT OR REPLACE INTO api_keys", 9)
PUT_SCHEDULES: Final = Bulk("INSERT OR REPLACE INTO schedules", 4)
DELETE_SCHEDULES: Final = f"DELETE FROM schedules WHERE id IN {GIVEN}"
PUT_SETTINGS: Final = Bulk("INSERT OR REPLACE INTO settings", 2)
RAISE_META: Final = (
    "UPDATE meta SET now = max(now, ?), sequence = max(sequence, ?), commit_number = ? WHERE one = 1"
)
GIVE_BACK: Final = "PRAGMA incremental_vacuum({})"
"""For `Connection.script`: a row without columns comes for each page, and `execute` stops at the first."""
