"""The one connection that writes. Everything here runs in a worker thread, one call at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from attrs import frozen

from aq.errors import AsyncQueueError, StorageUnavailableError
from aq.instants import Instant
from aq.storage.draft import STATUSES, Draft, Sequences
from aq.storage.protocol import Answer, Delete, Insert, Record, Start, Unit, Update
from aq.storage.sqlite import statements as sql
from aq.storage.sqlite.connection import Connect, Connection, SqliteError
from aq.storage.sqlite.failures import FULL, Health
from aq.storage.sqlite.rows import (
    ENVIRONMENT_RANK,
    ENVIRONMENTS,
    StoredHead,
    attempt_row,
    head_of,
    inserted_row,
    policy_text,
    task_of,
    updated_row,
)
from aq.storage.sqlite.schema import WAL_LIMIT, open_writer
from aq.task import Queue, QueueKey, Task


class _QueueRow(NamedTuple):
    id: int
    version: int


@frozen
class _Attempt:
    """A commit that was sent to the disk: whether it happened shows in the meta row's commit number."""

    units: Sequence[Unit]
    number: int
    answers: Sequence[Answer]

    def is_of(self, units: Sequence[Unit]) -> bool:
        return len(units) == len(self.units) and all(a is b for a, b in zip(units, self.units, strict=True))


class _Before:
    """The store as a transaction finds it: what its units name is read with two statements."""

    def __init__(
        self,
        db: Connection,
        queues: Mapping[QueueKey, _QueueRow],
        named: Iterable[int],
        to_start: Iterable[int],
    ) -> None:
        self._db = db
        self._queues = queues
        self._heads: dict[int, StoredHead] = {}
        self._tasks: dict[int, tuple[Task, bytes]] = {}
        if ids := sorted(named):
            for sequence, *columns in sql.read_json(db, sql.HEADS, (_list(ids),)):
                self._heads[sequence] = head_of(columns)
        if ids := sorted(to_start):
            for sequence, payload, *columns in sql.read_json(db, sql.TO_START, (_list(ids),)):
                task = task_of(columns)
                self._tasks[sequence] = task, bytes.fromhex(payload)
                self._heads[sequence] = StoredHead(task.id, task.queue, task.status, task.version)

    def head(self, sequence: int) -> StoredHead | None:
        return self._heads.get(sequence)

    def task(self, sequence: int) -> tuple[Task, bytes]:
        return self._tasks[sequence]

    def finished(self, key: QueueKey, limit: int) -> Iterable[tuple[int, StoredHead]]:
        found = []
        row = self._queues.get(key)
        if row is not None:
            rows = sql.read_json(self._db, sql.FINISHED, (row.id, row.id, limit))
            for sequence, task_id, status, version in rows:
                head = StoredHead(task_id, key, STATUSES[status], version)
                self._heads[sequence] = head
                found.append((sequence, head))
        return found

    def queue_version(self, key: QueueKey) -> int | None:
        row = self._queues.get(key)
        return None if row is None else row.version

    def held(self, key: QueueKey) -> int:
        row = self._queues.get(key)
        return 0 if row is None else sum(self._db.execute(sql.COUNTS_OF_QUEUE, (row.id,))[0])


