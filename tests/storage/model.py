"""The promises of aq.storage.protocol in the simplest way: each unit copies everything, each read scans it.

Slow and short on purpose; what `test_differential` measures the real storages by.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from attrs import evolve

from aq.ids import sequence_of
from aq.instants import Instant
from aq.lifecycle import started
from aq.storage.protocol import (
    Answer,
    Applied,
    Change,
    Delete,
    DropQueue,
    Entry,
    Floor,
    Insert,
    PutQueue,
    PutSetting,
    Reason,
    Record,
    Refused,
    Start,
    StoredTask,
    Sweep,
    TaskFilter,
    TaskPage,
    Unit,
    Update,
    Window,
)
from aq.task import Attempt, Counts, Environment, Queue, QueueKey, Status, Task


class _Refusal(Exception):  # noqa: N818 -- not an error: it carries a reason out of a unit
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class _State:
    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.payloads: dict[str, bytes] = {}
        self.attempts: dict[str, dict[int, Attempt]] = {}
        self.queues: dict[QueueKey, Queue] = {}
        self.settings: dict[str, str] = {}
        self.sequence = 0

    def copy(self) -> _State:
        twin = copy.copy(self)
        twin.tasks, twin.payloads, twin.queues = dict(self.tasks), dict(self.payloads), dict(self.queues)
        twin.attempts = {task_id: dict(attempts) for task_id, attempts in self.attempts.items()}
        twin.settings = dict(self.settings)
        return twin


class Model:
    def __init__(self) -> None:
        self.state = _State()
        self.now = 0

    # -- writing --------------------------------------------------------------------------------------------
    def commit(self, units: Sequence[Unit], now: Instant) -> list[Answer]:
        self.now = max(self.now, now)
        return [self._unit(unit) for unit in units]

    def _unit(self, unit: Unit) -> Answer:
        kept, self.state = self.state, self.state.copy()
        count = 0
        begun: list[tuple[Task, bytes]] = []
        try:
            for change in unit:
                if isinstance(change, Sweep):
                    count += self._sweep(change)
                elif isinstance(change, Start):
                    begun.append(self._start(change))
                else:
                    self._change(change)
        except _Refusal as refusal:
            self.state = kept
            return Refused(refusal.reason)
        return Applied(count, tuple(begun))

    def _change(self, change: Change) -> None:
        match change:
            case Insert(task, payload):
                self._insert(task, payload)
            case Update(task, was):
                known = self._known(task.id, task.queue)
                _require(known.status is was, Reason.STATE)
                _require(known.version == task.version - 1, Reason.VERSION)
                self.state.tasks[task.id] = task
            case Record(task_id, attempt):
                _require(task_id in self.state.tasks, Reason.MISSING)
                self.state.attempts[task_id][attempt.number] = attempt
            case Delete(queue, task_id):
                _require(self._known(task_id, queue).status is Status.PENDING, Reason.STATE)
                self._remove(task_id)
            case PutQueue(queue):
                self._put_queue(queue)
            case DropQueue(key):
                _require(key in self.state.queues, Reason.MISSING)
                _require(not any(task.queue == key for task in self.state.tasks.values()), Reason.STATE)
                del self.state.queues[key]
            case PutSetting(name, value):
                self.state.settings[name] = value

    def _known(self, task_id: str, queue: QueueKey) -> Task:
        _require(task_id in self.state.tasks and self.state.tasks[task_id].queue == queue, Reason.MISSING)
        return self.state.tasks[task_id]

    def _insert(self, task: Task, payload: bytes) -> None:
        _require(task.id not in self.state.tasks, Reason.EXISTS)
        _require(task.queue in self.state.queues, Reason.MISSING)
        self.state.tasks[task.id], self.state.payloads[task.id] = task, payload
        self.state.attempts[task.id] = {}
        self.state.sequence = max(self.state.sequence, sequence_of(task.id) or 0)

    def _start(self, change: Start) -> tuple[Task, bytes]:
        known = self._known(change.id, change.queue)
        _require(known.status is Status.PENDING, Reason.STATE)
        _require(known.version == change.version, Reason.VERSION)
        self.state.tasks[known.id] = started(known, change.at)
        return self.state.tasks[known.id], self.state.payloads[known.id]

    def _put_queue(self, queue: Queue) -> None:
        known = self.state.queues.get(queue.key)
        if queue.version == 1:
            _require(known is None, Reason.EXISTS)
        else:
            _require(known is not None, Reason.MISSING)
            _require(known is None or known.version == queue.version - 1, Reason.VERSION)
        self.state.queues[queue.key] = queue

    def _sweep(self, change: Sweep) -> int:
        finished = [task for task in self.state.tasks.values() if task.queue == change.key]
        victims = sorted(task.id for task in finished if task.status.final)[: change.limit]
        for task_id in victims:
            self._remove(task_id)
        return len(victims)

    def _remove(self, task_id: str) -> None:
        del self.state.tasks[task_id], self.state.payloads[task_id], self.state.attempts[task_id]

    # -- reading --------------------------------------------------------------------------------------------
    def task(self, task_id: str) -> StoredTask | None:
        if task_id not in self.state.tasks:
            return None
        attempts = [attempt for _, attempt in sorted(self.state.attempts[task_id].items())]
        return StoredTask(self.state.tasks[task_id], self.state.payloads[task_id], attempts)

    def list_tasks(self, which: TaskFilter, limit: int, offset: int, before: str | None) -> TaskPage:
        found = [
            task
            for _, task in sorted(self.state.tasks.items(), reverse=True)
            if task.queue.environment is which.environment
            and which.queue in (None, task.queue.name)
            and which.status in (None, task.status)
        ]
        page = [task for task in found if before is None or task.id < before]
        return TaskPage(page[offset : offset + limit], len(found))

    def window(self, key: QueueKey, now: Instant, limit: int) -> Window:
        entries = [
            Entry(task.id, task.priority, task.due_at, task.version)
            for task in self.state.tasks.values()
            if task.queue == key and task.status is Status.PENDING and key.environment is Environment.LIVE
        ]
        due = sorted((e for e in entries if e.due_at <= now), key=lambda e: (-e.priority, e.due_at, e.id))
        upcoming = sorted((e for e in entries if e.due_at > now), key=lambda e: (e.due_at, e.id))
        return Window(due[:limit], len(due) <= limit, upcoming[:limit], len(upcoming) <= limit)

    def active(self, key: QueueKey, limit: int) -> list[Task]:
        tasks = [task for _, task in sorted(self.state.tasks.items())]
        return [task for task in tasks if task.queue == key and task.status is Status.ACTIVE][:limit]

    def queues(self) -> list[Queue]:
        return [
            evolve(queue, counts=Counts(*(self._count(key, status) for status in Status)))
            for key, queue in sorted(self.state.queues.items())
        ]

    def _count(self, key: QueueKey, status: Status) -> int:
        return sum(task.queue == key and task.status is status for task in self.state.tasks.values())

    def settings(self) -> Mapping[str, str]:
        return self.state.settings

    def floor(self) -> Floor:
        return Floor(self.now, self.state.sequence)


def _require(holds: bool, reason: Reason) -> None:
    if not holds:
        raise _Refusal(reason)
