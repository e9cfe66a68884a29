"""What is asked of the store's tables, as text; what changes them stands in `bulk`.

A read gives one row holding one JSON text, however many tasks it is of. Python gives up its lock (the GIL)
around every row it steps to; beside a busy event loop each of those can cost a thread's turn of 5 ms, so that
4,096 rows took seconds and one row of 4,096 tasks takes milliseconds.

Where a statement joins values to an index (``CROSS JOIN``, ``INDEXED BY``) its rows come in the order of the
values and then of the index: running order costs no sort.
"""

# ruff: noqa: S608 -- the texts are put together from constants of this file; values are always parameters
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from aq.storage.sqlite.connection import Connection


def as_json(columns: str, source: str) -> str:
    """All rows of a source, in its order, as one JSON array of arrays."""
    return f"SELECT CAST(json_group_array(json_array({columns})) AS BLOB) FROM {source}"


def read_json(db: Connection, sql: str, parameters: Sequence[Any] = ()) -> list[list[Any]]:
    """The rows that a statement made by `as_json` gives."""
    rows: list[list[Any]] = msgspec.json.decode(db.execute(sql, parameters)[0][0])
    return rows


def given(values: Sequence[Any]) -> str:
    """Parameters for ``json_each``."""
    return msgspec.json.encode(values).decode()


@contextmanager
def one_moment(db: Connection) -> Iterator[None]:
    """Several statements, one snapshot. After an error the connection is closed, which ends it too."""
    db.execute("BEGIN")
    yield
    db.execute("COMMIT")


TASK: Final = (
    "t.id, q.environment, q.name, t.webhook_url, t.priority, t.delay, t.created_at, t.due_at, t.max_retries,"
    " t.timeout, t.traceparent, t.ordering_key, t.options, t.status, t.version, t.attempt, t.failures,"
    " t.unknowns, t.started_at, t.finished_at, t.failure_reason, t.error_type, t.expires_at, t.callback_id"
)
TASKS: Final = "tasks AS t CROSS JOIN queues AS q ON q.id = t.queue_id"
GIVEN: Final = "(SELECT value FROM json_each(?))"
_QUEUE: Final = (
    "q.environment, q.name, q.policy, q.created_at, q.version, q.pending, q.active, q.completed, q.failed,"
    " q.clearing, q.revival"
)
_HEAD: Final = "id, status, version, due_at, ordering_key"
_ENTRY: Final = "id, priority, due_at, version, destination, expires_at"

# -- the service itself, queues -----------------------------------------------------------------------------
META: Final = "SELECT now, sequence, commit_number FROM meta WHERE one = 1"
SETTINGS: Final = as_json("name, value", "settings")
QUEUE_ID: Final = "SELECT id FROM queues WHERE environment = ? AND name = ?"
QUEUE_HEADS: Final = as_json(
    "id, environment, name, pending, version, coalesce(json_extract(clearing, '$.through'), 0), policy",
    "queues",
)
ONE_QUEUE: Final = as_json(_QUEUE, "queues AS q WHERE environment = ? AND name = ?")
QUEUES: Final = as_json(
    _QUEUE,
    "(SELECT * FROM queues WHERE environment BETWEEN ? AND ? ORDER BY environment, name LIMIT -1) AS q",
)
COUNTS_OF_QUEUE: Final = "SELECT pending, active, completed, failed FROM queues WHERE id = ?"
COUNTS_OF_QUEUES: Final = as_json(
    "id, pending, active, completed, failed", f"queues WHERE environment = ? AND name IN {GIVEN}"
)
COUNTS_OF_ENVIRONMENT: Final = as_json(
    "id, pending, active, completed, failed", "queues INDEXED BY queues_by_name WHERE environment = ?"
)

# -- tasks --------------------------------------------------------------------------------------------------
HEADS: Final = as_json(
    "t.seq, q.environment, q.name,"
    " t.error_type IS NULL AND t.expires_at IS NULL AND t.callback_id IS NULL AND t.held = 0,"
    " t.priority, t.due_at, t.max_retries, t.timeout, t.attempt, t.id, t.status, t.version, t.due_at,"
    " t.ordering_key",
    f"{TASKS} WHERE t.seq IN {GIVEN}",
)
TO_START: Final = as_json(
    f"t.seq, hex(p.body), {TASK}",
    f"{TASKS} CROSS JOIN payloads AS p ON p.seq = t.seq WHERE t.seq IN {GIVEN}",
)
ONE_TASK: Final = as_json(TASK, f"{TASKS} WHERE t.seq = ? AND t.id = ?")
PAYLOAD: Final = "SELECT body FROM payloads WHERE seq = ?"
ATTEMPTS: Final = (
    "SELECT number, status, executed_at, duration_us, lateness_us, response_code, error_type, error,"
    " response_body, timing FROM attempts WHERE seq = ? ORDER BY number"
)
ACTIVE: Final = as_json(
    TASK,
    "(SELECT seq FROM tasks INDEXED BY tasks_by_queue WHERE queue_id = ? AND status = 1 ORDER BY seq LIMIT ?)"
    f" AS page CROSS JOIN {TASKS} WHERE t.seq = page.seq",
)
PENDING: Final = as_json(
    f"seq, {_HEAD}",
    f"(SELECT t.seq, {_HEAD} FROM (SELECT seq FROM tasks INDEXED BY tasks_by_queue"
    " WHERE queue_id = ? AND status = 0 AND seq <= ? ORDER BY seq LIMIT ?) AS page"
    " CROSS JOIN tasks AS t WHERE t.seq = page.seq)",
)