class Writer:
    """Commits. What it knows of queues, and of the highest sequence, is true: nobody else writes."""

    def __init__(self, path: str, connect: Connect, health: Health) -> None:
        self._path = path
        self._connect = connect
        self._health = health
        self._db: Connection | None = None
        self._queues: dict[QueueKey, _QueueRow] = {}
        self._next_queue_id = 1
        self._top_sequence = 0
        self._number = 0
        self._doubt: _Attempt | None = None
        self._wal_limit = WAL_LIMIT

    def open(self) -> Connection:
        """Connect, and learn what the writer has to know. Raises SqliteError and StorageError."""
        self._db = db = open_writer(self._path, self._connect)
        rows = sql.read_json(db, sql.QUEUE_IDS)
        self._queues = {
            QueueKey(ENVIRONMENTS[environment], name): _QueueRow(row, version)
            for row, environment, name, version in rows
        }
        self._next_queue_id = 1 + max((row.id for row in self._queues.values()), default=0)
        _, self._top_sequence, self._number = db.execute(sql.META)[0]
        return db

    def close(self) -> None:
        """Let go of the connection; what is not committed is gone. The next commit opens another."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(SqliteError):
                db.close()

    def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        """Rules 1-10 of the protocol. After any error the connection is not trusted any more."""
        self._health.require_writable()
        if self._doubt is not None and not self._doubt.is_of(units):
            self._doubt = None
        try:
            return self._commit(units, now)
        except SqliteError as error:
            self.close()
            raise self._judged(error) from error
        except BaseException:
            self.close()
            raise

    def _judged(self, error: SqliteError) -> AsyncQueueError:
        judged = self._health.judge(error)
        if error.code == FULL and self._doubt is not None:
            return StorageUnavailableError("no space left on the device; an earlier commit is in doubt")
        return judged

    def _commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        db = self._db or self.open()
        self._bound_wal(db)
        db.execute("BEGIN IMMEDIATE")
        if self._doubt is not None and self._number >= self._doubt.number:
            return self._confirm(db, self._doubt, now)
        self._doubt = None
        before = self._before(db, units, sequences := Sequences())
        draft = Draft(before, sequences)
        attempt = _Attempt(tuple(units), self._number + 1, draft.answer(units))
        queues = self._write(db, draft)
        db.execute(sql.RAISE_META, (now, draft.top_sequence(), attempt.number))
        self._send(db, attempt)
        self._queues.update(queues)
        for key in [key for key, queue in draft.queues.items() if queue is None]:
            self._queues.pop(key, None)
        self._top_sequence = max(self._top_sequence, draft.top_sequence())
        return attempt.answers

    def _confirm(self, db: Connection, doubt: _Attempt, now: Instant) -> Sequence[Answer]:
        """It shows, but only a write that is synced after it proves that it lasts."""
        db.execute(sql.RAISE_META, (now, 0, self._number + 1))
        db.execute("COMMIT")
        self._number += 1
        self._doubt = None
        return doubt.answers

    def _send(self, db: Connection, attempt: _Attempt) -> None:
        try:
            db.execute("COMMIT")
        except SqliteError as error:
            self._doubt = None if error.code == FULL else attempt
            raise
        self._number = attempt.number

    def _before(self, db: Connection, units: Sequence[Unit], sequences: Sequences) -> _Before:
        """Read what the units name; a sequence above every one ever inserted needs no reading."""
        named: set[int] = set()
        to_start: set[int] = set()
        for unit in units:
            for change in unit:
                task_id = _task_id(change)
                sequence = None if task_id is None else sequences[task_id]
                if sequence is not None and sequence <= self._top_sequence:
                    (to_start if type(change) is Start else named).add(sequence)
        return _Before(db, self._queues, named - to_start, to_start)

    def _write(self, db: Connection, draft: Draft) -> dict[QueueKey, _QueueRow]:
        """Returns the rows of the queues that were put."""
        queues = self._write_queues(db, draft.queues) if draft.queues else {}
        if deleted := draft.deleted():
            for statement in sql.DELETE_TASKS:
                db.execute(statement, (_list(deleted),))
        rows = {**self._queues, **queues} if queues else self._queues
        if inserted := draft.inserted():
            tasks = [inserted_row(sequence, task, rows[task.queue].id) for sequence, task, _ in inserted]
            sql.INSERT_TASKS.run(db, tasks)
            sql.INSERT_PAYLOADS.run(db, [(sequence, payload) for sequence, _, payload in inserted])
        sql.UPDATE_TASKS.run(db, [updated_row(sequence, task) for sequence, task in draft.updated()])
        attempts = [
            attempt_row(sequence, attempt) for sequence, made in draft.records.items() for attempt in made
        ]
        sql.PUT_ATTEMPTS.run(db, attempts)
        sql.PUT_SETTINGS.run(db, list(draft.settings.items()))
        moved = [(rows[key].id, *deltas) for key, deltas in draft.moved().items() if key in rows]
        sql.MOVE_COUNTS.run(db, moved)
        return queues

    def _write_queues(
        self, db: Connection, queues: Mapping[QueueKey, Queue | None]
    ) -> dict[QueueKey, _QueueRow]:
        rows: dict[QueueKey, _QueueRow] = {}
        for key, queue in queues.items():
            known = self._queues.get(key)
            if queue is None:
                if known is not None:
                    db.execute(sql.DELETE_QUEUE, (known.id,))
                continue
            rows[key] = _QueueRow(known.id if known else self._next_queue_id, queue.version)
            policy = policy_text(queue.policy)
            if known is not None:
                sql.UPDATE_QUEUES.run(db, [(known.id, policy, queue.version, queue.created_at)])
                continue
            row = rows[key].id, ENVIRONMENT_RANK[key.environment], key.name, policy, queue.version
            sql.INSERT_QUEUES.run(db, [(*row, queue.created_at, 0, 0, 0, 0)])
            self._next_queue_id += 1
        return rows

    def _bound_wal(self, db: Connection) -> None:
        """Fold the write-ahead log into the file and cut it off when it has grown too long.

        SQLite folds it in steps of 1,000 pages after commits, but starts it again from its beginning only in
        a moment without readers. Here it waits for them, which are short. While someone reads for longer (a
        check of a large file, a backup) the next try waits until the log has doubled.
        """
        try:
            size = os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return
        if size > self._wal_limit:
            busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
            self._wal_limit = 2 * size if busy else WAL_LIMIT


def _task_id(change: Any) -> str | None:
    kind = type(change)
    if kind is Insert or kind is Update:
        task_id: str = change.task.id
        return task_id
    if kind is Start or kind is Delete:
        return change.id  # type: ignore[no-any-return]
    return change.task_id if kind is Record else None


def _list(ids: Sequence[int]) -> str:
    """For ``json_each``."""
    return msgspec.json.encode(ids).decode()
