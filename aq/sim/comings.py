"""Promises about tasks that come and go, and about the slots of schedules."""

from __future__ import annotations

import json
from typing import Final

from msgspec.structs import replace

from aq.instants import SECOND, Instant
from aq.schedule import CatchUp, Overlap, Schedule
from aq.sim.clock import now as current
from aq.sim.ledger import Ask, Ledger, Row
from aq.sim.verdict import FUZZ, Verdict
from aq.task import Environment, QueueKey, Status, Task

_LIVE: Final = Environment.LIVE


class Comings:
    """Judges every task as it comes, and as it goes."""

    def __init__(self, ledger: Ledger, verdict: Verdict) -> None:
        self._ledger = ledger
        self._verdict = verdict
        self._slots: set[tuple[str, Instant]] = set()

    def came(self, task: Task, payload: bytes) -> None:
        """A task is there that was not."""
        if task.queue.environment is Environment.CALLBACK:
            self._callback(task)
        elif task.options.schedule_id is not None:
            self._fired(task)
        else:
            self._submitted(task, self._ledger.requests.get(_number_of(payload) or 0))

    def went(self, task_id: str) -> None:
        """A task is gone, once."""
        row = self._ledger.rows.get(task_id)
        if row is None:
            self._broken("no change of what is gone", f"{task_id} was deleted twice")
            return
        self._removed(row)
        self._ledger.drop(task_id, current())

    def scheduled(self, schedule: Schedule) -> None:
        """A schedule is on disk like this: slots are settled one after the other, none is passed over."""
        before = self._ledger.schedules.get(schedule.id)
        self._ledger.schedules[schedule.id] = schedule
        if before is None or before.last_slot == schedule.last_slot or schedule.last_slot is None:
            return
        every = (schedule.every or 1) * SECOND
        last = before.from_at if before.last_slot is None else max(before.last_slot, before.from_at)
        passed = (schedule.last_slot - last) // every - 1
        never = before.overlap is Overlap.ALLOW and before.catch_up is CatchUp.ALL and not before.paused
        if passed > 0 and never:
            self._broken("one task for each slot", f"{schedule.id} passed over {passed} slots")

    # -- within ---------------------------------------------------------------------------------------------
    def _submitted(self, task: Task, ask: Ask | None) -> None:
        """A client's task: somebody asked for it, once, and it is what was asked for."""
        if ask is None:
            self._broken("as asked", f"nobody asked for {task.id}")
            return
        made = self._ledger.inserted[ask.number]
        made.append(task.id)
        if len(made) > 1:
            self._broken("once for each request", f"{made} were made for request {ask.number}")
        wanted = ask.fields
        for name in ("webhook_url", "priority", "delay", "max_retries", "timeout", "ordering_key"):
            if getattr(task, name) != wanted[name]:
                self._broken(
                    "as asked", f"{task.id} has {name} {getattr(task, name)!r}, not {wanted[name]!r}"
                )
        if task.queue != ask.key or not ask.asked_at - FUZZ <= task.created_at <= current() + FUZZ:
            self._broken("as asked", f"{task.id} of {task.queue} was created at {task.created_at}")
        if task.due_at != task.created_at + task.delay * SECOND:
            self._broken("never early", f"{task.id} is due at {task.due_at}, with a delay of {task.delay} s")
        expires_in = wanted["expires_in"]
        if (task.expires_at is None) != (expires_in is None) or (
            expires_in is not None and task.expires_at != task.created_at + expires_in * SECOND
        ):
            self._broken("as asked", f"{task.id} expires at {task.expires_at}, not after {expires_in} s")

    def _callback(self, task: Task) -> None:
        """It tells of an end that is written with it; see `Ends.told_of`."""
        row = self._ledger.rows.get(task.options.tells_of or "")
        if row is None:
            self._broken("one callback for each end", f"{task.id} tells of nothing")
        elif task.webhook_url != row.task.options.callback_url:
            self._broken("one callback for each end", f"{task.id} goes to {task.webhook_url}")

    def _fired(self, task: Task) -> None:
        """A schedule made it: once for each slot, never before it."""
        schedule_id, slot = task.options.schedule_id or "", task.options.slot
        schedule = self._ledger.schedules.get(schedule_id)
        if slot is None:
            return
        if (schedule_id, slot) in self._slots:
            self._broken("one task for each slot", f"slot {slot} of {schedule_id} made {task.id} too")
        self._slots.add((schedule_id, slot))
        if schedule is None:
            self._broken("one task for each slot", f"{task.id} is of a schedule that is gone")
        elif slot > current() + FUZZ or (slot - schedule.from_at) % ((schedule.every or 1) * SECOND):
            self._broken("one task for each slot", f"{task.id} was made for {slot}, which is no slot")

    def _removed(self, row: Row) -> None:
        """A task is gone: somebody asked for that, or it was kept for long enough."""
        task, ledger = row.task, self._ledger
        if task.status is Status.ACTIVE:
            self._broken("no task lost", f"{task.id} went while an attempt was running")
        elif task.status is Status.PENDING:
            deletes = [ask for ask in ledger.asks.get(("delete", task.queue), ()) if ask.task_id == task.id]
            purges = ledger.asks.get(("purge", task.queue), ())
            if not deletes and not any(ask.may_count(task.created_at) for ask in purges):
                self._broken("no task lost", f"{task.id} went while it waited")
        elif not self._is_over(task):
            self._broken(
                "no task lost", f"{task.id} went {current() - (task.finished_at or 0)} us after its end"
            )

    def _is_over(self, task: Task) -> bool:
        """Whether its retention is over, there are too many, or its queue was to be deleted."""
        owner = _owner(task.queue)
        name = "retention_completed" if task.status is Status.COMPLETED else "retention_failed"
        kept = min(self._ledger.values(owner, name, current() - FUZZ))
        finished = sum(
            row.task.status.final and row.task.queue == task.queue for row in self._ledger.rows.values()
        )
        return (
            (task.finished_at or 0) + kept * SECOND <= current() + FUZZ
            or finished > min(self._ledger.values(owner, "retention_max_tasks", current() - FUZZ))
            or bool(self._ledger.asks.get(("drop", owner)))
        )

    def _broken(self, promise: str, told: str) -> None:
        self._verdict.broken(promise, told)


def as_pending(task: Task) -> Task:
    """A task that was inserted as started, as it would have been inserted else."""
    return replace(
        task, status=Status.PENDING, version=task.version - 1, attempt=task.attempt - 1, started_at=None
    )


def _number_of(payload: bytes) -> int | None:
    """Of the request that a task was made for."""
    number = json.loads(payload).get("n")
    return number if isinstance(number, int) else None


def _owner(key: QueueKey) -> QueueKey:
    return QueueKey(_LIVE, key.name) if key.environment is Environment.CALLBACK else key