def _finished(statuses: Sequence[int]) -> str:
    """For each status the queue and the instant before which it finished, then limit."""
    walks = " UNION ALL ".join(
        "SELECT finished_at, seq FROM tasks INDEXED BY tasks_finished"
        f" WHERE queue_id = ? AND status = {status} AND finished_at < ?"
        for status in statuses
    )
    return as_json(
        f"finished_at, seq, {_HEAD}",
        f"(SELECT t.finished_at, t.seq, {_HEAD} FROM ({walks} ORDER BY finished_at, seq LIMIT ?) AS page"
        " CROSS JOIN tasks AS t WHERE t.seq = page.seq)",
    )


FINISHED: Final[Mapping[tuple[int, ...], str]] = {
    statuses: _finished(statuses) for statuses in ((2, 3), (2,), (3,))
}
"""By statuses."""
CONTENDERS: Final = as_json(
    f"seq, status, held, {_ENTRY}",
    f"(SELECT seq, status, held, {_ENTRY} FROM tasks INDEXED BY tasks_in_line"
    " WHERE queue_id = ? AND ordering_key = ? AND status < 2 ORDER BY status DESC, seq LIMIT ?)",
)
HEAD_OF_LINE: Final = as_json(
    "id",
    "(SELECT id FROM tasks INDEXED BY tasks_in_line"
    " WHERE queue_id = ? AND ordering_key = ? AND status < 2 ORDER BY status DESC, seq LIMIT 1)",
)
EXPIRED: Final = as_json(
    TASK,
    "(SELECT seq FROM tasks INDEXED BY tasks_expiring"
    " WHERE queue_id = ? AND status = 0 AND expires_at <= ? ORDER BY expires_at, seq LIMIT ?)"
    f" AS page CROSS JOIN {TASKS} WHERE t.seq = page.seq",
)
NEXT_TO_EXPIRE: Final = (
    "SELECT expires_at FROM tasks INDEXED BY tasks_expiring"
    " WHERE queue_id = ? AND status = 0 AND expires_at > ? ORDER BY expires_at, seq LIMIT 1"
)

# -- what waits in a queue ----------------------------------------------------------------------------------
_WAITING: Final = "status = 0 AND environment <> 1 AND held = 0"
PRIORITIES: Final = range(10, 0, -1)
_PRIORITIES: Final = f"(VALUES {', '.join(f'({priority})' for priority in PRIORITIES)})"
_DUE: Final = (
    f"{_PRIORITIES} AS p CROSS JOIN tasks INDEXED BY tasks_due"
    f" WHERE {_WAITING} AND queue_id = ? AND priority = p.column1 AND due_at <= ? LIMIT ?"
)
DUE: Final = as_json(_ENTRY, f"(SELECT {_ENTRY} FROM {_DUE})")
DUE_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 FROM {_DUE})"
DUE_ELSEWHERE: Final = as_json(
    _ENTRY,
    f"(SELECT * FROM (SELECT {_ENTRY} FROM {_DUE}) WHERE destination NOT IN {GIVEN} LIMIT ?)",
)
"""Like `DUE`, which looks at so many; then the destinations to leave out, and the limit."""
_LATER: Final = " UNION ALL ".join(
    f"SELECT {_ENTRY}, seq FROM tasks INDEXED BY tasks_due"
    f" WHERE {_WAITING} AND queue_id = ? AND priority = {priority} AND due_at > ?"
    for priority in PRIORITIES
)
UPCOMING: Final = as_json(_ENTRY, f"({_LATER} ORDER BY due_at, seq LIMIT ?)")
"""Takes the queue and the instant once for each of the `PRIORITIES`, which are merged; then the limit."""

