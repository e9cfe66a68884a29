"""The promises of aq.storage.protocol in the simplest way: each unit copies everything, each read scans it.

Slow and short on purpose; what `test_differential` measures the real storages by.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from attrs import evolve

from aq.apikey import ApiKey
from aq.ids import sequence_of
from aq.instants import Instant
from aq.lifecycle import started
from aq.outcome import ErrorType
from aq.policy import QueuePolicy
from aq.schedule import Schedule
from aq.storage.answers import (
    Answer,
    Applied,
    Aside,
    Backlog,
    Claimed,
    Entry,
    Expiring,
    FailureGroup,
    Failures,
    Floor,
    Reason,
    Refused,
    StoredTask,
    TaskFilter,
    TaskPage,
    Window,
)
from aq.storage.changes import (
    Change,
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
        self.claims: dict[tuple[Environment, str], Claim] = {}
        self.keys: dict[str, ApiKey] = {}
        self.schedules: dict[str, Schedule] = {}
        self.settings: dict[str, str] = {}
        self.sequence = 0

    def copy(self) -> _State:
        twin = copy.copy(self)
        for name, value in vars(self).items():
            setattr(twin, name, copy.copy(value))
        twin.attempts = {task_id: dict(attempts) for task_id, attempts in self.attempts.items()}
        return twin

    def pending(self, key: QueueKey) -> list[Task]:
        tasks = self.tasks.values()
        return [task for task in tasks if task.queue == key and task.status is Status.PENDING]

    def contenders(self, key: QueueKey, ordering_key: str | None) -> list[Task]:
        """The pending and active tasks of an ordering key; its head comes first."""
        found = [
            task
            for task in self.tasks.values()
            if (task.queue, task.ordering_key) == (key, ordering_key) and not task.status.final
        ]
        return sorted(found, key=lambda task: (task.status is Status.PENDING, task.id))

    def held_back(self, task: Task) -> bool:
        return (
            task.status is Status.PENDING
            and task.ordering_key is not None
            and self.contenders(task.queue, task.ordering_key)[0].id != task.id
        )

    def waiting_heads(self) -> list[Task]:
        """The pending tasks that are the head of an ordering key, by id."""
        waiting = [task for _, task in sorted(self.tasks.items()) if task.status is Status.PENDING]
        return [task for task in waiting if task.ordering_key is not None and not self.held_back(task)]


class Model:
    def __init__(self) -> None:
        self.state = _State()
        self.now = 0
        """The floor."""

    # -- writing --------------------------------------------------------------------------------------------
    def commit(self, units: Sequence[Unit], now: Instant) -> list[Answer]:
        self.now = max(self.now, now)
        return [_Unit(self, now).answer(unit) for unit in units]

    # -- reading --------------------------------------------------------------------------------------------
    def task(self, task_id: str) -> StoredTask | None:
        if task_id not in self.state.tasks:
            return None
        attempts = [attempt for _, attempt in sorted(self.state.attempts[task_id].items())]
        return StoredTask(self.state.tasks[task_id], self.state.payloads[task_id], attempts)

    def listed(self, which: TaskFilter) -> list[Task]:
        """All that a filter lets through, newest first."""
        return [task for _, task in sorted(self.state.tasks.items(), reverse=True) if _matches(task, which)]

    def list_tasks(
        self, which: TaskFilter, limit: int, offset: int, before: str | None, after: str | None
    ) -> TaskPage:
        """With a filter that is not counted, ``more`` may also be told where nothing more comes."""
        found = self.listed(which)
        total = len(found) if which.counted else None
        if after is not None:
            rest = [task for task in reversed(found) if task.id > after]
        else:
            rest = [task for task in found if before is None or task.id < before][offset:]
        return TaskPage(rest[:limit], total, rest[limit - 1].id if 0 < limit < len(rest) else None)

    def failures(self, environment: Environment, queues: tuple[str, ...] | None, most: int) -> Failures:
        failed = self.listed(TaskFilter(environment, queues, Status.FAILED))
        looked_at = failed[:most]
        kinds = {_kind(task) for task in looked_at}
        groups = [self._group([task for task in looked_at if _kind(task) == kind]) for kind in kinds]
        return Failures.of(groups, len(failed))

    def _group(self, tasks: list[Task]) -> FailureGroup:
        ends = [task.finished_at or 0 for task in tasks]
        attempts = sorted(self.state.attempts[tasks[0].id].items())
        samples = tuple(task.id for task in tasks[:3])
        error = attempts[-1][1].error if attempts else None
        return FailureGroup(*_kind(tasks[0]), len(tasks), min(ends), max(ends), samples, error)

    def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str], aside_limit: int
    ) -> Window:
        tasks = [
            task
            for task in self.state.pending(key)
            if not self.state.held_back(task) and key.environment is not Environment.TEST
        ]
        due = sorted((t for t in tasks if t.due_at <= now), key=lambda t: (-t.priority, t.due_at, t.id))
        upcoming = sorted((t for t in tasks if t.due_at > now), key=lambda t: (t.due_at, t.id))
        apart = {}
        for destination in aside:
            theirs = [task for task in due if task.destination == destination]
            apart[destination] = Aside(_entries(theirs[:aside_limit]), len(theirs) <= aside_limit)
        due = [task for task in due if task.destination not in aside]
        return Window(
            _entries(due[:limit]),
            len(due) <= limit,
            _entries(upcoming[:limit]),
            len(upcoming) <= limit,
            apart,
        )

    def expiring(self, key: QueueKey, now: Instant, limit: int) -> Expiring:
        pending = [task for task in self.state.pending(key) if task.expires_at is not None]
        tasks = sorted(pending, key=lambda task: (task.expires_at, task.id))
        expired = [task for task in tasks if (task.expires_at or 0) <= now][:limit]
        rest = tasks[len(expired) :]
        return Expiring(expired, rest[0].expires_at if rest else None)

    def head_of(self, key: QueueKey, ordering_key: str) -> str | None:
        return next((task.id for task in self.state.contenders(key, ordering_key)), None)

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

    def backlog(self, key: QueueKey, now: Instant) -> Backlog:
        pending = self.state.pending(key)
        may = [task.due_at for task in pending if not self.state.held_back(task)]
        return Backlog(
            sum(task.due_at // 60_000_000 > now // 60_000_000 for task in pending),
            min(may) if may and key.environment is not Environment.TEST else None,
        )

    def claim(self, environment: Environment, name: str, now: Instant) -> Claimed | None:
        claim = self.state.claims.get((environment, name))
        if claim is None or claim.expires_at <= now:
            return None
        return Claimed(claim.fingerprint, claim.answer)

    def api_keys(self) -> list[ApiKey]:
        return [key for _, key in sorted(self.state.keys.items())]

    def schedules(self, environment: Environment | None) -> list[Schedule]:
        schedules = [schedule for _, schedule in sorted(self.state.schedules.items())]
        return [schedule for schedule in schedules if environment in (None, schedule.environment)]

    def settings(self) -> Mapping[str, str]:
        return self.state.settings

    def floor(self) -> Floor:
        return Floor(self.now, self.state.sequence)


class _Unit:
    """One unit, applied to a copy of everything that takes the place of the old when all went well."""

    def __init__(self, model: Model, now: Instant) -> None:
        self.model = model
        self.now = now
        self.state = model.state.copy()
        self.count = 0
        self.begun: list[tuple[Task, bytes]] = []
        self.removed: list[str] = []
        self.put: set[str] = set()
        """Tasks that it inserted or changed."""

    def answer(self, unit: Unit) -> Answer:
        try:
            for change in unit:
                self.change(change)
        except _Refusal as refusal:
            return Refused(refusal.reason)
        heads = {task.id for task in self.model.state.waiting_heads()}
        made = [task for task in self.state.waiting_heads() if task.id in self.put or task.id not in heads]
        self.model.state = self.state
        return Applied(self.count, tuple(self.begun), tuple(self.removed), tuple(_entries(made)))

    def change(self, change: Change) -> None:
        match change:
            case Insert(task, payload):
                self.insert(task, payload)
            case Start():
                self.start(change)
            case Update(task, was):
                known = self.known(task.id, task.queue)
                _require(known.status is was, Reason.STATE)
                _require(known.version == task.version - 1, Reason.VERSION)
                self.put_task(task)
            case Record(task_id, attempt):
                _require(task_id in self.state.tasks, Reason.MISSING)
                self.state.attempts[task_id][attempt.number] = attempt
            case Delete(queue, task_id):
                _require(self.known(task_id, queue).status is Status.PENDING, Reason.STATE)
                self.remove(task_id)
            case Sweep():
                self.sweep(change)
            case Purge():
                self.purge(change)
            case _:
                self.change_other(change)

    def change_other(self, change: Change) -> None:
        state = self.state
        match change:
            case PutQueue(queue):
                known = state.queues.get(queue.key)
                _require_next(known.version if known else None, queue.version)
                state.queues[queue.key] = queue
                self.count += len(state.pending(queue.key)) if queue.clearing else 0
            case DropQueue(key):
                _require(key in state.queues, Reason.MISSING)
                _require(not any(task.queue == key for task in state.tasks.values()), Reason.STATE)
                del state.queues[key]
            case Claim():
                self.claim(change)
            case Forget():
                self.forget(change)
            case PutKey(key):
                state.keys[key.id] = key
            case PutSchedule(schedule):
                there = state.schedules.get(schedule.id)
                _require_next(there.version if there else None, schedule.version)
                state.schedules[schedule.id] = schedule
            case DropSchedule(schedule_id):
                _require(state.schedules.pop(schedule_id, None) is not None, Reason.MISSING)
            case PutSetting(name, value):
                state.settings[name] = value

    def known(self, task_id: str, queue: QueueKey) -> Task:
        _require(task_id in self.state.tasks and self.state.tasks[task_id].queue == queue, Reason.MISSING)
        return self.state.tasks[task_id]

    def put_task(self, task: Task) -> None:
        self.state.tasks[task.id] = task
        self.put.add(task.id)

    def insert(self, task: Task, payload: bytes) -> None:
        sequence = sequence_of(task.id) or 0
        _require(task.id not in self.state.tasks, Reason.EXISTS)
        _require(task.queue in self.state.queues, Reason.MISSING)
        clearing = self.state.queues[task.queue].clearing
        _require(clearing is None or sequence > clearing.through, Reason.STATE)
        self.put_task(task)
        self.state.payloads[task.id] = payload
        self.state.attempts[task.id] = {}
        self.state.sequence = max(self.state.sequence, sequence)

    def start(self, change: Start) -> None:
        known = self.known(change.id, change.queue)
        _require(known.status is Status.PENDING, Reason.STATE)
        _require(known.version == change.version, Reason.VERSION)
        _require(not self.state.held_back(known), Reason.STATE)
        self.put_task(started(known, change.at))
        self.begun.append((self.state.tasks[known.id], self.state.payloads[known.id]))

    def claim(self, change: Claim) -> None:
        known = self.state.claims.get((change.environment, change.name))
        _require(known is None or known.expires_at <= self.now, Reason.EXISTS)
        self.state.claims[change.environment, change.name] = change

    def forget(self, change: Forget) -> None:
        expired = [place for place, claim in self.state.claims.items() if claim.expires_at <= change.before]
        for place in expired[: change.limit]:
            del self.state.claims[place]
            self.count += 1

    def sweep(self, change: Sweep) -> None:
        before = change.finished_before
        if change.rule is not None:
            key, retention = change.rule
            queue = self.state.queues.get(key)
            policy = QueuePolicy() if queue is None else queue.policy
            _require(policy.retention == retention, Reason.STATE)
        finished = [
            (task.finished_at or 0, task.id)
            for task in self.state.tasks.values()
            if task.queue == change.key and task.status in change.statuses
        ]
        victims = sorted(one for one in finished if before is None or one[0] < before)
        limit = max(0, min(change.limit, len(finished) - change.stay))
        self.remove_all([task_id for _, task_id in victims[:limit]])

    def purge(self, change: Purge) -> None:
        victims = [
            task.id
            for task in self.state.tasks.values()
            if task.queue == change.key
            and task.status is Status.PENDING
            and (sequence_of(task.id) or 0) <= change.through
            and task.id not in change.spared
        ]
        self.remove_all(sorted(victims)[: change.limit])

    def remove_all(self, victims: Sequence[str]) -> None:
        for task_id in victims:
            self.remove(task_id)
            self.removed.append(task_id)
            self.count += 1

    def remove(self, task_id: str) -> None:
        del self.state.tasks[task_id], self.state.payloads[task_id], self.state.attempts[task_id]


def _entries(tasks: Sequence[Task]) -> list[Entry]:
    return [
        Entry(task.id, task.priority, task.due_at, task.version, task.destination, task.expires_at)
        for task in tasks
    ]


def _kind(task: Task) -> tuple[str, str, ErrorType | None]:
    return task.queue.name, task.destination, task.error_type


def _matches(task: Task, which: TaskFilter) -> bool:
    late = 1 << 62
    return (
        task.queue.environment is which.environment
        and (which.queues is None or task.queue.name in which.queues)
        and which.status in (None, task.status)
        and (which.tag is None or which.tag in task.options.tags)
        and which.error_type in (None, task.error_type)
        and which.destination in (None, task.destination)
        and (which.created_after or 0) <= task.created_at < (which.created_before or late)
        and (which.finished_after is None or (task.finished_at or -1) >= which.finished_after)
        and (which.finished_before is None or (task.finished_at or late) < which.finished_before)
    )


def _require(holds: bool, reason: Reason) -> None:
    if not holds:
        raise _Refusal(reason)


def _require_next(known: int | None, version: int) -> None:
    """Version 1 creates, version n replaces version n - 1."""
    if version == 1:
        _require(known is None, Reason.EXISTS)
    else:
        _require(known is not None, Reason.MISSING)
        _require(known == version - 1, Reason.VERSION)
