"""What a commit would change, worked out before it is written: rules 1 and 4-10, once for every storage.

A `Draft` stands over the state that the commit finds (`Before`). It answers the units in order, each seeing
those before it, and holds the sum of what the applied ones change. The storage then writes that sum: a task
that is inserted, started and ended within one commit costs one row. Nothing here does I/O of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from aq.ids import sequence_of
from aq.lifecycle import started
from aq.storage.protocol import (
    Answer,
    Applied,
    Delete,
    DropQueue,
    Insert,
    PutQueue,
    PutSetting,
    Reason,
    Record,
    Refused,
    Start,
    Sweep,
    Unit,
    Update,
)
from aq.task import Attempt, Queue, QueueKey, Status, Task

STATUSES: Final = tuple(Status)
RANK: Final[Mapping[Status, int]] = {status: rank for rank, status in enumerate(STATUSES)}
"""A status as a small integer: its place among the four counts, and its value in a row."""
_UNTOUCHED: Final[Any] = object()


class Head(Protocol):
    """As much of a task as a condition looks at."""

    @property
    def id(self) -> str: ...
    @property
    def queue(self) -> QueueKey: ...
    @property
    def status(self) -> Status: ...
    @property
    def version(self) -> int: ...


class Before(Protocol):
    """The state that a commit finds, for the tasks and queues its units name."""

    def head(self, sequence: int) -> Head | None:
        """The task of this sequence."""
        ...

    def task(self, sequence: int) -> tuple[Task, bytes]:
        """A task that a unit wants to start, and its payload; its `head` is there."""
        ...

    def finished(self, key: QueueKey, limit: int) -> Iterable[tuple[int, Head]]:
        """The oldest finished tasks of a queue, by sequence."""
        ...

    def queue_version(self, key: QueueKey) -> int | None: ...

    def held(self, key: QueueKey) -> int:
        """How many tasks a queue holds; 0 for a queue that is not there."""
        ...


class Sequences(dict[str, int | None]):
    """`sequence_of`, each id worked out once."""

    def __missing__(self, task_id: str) -> int | None:
        found = self[task_id] = sequence_of(task_id)
        return found


_Log: TypeAlias = list[tuple[dict[Any, Any], Any, Any]]


class Draft:
    """One commit's changes. The mappings hold what each touched thing is afterwards; None is "gone"."""

    def __init__(self, before: Before, sequences: Sequences) -> None:
        self.tasks: dict[int, Task | None] = {}
        self.payloads: dict[int, bytes | None] = {}
        """Of inserted tasks."""
        self.records: dict[int, tuple[Attempt, ...]] = {}
        self.queues: dict[QueueKey, Queue | None] = {}
        self.settings: dict[str, str] = {}
        self._before = before
        self._sequences = sequences
        self._log: _Log = []
        self._count = 0
        self._started: list[tuple[Task, bytes]] = []
        self._rules: Mapping[type, Callable[[Any], Reason | None]] = {
            Insert: self._insert,
            Start: self._start,
            Update: self._update,
            Record: self._record,
            Delete: self._delete,
            PutQueue: self._put_queue,
            DropQueue: self._drop_queue,
            Sweep: self._sweep,
            PutSetting: self._put_setting,
        }

    def answer(self, units: Sequence[Unit]) -> list[Answer]:
        """Apply the units, or refuse them, one by one."""
        return [self._answer(unit) for unit in units]

    # -- the sum of it --------------------------------------------------------------------------------------
    def deleted(self) -> list[int]:
        """Sequences of tasks that were there before and are not, or are others now."""
        return [
            sequence
            for sequence, task in self.tasks.items()
            if (task is None or self._new(sequence)) and self._before.head(sequence) is not None
        ]

    def inserted(self) -> list[tuple[int, Task, bytes]]:
        return [
            (sequence, task, payload)
            for sequence, payload in self.payloads.items()
            if payload is not None and (task := self.tasks[sequence]) is not None
        ]

    def updated(self) -> list[tuple[int, Task]]:
        return [
            (sequence, task)
            for sequence, task in self.tasks.items()
            if task is not None and not self._new(sequence)
        ]

    def moved(self) -> dict[QueueKey, list[int]]:
        """By how much each queue's four counts change."""
        moves: dict[QueueKey, list[int]] = {}
        for sequence, task in self.tasks.items():
            was = self._before.head(sequence)
            if was is not None:
                moves.setdefault(was.queue, [0, 0, 0, 0])[RANK[was.status]] -= 1
            if task is not None:
                moves.setdefault(task.queue, [0, 0, 0, 0])[RANK[task.status]] += 1
        return {key: deltas for key, deltas in moves.items() if any(deltas)}

    def top_sequence(self) -> int:
        """The highest sequence touched: every one inserted is among them, deleted again or not."""
        return max(self.tasks, default=0)

    def _new(self, sequence: int) -> bool:
        return self.payloads.get(sequence) is not None

    # -- one unit -------------------------------------------------------------------------------------------
    def _answer(self, unit: Unit) -> Answer:
        self._log, self._count, self._started = [], 0, []
        for change in unit:
            reason = self._rules[type(change)](change)
            if reason is not None:
                self._undo()
                return Refused(reason)
        return Applied(self._count, tuple(self._started))

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._log.append((table, key, table.get(key, _UNTOUCHED)))
        table[key] = value

    def _undo(self) -> None:
        for table, key, old in reversed(self._log):
            if old is _UNTOUCHED:
                del table[key]
            else:
                table[key] = old

    # -- what is there now ----------------------------------------------------------------------------------
    def _head(self, sequence: int) -> Head | None:
        task: Task | None = self.tasks.get(sequence, _UNTOUCHED)
        return self._before.head(sequence) if task is _UNTOUCHED else task

    def _found(self, task_id: str) -> tuple[int, Head] | None:
        sequence = self._sequences[task_id]
        head = None if sequence is None else self._head(sequence)
        return None if sequence is None or head is None or head.id != task_id else (sequence, head)

    def _queue_version(self, key: QueueKey) -> int | None:
        queue: Queue | None = self.queues.get(key, _UNTOUCHED)
        if queue is _UNTOUCHED:
            return self._before.queue_version(key)
        return None if queue is None else queue.version

    def _held(self, key: QueueKey) -> int:
        held = self._before.held(key)
        for sequence, task in self.tasks.items():
            was = self._before.head(sequence)
            held += (task is not None and task.queue == key) - (was is not None and was.queue == key)
        return held

    # -- the changes ----------------------------------------------------------------------------------------
    def _insert(self, change: Insert) -> Reason | None:
        task = change.task
        sequence = self._sequences[task.id]
        if sequence is None:
            raise ValueError(f"{task.id!r} is not an id that a minter made")
        if self._head(sequence) is not None:
            return Reason.EXISTS
        if self._queue_version(task.queue) is None:
            return Reason.MISSING
        self._put(self.tasks, sequence, task)
        self._put(self.payloads, sequence, change.payload)
        return None

    def _start(self, change: Start) -> Reason | None:
        found = self._found(change.id)
        if found is None or found[1].queue != change.queue:
            return Reason.MISSING
        sequence, head = found
        if head.status is not Status.PENDING:
            return Reason.STATE
        if head.version != change.version:
            return Reason.VERSION
        task, payload = self._whole(sequence)
        active = started(task, change.at)
        self._put(self.tasks, sequence, active)
        self._started.append((active, payload))
        return None

    def _whole(self, sequence: int) -> tuple[Task, bytes]:
        task, payload = self.tasks.get(sequence), self.payloads.get(sequence)
        if task is not None and payload is not None:
            return task, payload
        stored, payload = self._before.task(sequence)
        return task or stored, payload

    def _update(self, change: Update) -> Reason | None:
        found = self._found(change.task.id)
        if found is None or found[1].queue != change.task.queue:
            return Reason.MISSING
        sequence, head = found
        if head.status is not change.was:
            return Reason.STATE
        if head.version != change.task.version - 1:
            return Reason.VERSION
        self._put(self.tasks, sequence, change.task)
        return None

    def _record(self, change: Record) -> Reason | None:
        found = self._found(change.task_id)
        if found is None:
            return Reason.MISSING
        sequence = found[0]
        self._put(self.records, sequence, (*self.records.get(sequence, ()), change.attempt))
        return None

    def _delete(self, change: Delete) -> Reason | None:
        found = self._found(change.id)
        if found is None or found[1].queue != change.queue:
            return Reason.MISSING
        sequence, head = found
        if head.status is not Status.PENDING:
            return Reason.STATE
        self._remove(sequence)
        return None

    def _remove(self, sequence: int) -> None:
        self._put(self.tasks, sequence, None)
        self._put(self.payloads, sequence, None)
        self._put(self.records, sequence, ())

    def _put_queue(self, change: PutQueue) -> Reason | None:
        queue = change.queue
        version = self._queue_version(queue.key)
        if queue.version == 1 and version is not None:
            return Reason.EXISTS
        if queue.version != 1 and version is None:
            return Reason.MISSING
        if version is not None and version != queue.version - 1:
            return Reason.VERSION
        self._put(self.queues, queue.key, queue)
        return None

    def _drop_queue(self, change: DropQueue) -> Reason | None:
        if self._queue_version(change.key) is None:
            return Reason.MISSING
        if self._held(change.key):
            return Reason.STATE
        self._put(self.queues, change.key, None)
        return None

    def _sweep(self, change: Sweep) -> Reason | None:
        ours = [
            sequence
            for sequence, task in self.tasks.items()
            if task is not None and task.queue == change.key and task.status.final
        ]
        stored = self._before.finished(change.key, change.limit + len(self.tasks))
        oldest = sorted([*ours, *(sequence for sequence, _ in stored if sequence not in self.tasks)])
        for sequence in oldest[: change.limit]:
            self._remove(sequence)
            self._count += 1
        return None

    def _put_setting(self, change: PutSetting) -> None:
        self._put(self.settings, change.name, change.value)