# A lane is a destination's tasks of one priority; each is found as the name that follows the one before.
# While few tasks wait in a queue they are mixed, in no lane (`MOST_MIXED` of `tasks`), and looked through.
_LANE: Final = f"tasks INDEXED BY tasks_by_lane WHERE {_WAITING} AND queue_id = asked.queue_id"
LANES: Final = (
    "WITH RECURSIVE asked(queue_id, now) AS (VALUES (?, ?)), lane(priority, name) AS ("
    f"SELECT p.column1, (SELECT min(lane) FROM {_LANE} AND priority = p.column1)"
    f" FROM asked CROSS JOIN {_PRIORITIES} AS p UNION ALL "
    f"SELECT l.priority, (SELECT min(lane) FROM {_LANE} AND priority = l.priority AND lane > l.name)"
    " FROM lane AS l CROSS JOIN asked WHERE l.name IS NOT NULL) "
    + as_json(
        "priority, name",
        "(SELECT l.priority, l.name FROM lane AS l CROSS JOIN asked CROSS JOIN tasks AS t"
        f" WHERE l.name IS NOT NULL AND l.name NOT IN {GIVEN} AND t.seq = (SELECT seq FROM {_LANE}"
        " AND priority = l.priority AND lane = l.name AND due_at <= asked.now ORDER BY due_at, seq LIMIT 1)"
        " ORDER BY l.priority DESC, t.due_at, t.seq LIMIT ?)",
    )
)
"""The lanes whose first due task comes first, but those of some destinations: (priority, destination)."""
FIRST_OF_LANES: Final = (
    f"SELECT CAST(json_group_array(json((SELECT json_group_array(json_array({_ENTRY})) FROM"
    f" (SELECT {_ENTRY} FROM tasks INDEXED BY tasks_by_lane WHERE {_WAITING} AND queue_id = ?"
    " AND priority = given.value->>0 AND lane = given.value->>1 AND due_at <= ?"
    " ORDER BY due_at, seq LIMIT ?)))) AS BLOB) FROM json_each(?) AS given"
)
"""The first due tasks of each given (priority, destination)."""
_LANED: Final = (
    f"{_PRIORITIES} AS p CROSS JOIN tasks INDEXED BY tasks_by_lane"
    f" WHERE {_WAITING} AND queue_id = ? AND priority = p.column1"
)
FIRST_OF_DESTINATIONS: Final = (
    f"SELECT CAST(json_group_array(json((SELECT json_group_array(json_array({_ENTRY})) FROM"
    f" (SELECT {_ENTRY} FROM {_LANED} AND lane = given.value AND due_at <= ? LIMIT ?)))) AS BLOB)"
    " FROM json_each(?) AS given"
)
"""The first due tasks in the lanes of each given destination, in running order."""
MIXED_ELSEWHERE: Final = as_json(
    _ENTRY,
    f"(SELECT {_ENTRY} FROM {_LANED} AND lane IS NULL AND due_at <= ?"
    f" AND destination NOT IN {GIVEN} LIMIT ?)",
)
"""The first mixed due tasks, in running order, but those of some destinations."""
MIXED: Final = as_json(
    _ENTRY, f"(SELECT {_ENTRY} FROM {_LANED} AND lane IS NULL AND due_at <= ? AND destination IN {GIVEN})"
)
"""The mixed due tasks of the given destinations, in running order."""

_BACKLOG: Final = (
    "name, (SELECT coalesce(sum(pending), 0) FROM due_minutes WHERE queue_id = asked.id AND minute > ?),"
    f" (SELECT min((SELECT due_at FROM tasks INDEXED BY tasks_due WHERE {_WAITING} AND queue_id = asked.id"
    f" AND priority = p.column1 ORDER BY due_at, seq LIMIT 1)) FROM {_PRIORITIES} AS p)"
)
_HAS_PENDING: Final = "WHERE EXISTS (SELECT 1 FROM due_minutes WHERE queue_id = asked.id)"
BACKLOG: Final = as_json(
    _BACKLOG, f"(SELECT id, name FROM queues WHERE environment = ? AND name = ?) AS asked {_HAS_PENDING}"
)
BACKLOGS: Final = as_json(
    _BACKLOG,
    "(SELECT id, name FROM queues INDEXED BY queues_by_name WHERE environment = ? ORDER BY name) AS asked"
    f" {_HAS_PENDING}",
)

# -- claims, keys, schedules --------------------------------------------------------------------------------
CLAIM: Final = "SELECT fingerprint, answer FROM claims WHERE environment = ? AND name = ? AND expires_at > ?"
CLAIMED_UNTIL: Final = as_json(
    "c.environment, c.name, c.expires_at",
    "json_each(?) AS given CROSS JOIN claims AS c INDEXED BY claims_by_name"
    " WHERE c.environment = given.value->>0 AND c.name = given.value->>1",
)
EXPIRED_CLAIMS: Final = as_json(
    "environment, name",
    "(SELECT environment, name FROM claims INDEXED BY claims_by_expiry"
    " WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
)
API_KEYS: Final = as_json(
    "id, name, environment, hash, scopes, queues, rate_limit_per_minute, created_at, revoked_at",
    "(SELECT * FROM api_keys ORDER BY id LIMIT -1)",
)
SCHEDULE: Final = "SELECT CAST(body AS BLOB) FROM schedules WHERE id = ?"
SCHEDULES: Final = (
    "SELECT CAST(json_group_array(json(body)) AS BLOB) FROM"
    " (SELECT body FROM schedules WHERE environment BETWEEN ? AND ? ORDER BY id LIMIT -1)"
)
SCHEDULE_VERSION: Final = "SELECT version FROM schedules WHERE id = ?"
