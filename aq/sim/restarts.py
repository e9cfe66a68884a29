"""Promises about what is still there after a restart, of what was acknowledged and of what was in doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from attrs import frozen

from aq.schedule import Schedule
from aq.sim.clock import now as current
from aq.sim.comings import Comings
from aq.sim.ledger import Ledger
from aq.sim.verdict import Verdict
from aq.storage.changes import Delete, Insert, Start, Unit, Update
from aq.task import Queue, QueueKey, Status, Task


@frozen
class Survey:
    """All that a disk shows; ``payloads`` of the tasks that were not known."""

    tasks: Mapping[str, Task]
    payloads: Mapping[str, bytes]
    queues: Mapping[QueueKey, Queue]
    schedules: Mapping[str, Schedule]


class Restarts:
    """Judges what each opening of the disk shows."""

    def __init__(self, ledger: Ledger, verdict: Verdict, comings: Comings) -> None:
        self._ledger = ledger
        self._verdict = verdict
        self._comings = comings
        self._life = 0
        self.top = 0
        """Ids of this life are above it: it is the highest sequence of the lives before."""

    def opening(self, life: int) -> None:
        self._life, self.top = life, self._ledger.top

    def survey(self, found: Survey, doubtful: Sequence[Unit]) -> None:
        """What a fresh opening of the disk shows, after a life whose last commit may or may not have been.

        What was acknowledged is there as it was; of the commit in doubt everything or nothing.
        """
        touched, sweeps = _touched(doubtful)
        ends = _updated(doubtful)
        for queue in self._ledger.queues.keys() | found.queues.keys():
            self._ledger.put_queue(queue, found.queues.get(queue), current())
        self._ledger.schedules = dict(found.schedules)
        for task_id in sorted(found.tasks.keys() | self._ledger.rows.keys()):
            row, task = self._ledger.rows.get(task_id), found.tasks.get(task_id)
            before = None if row is None else row.task
            if before == task:
                continue
            if task_id not in touched and not (sweeps and task is None):
                now = _short(task)
                self._verdict.broken("durable", f"{task_id} was {_short(before)}, is {now} after a restart")
            if task is None and row is not None and task_id in ends:  # it ended and went in one commit
                self._ledger.put(ends[task_id], current(), self._life - 1)
            self._adopt(before, task, found.payloads.get(task_id, b"{}"))
        self.top = self._ledger.top
        self._whole(doubtful, found.tasks.keys())
        self._batches_whole(swept=sweeps)

    def _adopt(self, before: Task | None, after: Task | None, payload: bytes) -> None:
        if after is None:
            if before is not None:
                self._comings.went(before.id)
            return
        if before is None:
            self._comings.came(after, payload)
        elif before.status is Status.COMPLETED:
            self._verdict.broken("terminal", f"{before.id} was completed, is {after.status}")
        row = self._ledger.put(after, current(), self._life - 1)
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
            self._verdict.broken("whole", f"half of {sorted(halves[0])} is there after a restart")
        if len(set(there)) > 1 and not any(_refusable(unit) for unit in doubtful):
            self._verdict.broken("whole", "half of a commit is there after a restart")

    def _batches_whole(self, *, swept: bool) -> None:
        """Of a batch all tasks were made or none, whatever was answered; of one just ``swept`` who knows."""
        batches, self._ledger.batches = self._ledger.batches, []
        for numbers in batches:
            made = [number for number in numbers if self._ledger.inserted.get(number)]
            if made and len(made) < len(numbers) and not swept:
                self._verdict.broken("whole", f"of a batch of requests {numbers} only {made} were kept")


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


def _updated(units: Sequence[Unit]) -> dict[str, Task]:
    """Each task as the last of its updates in these units leaves it."""
    return {change.task.id: change.task for unit in units for change in unit if isinstance(change, Update)}


def _short(task: Task | None) -> str:
    return "not there" if task is None else f"{task.status} in version {task.version}"
