"""The judge of a simulated run, from outside: clients' answers, arrivals at endpoints, what is on disk.

It knows the promises (each has a name here or beside it) and nothing of how the engine keeps them:

    starts.py    what may start, and what goes first     rest.py       what must have happened by now
    ends.py      what an attempt's end makes of a task    restarts.py   what is still there after a crash
    comings.py   tasks that come and go, slots            clients.py    what clients are told
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aq.ids import sequence_of
from aq.sim.clock import now as current
from aq.sim.comings import Comings, as_pending
from aq.sim.ends import Ends
from aq.sim.ledger import Ledger
from aq.sim.network import Arrival
from aq.sim.rest import Rest
from aq.sim.restarts import Restarts
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
from aq.task import Status


class Observer:
    """Hears of everything as it happens. ``verdict`` has what was wrong."""

    def __init__(self, trace: Trace, max_attempts: int) -> None:
        self.trace = trace
        self.verdict = Verdict(trace)
        self.ledger = Ledger()
        self.life = 0
        self.starts = Starts(self.ledger, self.verdict, max_attempts)
        self.ends = Ends(self.ledger, self.verdict)
        self.comings = Comings(self.ledger, self.verdict)
        self.restarts = Restarts(self.ledger, self.verdict, self.comings)
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
        self.restarts.opening(self.life)
        self.clock_begins()

    def clock_begins(self) -> None:
        """The service clock of this life begins, perhaps elsewhere than the last one ended."""
        self.starts.opening(self.life, current())
        self.ends.opening(self.life, current())
        self.ledger.clock_begins(current())

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
                    self.comings.went(task_id)
            elif isinstance(answer, Refused):
                self.starts.refused(unit)
                self.ledger.put_off.update(
                    (change.schedule.id, current()) for change in unit if isinstance(change, PutSchedule)
                )
        self.trace.say("commit", *(_told(unit, answer) for unit, answer in zip(units, answers, strict=True)))

    def _insert(self, change: Insert, unit: Sequence[Any], answer: Applied) -> None:
        task = change.task
        if task.id in self.ledger.rows:
            self.verdict.broken("one id, one task", f"{task.id} was inserted twice")
        if (sequence_of(task.id) or 0) <= self.restarts.top:
            self.verdict.broken("ids rise", f"{task.id} is not above those of earlier lives")
        self.comings.came(task, change.payload)
        if task.status is Status.ACTIVE:
            pending = as_pending(task)
            row = self.ledger.put(pending, current(), self.life)
            self.starts.started(row, task)
        self.ledger.put(task, current(), self.life)

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
        self.comings.went(change.id)

    def _put_queue(self, change: PutQueue, unit: Sequence[Any], answer: Applied) -> None:
        self.ledger.put_queue(change.queue.key, change.queue, current())

    def _drop_queue(self, change: DropQueue, unit: Sequence[Any], answer: Applied) -> None:
        self.ledger.put_queue(change.key, None, current())

    def _put_schedule(self, change: PutSchedule, unit: Sequence[Any], answer: Applied) -> None:
        self.comings.scheduled(change.schedule)

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
