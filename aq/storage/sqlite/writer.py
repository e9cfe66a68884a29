"""The one connection that writes. Everything here runs in a worker thread, one call at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from attrs import frozen

from aq.errors import AsyncQueueError, StorageFullError, StorageUnavailableError
from aq.instants import Instant
from aq.storage.answers import Answer
from aq.storage.changes import Unit
from aq.storage.draft import Draft, QueueHead, Sequences
from aq.storage.sqlite import bulk
from aq.storage.sqlite import statements as sql
from aq.storage.sqlite.before import Named, QueueRow, StoredBefore
from aq.storage.sqlite.connection import Connect, Connection, SqliteError
from aq.storage.sqlite.failures import FULL, UNREADABLE, Health
from aq.storage.sqlite.place import PUT_BACK, Place
from aq.storage.sqlite.rows import (
    ENVIRONMENT_RANK,
    claim_row,
    key_row,
    policy_of,
    queue_key,
    queue_row,
    schedule_row,
)
from aq.storage.sqlite.schema import WAL_LIMIT, open_writer
from aq.storage.sqlite.statements import given
from aq.storage.sqlite.tasks import Places, write_tasks
from aq.task import Queue, QueueKey, Status, Task

SPARE_PAGES: Final = 2_048
"""Free pages that stay in the file for what comes next."""
_MANY: Final = 32
"""Tasks deleted by a commit after which it is worth to look for free pages."""
_GIVEN_BACK: Final = 256
"""Pages given back to the system after a commit at most (1 MiB; each may have to be moved)."""


@frozen
class _Attempt:
    """A commit that was sent to the disk: whether it happened shows in the meta row's commit number."""

    units: Sequence[Unit]
    number: int
    answers: Sequence[Answer]

    def is_of(self, units: Sequence[Unit]) -> bool:
        return len(units) == len(self.units) and all(a is b for a, b in zip(units, self.units, strict=True))


