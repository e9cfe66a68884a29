"""What a commit would change, worked out before it is written: the rules of writing, once for every storage.

A `Draft` stands over the state that the commit finds (`Before`). It answers the units in order, each seeing
those before it, and holds the sum of what the applied ones change. The storage then writes that sum: a task
that is inserted, started and ended within one commit costs one row. Nothing here does I/O of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from aq.ids import sequence_of
from aq.instants import Instant
from aq.lifecycle import started
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Entry, Reason, Refused
from aq.storage.before import RANK, STATUSES, Before, Contender, Head, QueueHead
from aq.storage.changes import (
    Claim,
    Delete,
    DropQueue,
    DropSchedule,
    Forget,
    Insert,
    Purge,
    PutKey,
    PutQueue,
    PutSchedule,
    PutSetting,
    Record,
    Start,
    Sweep,
    Unit,
    Update,
)
from aq.storage.ordering import Line, LineName
from aq.storage.overlay import UNTOUCHED, Overlay
from aq.task import Attempt, QueueKey, Status, Task

__all__ = ["RANK", "STATUSES", "Before", "Contender", "Draft", "Head", "QueueHead", "Sequences"]

MINUTE: Final = 60_000_000
_DEFAULT: Final = QueuePolicy()


class Sequences(dict[str, int | None]):
    """`sequence_of`, each id worked out once."""

    def __missing__(self, task_id: str) -> int | None:
        found = self[task_id] = sequence_of(task_id)
        return found


class Draft(Overlay):
    """One commit's changes. The mappings hold what each touched thing is afterwards; None is "gone"."""

    def __init__(self, before: Before, sequences: Sequences, now: Instant) -> None:
        super().__init__(before, now)
        self.tasks: dict[int, Task | None] = {}
        self.payloads: dict[int, bytes | None] = {}
        """Of inserted tasks."""
        self.held: dict[int, bool] = {}
        """Whether a task is held back by its ordering key (rule 16). One in `tasks` and not in here is not
        held back; one in here and not in `tasks` is a stored one whose mark changes."""
        self.records: dict[int, tuple[Attempt, ...]] = {}
        self._sequences = sequences
        self._lines: dict[LineName, Line] = {}
        self._started: list[tuple[Task, bytes]] = []
        self._removed: list[str] = []
        self._touched: dict[LineName, set[int]] = {}
        """By ordering key: the tasks that this unit changed."""

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

    def minutes(self) -> dict[QueueKey, dict[int, int]]:
        """By how much the number of pending tasks of each queue changes, per minute of ``due_at``."""
        moves: dict[tuple[QueueKey, int], int] = {}
        for sequence, task in self.tasks.items():
            was = self._before.head(sequence)
            if was is not None and was.status is Status.PENDING:
                place = was.queue, was.due_at // MINUTE
                moves[place] = moves.get(place, 0) - 1
            if task is not None and task.status is Status.PENDING:
                place = task.queue, task.due_at // MINUTE
                moves[place] = moves.get(place, 0) + 1
        found: dict[QueueKey, dict[int, int]] = {}
        for (key, minute), delta in moves.items():
            if delta:
                found.setdefault(key, {})[minute] = delta
        return found

    def top_sequence(self) -> int:
        """The highest sequence touched: every one inserted is among them, deleted again or not."""
        return max(self.tasks, default=0)

    def _new(self, sequence: int) -> bool:
        return self.payloads.get(sequence) is not None

    # -- one unit -------------------------------------------------------------------------------------------
    def _answer(self, unit: Unit) -> Answer:
        self._log, self._count, self._started, self._removed, self._touched = [], 0, [], [], {}
        for change in unit:
            reason = _RULES[type(change)](self, change)
            if reason is not None:
                self._undo()
                return Refused(reason)
        released = self._released() if self._touched else ()
        return Applied(self._count, tuple(self._started), tuple(self._removed), released)

    def _undo(self) -> None:
        super()._undo()
        for name, sequences in self._touched.items():
            for sequence in sequences:
                self._line(name).note(sequence)

    def _put_task(self, sequence: int, was: Head | None, task: Task | None) -> None:
        """The task is this one now; None is "gone"."""
        self._put(self.tasks, sequence, task)
        either = task or was
        if either is not None and either.ordering_key is not None and (_contends(was) or _contends(task)):
            name = LineName(either.queue, either.ordering_key)
            self._touched.setdefault(name, set()).add(sequence)
            self._line(name).note(sequence)

    def _remove(self, sequence: int, head: Head) -> None:
        self._put_task(sequence, head, None)
        self._put(self.payloads, sequence, None)
        self._put(self.records, sequence, ())
        if sequence in self.held:
            self._log.append((self.held, sequence, self.held.pop(sequence)))

    # -- ordering keys --------------------------------------------------------------------------------------
    def _line(self, name: LineName) -> Line:
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Line(name, self.tasks, partial(self._before.contenders, *name))
        return line

    def _released(self) -> Sequence[Entry]:
        """Settle the ordering keys that the unit touched: the waiting heads it made, by sequence."""
        made = [self._settle(self._line(name), sequences) for name, sequences in self._touched.items()]
        return tuple(head.entry for head in sorted(head for head in made if head is not None))

    def _settle(self, line: Line, changed: set[int]) -> Contender | None:
        """Returns the head, if it waits and this unit made it a waiting head."""
        was, head = line.settled, line.head()
        first = None if head is None else head.sequence
        line.settled = head
        for sequence in changed:
            task = self.tasks[sequence]
            if task is not None and line.owns(task):
                self.held[sequence] = task.status is Status.PENDING and sequence != first
        if was is not None and was.sequence not in changed and was.sequence != first:
            self.held[was.sequence] = was.status is Status.PENDING
        if head is None or head.status is not Status.PENDING:
            return None
        if head.sequence not in changed and not self.held.get(head.sequence, head.held):
            return None
        self.held[head.sequence] = False
        return head

    def _is_head(self, sequence: int, head: Head) -> bool:
        if head.ordering_key is None:
            return True
        first = self._line(LineName(head.queue, head.ordering_key)).head()
        return first is not None and first.sequence == sequence

    # -- what is there now ----------------------------------------------------------------------------------
    def _head(self, sequence: int) -> Head | None:
        task: Task | None = self.tasks.get(sequence, UNTOUCHED)
        return self._before.head(sequence) if task is UNTOUCHED else task

    def _found(self, task_id: str) -> tuple[int, Head] | None:
        sequence = self._sequences[task_id]
        head = None if sequence is None else self._head(sequence)
        return None if sequence is None or head is None or head.id != task_id else (sequence, head)

    def _counts(self, key: QueueKey) -> Sequence[int]:
        """How many tasks the queue holds in each state by now."""
        moved = self.moved().get(key, (0, 0, 0, 0))
        return [*map(sum, zip(self._before.counts(key), moved, strict=True))]

    # -- the changes: tasks ---------------------------------------------------------------------------------
    def _insert(self, change: Insert) -> Reason | None:
        task = change.task
        sequence = self._sequences[task.id]
        if sequence is None:
            raise ValueError(f"{task.id!r} is not an id that a minter made")
        if self._head(sequence) is not None:
            return Reason.EXISTS
        queue = self._queue(task.queue)
        if queue is None:
            return Reason.MISSING
        if sequence <= queue.cleared_through:
            return Reason.STATE
        self._put_task(sequence, None, task)
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
        if not self._is_head(sequence, head):
            return Reason.STATE
        task, payload = self._whole(sequence)
        active = started(task, change.at)
        self._put_task(sequence, head, active)
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
        self._put_task(sequence, head, change.task)
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
        self._remove(sequence, head)
        return None

    def _sweep(self, change: Sweep) -> Reason | None:
        key, before = change.key, change.finished_before
        if change.rule is not None:
            queue = self._queue(change.rule[0])
            if (_DEFAULT if queue is None else queue.policy).retention != change.rule[1]:
                return Reason.STATE
        statuses = [status for status in change.statuses if status.final]
        stored = self._before.finished(key, statuses, before, change.limit + len(self.tasks))
        found: list[tuple[Instant, int, Head]] = [one for one in stored if one[1] not in self.tasks]
        for sequence, task in self.tasks.items():
            if task is not None and task.queue == key and task.status in statuses:
                at = task.finished_at or 0
                if before is None or at < before:
                    found.append((at, sequence, task))
        found.sort(key=lambda one: one[:2])
        limit = change.limit
        if change.stay:
            counts = self._counts(key)
            limit = max(0, min(limit, sum(counts[RANK[status]] for status in statuses) - change.stay))
        self._remove_all((sequence, head) for _, sequence, head in found[:limit])
        return None

    def _purge(self, change: Purge) -> None:
        key, spared = change.key, change.spared
        stored = self._before.pending(key, change.through, change.limit + len(self.tasks) + len(spared))
        found: list[tuple[int, Head]] = [one for one in stored if one[0] not in self.tasks]
        for sequence, task in self.tasks.items():
            if task is not None and task.queue == key and task.status is Status.PENDING:
                found.append((sequence, task))
        covered = [one for one in found if one[0] <= change.through and one[1].id not in spared]
        self._remove_all(sorted(covered, key=lambda one: one[0])[: change.limit])

    def _remove_all(self, victims: Iterable[tuple[int, Head]]) -> None:
        for sequence, head in victims:
            self._remove(sequence, head)
            self._removed.append(head.id)
            self._count += 1

    # -- the changes: everything else -----------------------------------------------------------------------
    def _put_queue(self, change: PutQueue) -> Reason | None:
        if change.queue.clearing is not None:
            self._count += self._counts(change.queue.key)[RANK[Status.PENDING]]
        return super()._put_queue(change)

    def _drop_queue(self, change: DropQueue) -> Reason | None:
        if self._queue(change.key) is None:
            return Reason.MISSING
        if any(self._counts(change.key)):
            return Reason.STATE
        self._put(self.queues, change.key, None)
        return None


_RULES: Final[Mapping[type, Callable[[Draft, Any], Reason | None]]] = {
    Insert: Draft._insert,
    Start: Draft._start,
    Update: Draft._update,
    Record: Draft._record,
    Delete: Draft._delete,
    PutQueue: Draft._put_queue,
    DropQueue: Draft._drop_queue,
    Sweep: Draft._sweep,
    Purge: Draft._purge,
    Claim: Draft._claim,
    Forget: Draft._forget,
    PutKey: Draft._put_key,
    PutSchedule: Draft._put_schedule,
    DropSchedule: Draft._drop_schedule,
    PutSetting: Draft._put_setting,
}
"""Not in a draft: it would hold itself, and all of a commit with it until somebody looks for cycles."""


def _contends(head: Head | None) -> bool:
    return head is not None and not head.status.final
