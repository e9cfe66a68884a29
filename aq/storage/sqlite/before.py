"""The store as a commit finds it, for its draft."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aq.instants import Instant
from aq.storage.before import RANK, Contender, Head, QueueHead
from aq.storage.changes import Claim, Delete, Insert, Record, Start, Unit, Update
from aq.storage.draft import Sequences
from aq.storage.sqlite import statements as sql
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.rows import (
    ENVIRONMENT_RANK,
    ENVIRONMENTS,
    NOTHING_RARE,
    contender_of,
    head_of,
    kept_columns,
    queue_key,
    rare_columns,
    task_of,
)
from aq.storage.sqlite.statements import given
from aq.task import Environment, QueueKey, Status, Task

_BEYOND_ALL: Final = (1 << 63) - 1


class QueueRow(NamedTuple):
    """What the writer knows of a queue."""

    id: int
    pending: int
    head: QueueHead


class Named:
    """What units name. A sequence above every one ever inserted needs no reading."""

    def __init__(self, units: Sequence[Unit], sequences: Sequences, top: int) -> None:
        self.tasks: set[int] = set()
        self.to_start: set[int] = set()
        self.claims: list[tuple[Environment, str]] = []
        for unit in units:
            for change in unit:
                task_id = _task_id(change)
                sequence = None if task_id is None else sequences[task_id]
                if sequence is not None and sequence <= top:
                    (self.to_start if type(change) is Start else self.tasks).add(sequence)
                elif type(change) is Claim:
                    self.claims.append((change.environment, change.name))


class StoredBefore:
    """A `aq.storage.before.Before`: what the units name is read with a statement for each kind of thing.

    ``running`` are tasks that the writer has just started, as they are stored: they need no reading.
    """

    def __init__(
        self,
        db: Connection,
        queues: Mapping[QueueKey, QueueRow],
        named: Named,
        running: Mapping[int, Task],
    ) -> None:
        self._db = db
        self._queues = queues
        self._heads: dict[int, Head] = {}
        self.to_start: dict[int, tuple[Task, bytes]] = {}
        """Tasks that a unit wants to start."""
        self.kept: dict[int, tuple[Any, ...]] = {}
        """The `kept_columns` of the other tasks, if they have nothing rare but perhaps a lane."""
        self.any_pending = bool(named.to_start)
        """Whether a task that was looked at is pending."""
        self._claims: dict[tuple[Environment, str], Instant] = {}
        known = named.tasks & running.keys()
        self._remember({sequence: running[sequence] for sequence in known})
        self._read(named.tasks - named.to_start - known)
        if ids := sorted(named.to_start):
            for sequence, payload, *columns in sql.read_json(db, sql.TO_START, (given(ids),)):
                task = self._heads[sequence] = task_of(columns)
                self.to_start[sequence] = task, bytes.fromhex(payload)
        if named.claims:
            places = [(ENVIRONMENT_RANK[environment], name) for environment, name in named.claims]
            for environment, name, until in sql.read_json(db, sql.CLAIMED_UNTIL, (given(places),)):
                self._claims[ENVIRONMENTS[environment], name] = until

    def _remember(self, tasks: Mapping[int, Task]) -> None:
        self._heads.update(tasks)
        for sequence, task in tasks.items():
            if rare_columns(task, False, None) is NOTHING_RARE:
                self.kept[sequence] = kept_columns(task)

    def _read(self, sequences: Collection[int]) -> None:
        if not sequences:
            return
        asked = (given(sorted(sequences)),)
        for sequence, environment, name, plain, *columns in sql.read_json(self._db, sql.HEADS, asked):
            head = self._heads[sequence] = head_of(queue_key(environment, name), columns[5:])
            if plain:
                self.kept[sequence] = tuple(columns[:5])
            if head.status is Status.PENDING:
                self.any_pending = True

    def head(self, sequence: int) -> Head | None:
        return self._heads.get(sequence)

    def task(self, sequence: int) -> tuple[Task, bytes]:
        return self.to_start[sequence]

    def finished(
        self, key: QueueKey, statuses: Sequence[Status], before: Instant | None, limit: int
    ) -> Iterable[tuple[Instant, int, Head]]:
        row, ranks = self._queues.get(key), tuple(sorted({RANK[status] for status in statuses}))
        if row is None or not ranks:
            return []
        each = row.id, _BEYOND_ALL if before is None else before
        rows = sql.read_json(self._db, sql.FINISHED[ranks], (*each * len(ranks), limit))
        return [(at, sequence, self._seen(sequence, key, columns)) for at, sequence, *columns in rows]

    def pending(self, key: QueueKey, through: int, limit: int) -> Iterable[tuple[int, Head]]:
        row = self._queues.get(key)
        if row is None:
            return []
        self.any_pending = True
        rows = sql.read_json(self._db, sql.PENDING, (row.id, through, limit))
        return [(sequence, self._seen(sequence, key, columns)) for sequence, *columns in rows]

    def _seen(self, sequence: int, key: QueueKey, columns: Sequence[Any]) -> Head:
        head = self._heads[sequence] = head_of(key, columns)
        return head

    def contenders(self, key: QueueKey, ordering_key: str, limit: int) -> Iterable[Contender]:
        row = self._queues.get(key)
        if row is None:
            return []
        return map(contender_of, sql.read_json(self._db, sql.CONTENDERS, (row.id, ordering_key, limit)))

    def queue(self, key: QueueKey) -> QueueHead | None:
        row = self._queues.get(key)
        return None if row is None else row.head

    def counts(self, key: QueueKey) -> Sequence[int]:
        row = self._queues.get(key)
        return (0, 0, 0, 0) if row is None else self._db.execute(sql.COUNTS_OF_QUEUE, (row.id,))[0]

    def claimed_until(self, environment: Environment, name: str) -> Instant | None:
        return self._claims.get((environment, name))

    def expired_claims(self, before: Instant, limit: int) -> Iterable[tuple[Environment, str]]:
        rows = sql.read_json(self._db, sql.EXPIRED_CLAIMS, (before, limit))
        return [(ENVIRONMENTS[environment], name) for environment, name in rows]

    def schedule_version(self, schedule_id: str) -> int | None:
        rows = self._db.execute(sql.SCHEDULE_VERSION, (schedule_id,))
        return rows[0][0] if rows else None


def _task_id(change: Any) -> str | None:
    kind = type(change)
    if kind is Insert or kind is Update:
        task_id: str = change.task.id
        return task_id
    if kind is Start or kind is Delete:
        return change.id  # type: ignore[no-any-return]
    return change.task_id if kind is Record else None
