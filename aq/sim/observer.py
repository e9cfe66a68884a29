"""The judge of a simulated run, from outside: clients' answers, arrivals at endpoints, what is on disk.

It knows the promises (each has a name here or beside it) and nothing of how the engine keeps them:

    starts.py   what may start, and what goes first          rest.py      what must have happened by now
    ends.py     what an attempt's end makes of a task         clients.py   what clients are told
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from attrs import frozen

from aq.ids import sequence_of
from aq.schedule import Schedule
from aq.sim.clock import now as current
from aq.sim.ends import Ends, as_pending, number_of
from aq.sim.ledger import Ask, Ledger
from aq.sim.network import Arrival
from aq.sim.rest import Rest
from aq.sim.starts import Starts
from aq.sim.trace import Trace
from aq.sim.verdict import FUZZ, Verdict
from aq.storage.answers import Answer, Applied, Refused
from aq.storage.changes import (
    Delete,
    DropQueue,
    DropSchedule,
    Insert,
    PutQueue,
    PutSchedule,
    Record,
    Start,
    Unit,
    Update,
)
from aq.task import Environment, Queue, QueueKey, Status, Task


@frozen
class Survey:
    """All that a disk shows; ``payloads`` of the tasks that were not known."""

    tasks: Mapping[str, Task]
    payloads: Mapping[str, bytes]
    queues: Mapping[QueueKey, Queue]
    schedules: Mapping[str, Schedule]


class Observer:
    """Hears of everything as it happens. ``verdict`` has what was wrong."""

    def __init__(self, trace: Trace, max_attempts: int) -> None:
        self.trace = trace
        self.verdict = Verdict(trace)
        self.ledger = Ledger()
        self.asked: dict[int, Ask] = {}
        """Tasks that clients asked for, by the number in their payload."""
        self.life = 0
        self._top = 0
        """Ids of this life are above it: it is the highest sequence of the lives before."""
        self.starts = Starts(self.ledger, self.verdict, max_attempts)
        self.ends = Ends(self.ledger, self.verdict)
        self.rest = Rest(self.ledger, self.verdict, self.starts)
        self._changes: Mapping[type, Callable[[Any, Sequence[Any], Applied], None]] = {
            Insert: self._insert,
            Start: self._start,
            Update: self._update,
            Delete: self._delete,
            PutQueue: self._put_queue,
            DropQueue: self._drop_queue,
            PutSchedule: self._put_schedule,
            DropSchedule: self._drop_schedule,
        }

    # -- lives ----------------------------------------------------------------------------------------------
    def opening(self) -> None:
        """Another life of the engine begins."""
        self.life += 1
        self._top = self.ledger.top
        self.starts.opening(self.life, current())
        self.ends.opening(self.life, current())

    def survey(self, found: Survey, doubtful: Sequence[Unit]) -> None:
        """What a fresh opening of the disk shows, after a life whose last commit may or may not have been.

        What was acknowledged is there as it was; of the commit in doubt everything or nothing.
        """
        touched, sweeps = _touched(doubtful)
        for queue in self.ledger.queues.keys() | found.queues.keys():
            self.ledger.put_queue(queue, found.queues.get(queue), current())
        self.ledger.schedules = dict(found.schedules)
        for task_id in sorted(found.tasks.keys() | self.ledger.rows.keys()):
            row, task = self.ledger.rows.get(task_id), found.tasks.get(task_id)
            before = None if row is None else row.task
            if before == task:
                continue
            if task_id not in touched and not (sweeps and task is None):
                now = _short(task)
                self.verdict.broken("durable", f"{task_id} was {_short(before)}, is {now} after a restart")
            self._adopt(before, task, found.payloads.get(task_id, b"{}"))
        self._top = self.ledger.top
        self._whole(doubtful, found.tasks.keys())
        self._batches_whole(swept=sweeps)

    def _adopt(self, before: Task | None, after: Task | None, payload: bytes) -> None:
        if after is None:
            if before is not None:
                self._gone(before.id)
            return
        if before is None:
            self._inserted(after, payload)
        elif before.status is Status.COMPLETED:
            self.verdict.broken("terminal", f"{before.id} was completed, is {after.status}")
        row = self.ledger.put(after, current(), self.life - 1)
        row.failures, row.unknowns = after.failures, after.unknowns
        if before is not None and before.status is Status.FAILED and after.status is not Status.FAILED:
            row.revived += 1

    def _whole(self, doubtful: Sequence[Unit], found: Set[str]) -> None:
        """Units that nothing can refuse went in together or not at all."""
        fresh = [
            {change.task.id for change in unit if isinstance(change, Insert)}
            for unit in doubtful
            if all(isinstance(change, Insert) for change in unit)
        ]
        there = [ids <= found for ids in fresh if ids]
        halves = [ids for ids in fresh if ids & found and not ids <= found]
        if halves:
            self.verdict.broken("whole", f"half of {sorted(halves[0])} is there after a restart")
        if len(set(there)) > 1 and not any(_refusable(unit) for unit in doubtful):
            self.verdict.broken("whole", "half of a commit is there after a restart")

    def _batches_whole(self, *, swept: bool) -> None:
        """Of a batch all tasks were made or none, whatever was answered; of one just ``swept`` who knows."""
        batches, self.ledger.batches = self.ledger.batches, []
        for numbers in batches:
            made = [number for number in numbers if self.ledger.inserted.get(number)]
            if made and len(made) < len(numbers) and not swept:
                self.verdict.broken("whole", f"of a batch of requests {numbers} only {made} were kept")

    # -- commits --------------------------------------------------------------------------------------------
    def committed(self, units: Sequence[Unit], answers: Sequence[Answer]) -> None:
        """A commit returned."""
        for unit, answer in zip(units, answers, strict=True):
            if isinstance(answer, Applied):
                for change in unit:
                    heard = self._changes.get(type(change))
                    if heard is not None:
                        heard(change, unit, answer)
                for task_id in answer.removed:
                    self._gone(task_id)
            elif isinstance(answer, Refused):
                self.starts.refused(unit)
        self.trace.say("commit", *(_told(unit, answer) for unit, answer in zip(units, answers, strict=True)))

    def _insert(self, change: Insert, unit: Sequence[Any], answer: Applied) -> None:
        task = change.task
        if task.id in self.ledger.rows:
            self.verdict.broken("one id, one task", f"{task.id} was inserted twice")
        if (sequence_of(task.id) or 0) <= self._top:
            self.verdict.broken("ids rise", f"{task.id} is not above those of earlier lives")
        self._inserted(task, change.payload)
        if task.status is Status.ACTIVE:
            pending = as_pending(task)
            row = self.ledger.put(pending, current(), self.life)
            self.starts.started(row, task)
        self.ledger.put(task, current(), self.life)

    def _inserted(self, task: Task, payload: bytes) -> None:
        if task.queue.environment is Environment.CALLBACK:
            self.ends.callback(task)
        elif task.options.schedule_id is not None:
            self.ends.fired(task)
        else:
            self.ends.submitted(task, self.asked.get(number_of(payload) or 0))

    def _start(self, change: Start, unit: Sequence[Any], answer: Applied) -> None:
        (task,) = (task for task, _ in answer.started if task.id == change.id)
        row = self.ledger.rows.get(task.id)
        if row is None:
            self.verdict.broken("no start of what is gone", f"{task.id} was started")
            return
        self.starts.started(row, task)
        self.ledger.put(task, current(), self.life)

    def _update(self, change: Update, unit: Sequence[Any], answer: Applied) -> None:
        row = self.ledger.rows.get(change.task.id)
        if row is None:
            self.verdict.broken("no change of what is gone", f"{change.task.id} became {change.task.status}")
            return
        record = next((c.attempt for c in unit if isinstance(c, Record) and c.task_id == row.task.id), None)
        was = row.task
        self.ends.changed(row, change.task, record)
        if was.status is Status.ACTIVE:
            self.starts.ended(row)
        self.ledger.put(change.task, current(), self.life)
        self.ends.told_of(row, unit)

    def _delete(self, change: Delete, unit: Sequence[Any], answer: Applied) -> None:
        self._gone(change.id)

    def _gone(self, task_id: str) -> None:
        row = self.ledger.rows.get(task_id)
        if row is None:
            self.verdict.broken("no change of what is gone", f"{task_id} was deleted twice")
            return
        self.ends.removed(row)
        self.ledger.drop(task_id, current())

    def _put_queue(self, change: PutQueue, unit: Sequence[Any], answer: Applied) -> None:
        self.ledger.put_queue(change.queue.key, change.queue, current())

    def _drop_queue(self, change: DropQueue, unit: Sequence[Any], answer: Applied) -> None:
        self.ledger.put_queue(change.key, None, current())

    def _put_schedule(self, change: PutSchedule, unit: Sequence[Any], answer: Applied) -> None:
        self.ends.scheduled(change.schedule)

    def _drop_schedule(self, change: DropSchedule, unit: Sequence[Any], answer: Applied) -> None:
        self.ledger.schedules.pop(change.id, None)

    # -- arrivals -------------------------------------------------------------------------------------------
    def arrived(self, arrival: Arrival) -> None:
        """A request came. It left only after its start was durable, once for each start."""
        self.trace.say("arrived", arrival.task_id, arrival.attempt, arrival.destination)
        row = self.ledger.rows.get(arrival.task_id)
        if row is None:
            self.verdict.broken("no start of what is gone", f"{arrival.task_id} was delivered")
            return
        task = row.task
        if task.status is not Status.ACTIVE:
            self.verdict.broken("no delivery without a start", f"{task.id} was delivered while {task.status}")
        if arrival.attempt is not None and arrival.attempt != task.attempt:
            self.verdict.broken(
                "attempt numbers", f"{task.id}: {arrival.attempt} sent, {task.attempt} on disk"
            )
        if task.due_at > current() + FUZZ:
            self.verdict.broken("never early", f"{task.id} was delivered before it was due")
        if row.arrival is not None:
            self.verdict.broken("once for each start", f"{task.id} was delivered twice for one start")
        row.arrival, row.arrival_life = arrival, self.life

    def left(self, arrival: Arrival) -> None:
        """An exchange is over."""
        self.trace.say("left", arrival.task_id, arrival.status, arrival.error, arrival.retry_after)
        self.starts.left(arrival)


def _refusable(unit: Unit) -> bool:
    return not all(isinstance(change, Insert) for change in unit)


def _touched(units: Sequence[Unit]) -> tuple[set[str], bool]:
    """The tasks that these units name, and whether they sweep others away."""
    touched: set[str] = set()
    sweeps = False
    for unit in units:
        for change in unit:
            if isinstance(change, Insert | Update):
                touched.add(change.task.id)
            elif isinstance(change, Start | Delete):
                touched.add(change.id)
            else:
                sweeps = sweeps or hasattr(change, "limit")
    return touched, sweeps


def _short(task: Task | None) -> str:
    return "not there" if task is None else f"{task.status} in version {task.version}"


def _told(unit: Unit, answer: Answer) -> str:
    told = [f"{type(change).__name__}({_what(change)})" for change in unit]
    return f"[{' '.join(told)}]" if isinstance(answer, Applied) else f"refused[{' '.join(told)}]"


def _what(change: Any) -> str:
    if isinstance(change, Insert | Update):
        task = change.task
        return f"{task.id} {task.status} v{task.version} due {task.due_at}"
    if isinstance(change, Start | Delete):
        return change.id
    return ""