class Writer:
    """Commits. What it knows of queues, of tasks that run and of the highest sequence is true: nobody else
    writes.
    """

    def __init__(self, path: str, connect: Connect, health: Health) -> None:
        self._path = path
        self._connect = connect
        self._health = health
        self._place = Place(path)
        self._db: Connection | None = None
        self._queues: dict[QueueKey, QueueRow] = {}
        self._running: dict[int, Task] = {}
        """What was started over this connection and has not ended, as it is stored. Not what is in a line:
        its mark is not in its task."""
        self._next_queue_id = 1
        self._top_sequence = 0
        self._number = 0
        self._doubt: _Attempt | None = None
        self._wal_limit = WAL_LIMIT

    def open(self) -> Connection:
        """Connect, and learn what the writer has to know. Raises SqliteError and StorageError."""
        self._db = db = open_writer(self._path, self._connect)
        self._queues = {
            queue_key(environment, name): QueueRow(
                row, pending, QueueHead(version, cleared_through, policy_of(policy))
            )
            for row, environment, name, pending, version, cleared_through, policy in sql.read_json(
                db, sql.QUEUE_HEADS
            )
        }
        self._next_queue_id = 1 + max((row.id for row in self._queues.values()), default=0)
        _, self._top_sequence, self._number = db.execute(sql.META)[0]
        self._require_in_place()
        return db

    def close(self) -> None:
        """Let go of the connection; what is not committed is gone. The next commit opens another."""
        db, self._db = self._db, None
        self._running.clear()
        if db is not None:
            with suppress(SqliteError):
                db.close()

    def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        """Rules 1-10 of the protocol. After any error the connection is not trusted any more."""
        self._health.require_writable()
        self._require_in_place()
        if self._doubt is not None and not self._doubt.is_of(units):
            self._doubt = None
        try:
            answers = self._commit(units, now)
            self._require_in_place()  # what went into a file that is nobody's is not acknowledged
        except UNREADABLE as error:
            self.close()
            raise self._judged(error) from error
        except BaseException:
            self.close()
            raise
        return answers

    def _require_in_place(self) -> None:
        if (lost := self._place.lost()) is not None:
            if self._health.damage is None:
                self._health.damage, self._health.remedy = lost, PUT_BACK
            self._health.require_writable()

    def _judged(self, error: SqliteError | UnicodeDecodeError | msgspec.DecodeError) -> AsyncQueueError:
        judged = self._health.judge(error)
        if isinstance(judged, StorageFullError) and self._doubt is not None:
            return StorageUnavailableError("no space left on the device; an earlier commit is in doubt")
        return judged

    def _commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        db = self._db or self.open()
        self._bound_wal(db)
        db.execute("BEGIN IMMEDIATE")
        if self._doubt is not None and self._number >= self._doubt.number:
            return self._confirm(db, self._doubt, now)
        self._doubt = None
        sequences = Sequences()
        before = StoredBefore(db, self._queues, Named(units, sequences, self._top_sequence), self._running)
        draft = Draft(before, sequences, now)
        attempt = _Attempt(tuple(units), self._number + 1, draft.answer(units))
        deleted, moved = draft.deleted(), draft.moved()
        queues = self._write(db, draft, attempt.answers, before, deleted, moved)
        db.execute(bulk.RAISE_META, (now, draft.top_sequence(), attempt.number))
        self._send(db, attempt)
        self._remember(draft)
        self._queues.update(queues)
        for key, (pending, *_) in moved.items():
            if pending and (row := self._queues.get(key)) is not None:
                self._queues[key] = row._replace(pending=row.pending + pending)
        for key in [key for key, queue in draft.queues.items() if queue is None]:
            self._queues.pop(key, None)
        self._top_sequence = max(self._top_sequence, draft.top_sequence())
        if len(deleted) >= _MANY:
            self._give_back(db)
        return attempt.answers

    def _remember(self, draft: Draft) -> None:
        """Which tasks run by now."""
        for sequence, task in draft.tasks.items():
            if task is not None and task.status is Status.ACTIVE and task.ordering_key is None:
                self._running[sequence] = task
            else:
                self._running.pop(sequence, None)

    def _confirm(self, db: Connection, doubt: _Attempt, now: Instant) -> Sequence[Answer]:
        """It shows, but only a write that is synced after it proves that it lasts."""
        db.execute(bulk.RAISE_META, (now, 0, self._number + 1))
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

    def _write(
        self,
        db: Connection,
        draft: Draft,
        answers: Sequence[Answer],
        before: StoredBefore,
        deleted: Sequence[int],
        moved: Mapping[QueueKey, Sequence[int]],
    ) -> dict[QueueKey, QueueRow]:
        """Returns the rows of the queues that were put."""
        queues = self._write_queues(db, draft.queues) if draft.queues else {}
        rows = {**self._queues, **queues} if queues else self._queues
        if deleted:
            for statement in bulk.DELETE_TASKS:
                db.execute(statement, (given(deleted),))
        places = Places(rows, moved)
        write_tasks(db, draft, answers, before, places)
        counts = [(rows[key].id, *deltas) for key, deltas in moved.items() if key in rows]
        bulk.MOVE_COUNTS.run(db, counts)
        if before.any_pending or places.any_pending:
            _write_minutes(db, draft, rows)
        _write_rest(db, draft)
        return queues

    def _write_queues(
        self, db: Connection, queues: Mapping[QueueKey, Queue | None]
    ) -> dict[QueueKey, QueueRow]:
        rows: dict[QueueKey, QueueRow] = {}
        for key, queue in queues.items():
            known = self._queues.get(key)
            if queue is None:
                if known is not None:
                    db.execute(bulk.DELETE_QUEUE, (known.id,))
                continue
            head = QueueHead.of(queue)
            row = rows[key] = known._replace(head=head) if known else QueueRow(self._next_queue_id, 0, head)
            if known is not None:
                bulk.UPDATE_QUEUES.run(db, [(row.id, *queue_row(queue))])
                continue
            named = row.id, ENVIRONMENT_RANK[key.environment], key.name
            bulk.INSERT_QUEUES.run(db, [(*named, *queue_row(queue), 0, 0, 0, 0)])
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

    def _give_back(self, db: Connection) -> None:
        """Free pages beyond the spare ones go back to the system, a few after each commit that deleted much.

        What was committed is committed: an error here is remembered if it is for good, and not raised.
        """
        try:
            free = db.execute("PRAGMA freelist_count")[0][0] - SPARE_PAGES
            if free > 0:
                db.script(bulk.GIVE_BACK.format(min(free, _GIVEN_BACK)))
        except SqliteError as error:
            self.close()
            self._health.judge(error)


def _write_minutes(db: Connection, draft: Draft, rows: Mapping[QueueKey, QueueRow]) -> None:
    minutes = [
        (rows[key].id, minute, delta)
        for key, deltas in draft.minutes().items()
        if key in rows
        for minute, delta in deltas.items()
    ]
    bulk.MOVE_MINUTES.run(db, minutes)
    if lowered := [(queue_id, minute) for queue_id, minute, delta in minutes if delta < 0]:
        db.execute(bulk.DELETE_MINUTES, (given(lowered),))


def _write_rest(db: Connection, draft: Draft) -> None:
    """What is no task and no queue, where a unit touched it."""
    if draft.claims:
        gone = [place for place, claim in draft.claims.items() if claim is None]
        if gone:
            ranked = [(ENVIRONMENT_RANK[environment], name) for environment, name in gone]
            db.execute(bulk.DELETE_CLAIMS, (given(ranked),))
        bulk.PUT_CLAIMS.run(db, [claim_row(claim) for claim in draft.claims.values() if claim is not None])
    if draft.schedules:
        gone_ids = [schedule_id for schedule_id, schedule in draft.schedules.items() if schedule is None]
        if gone_ids:
            db.execute(bulk.DELETE_SCHEDULES, (given(gone_ids),))
        put = [schedule_row(schedule) for schedule in draft.schedules.values() if schedule is not None]
        bulk.PUT_SCHEDULES.run(db, put)
    bulk.PUT_KEYS.run(db, [key_row(key) for key in draft.keys.values()])
    bulk.PUT_SETTINGS.run(db, list(draft.settings.items()))
