"""Tasks on their way in: new ones, and failed ones that are to wait again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from aq import lifecycle
from aq.actors.desk import Desk
from aq.actors.messages import Arrived, Receipt, Revive, Submit
from aq.actors.outbox import Then, answering, not_accepted, not_revivable
from aq.actors.record import QueueRecord
from aq.errors import UnavailableError, ValidationError
from aq.instants import SECOND, Instant
from aq.storage.answers import Answer, Applied
from aq.storage.changes import Change, Insert, Update
from aq.task import Status, Task


class Arrivals:
    """A *fresh* task waits, and is not in the outbox yet: it may still start as it is written."""

    def __init__(self, desk: Desk, record: QueueRecord) -> None:
        self._desk = desk
        self._record = record
        self._fresh: dict[str, tuple[Task, Submit]] = {}

    def accept(self, message: Submit) -> None:
        services = self._desk.services
        now, new = self._desk.now, message.new
        try:
            task = lifecycle.submitted(
                new,
                task_id=services.minter.mint(now),
                queue=self._desk.key,
                now=now,
                wall_ahead=0 if new.run_at is None else math.floor(services.clock.wall_offset() * SECOND),
                trace=message.trace,
            )
        except ValidationError as error:
            message.reply.fail(error)
            return
        self._fresh[task.id] = task, message
        self._desk.await_turn(task)

    def start(self, task_id: str, now: Instant, begun: Callable[[Task, bytes], Then]) -> bool:
        """Write a fresh task as started already; False for one that is not fresh.

        What ``begun`` makes of the started task and its payload hears how it went.
        """
        if task_id not in self._fresh:
            return False
        task, message = self._fresh.pop(task_id)
        started = lifecycle.started(task, now)
        self._insert(task, message, started, then=begun(started, message.new.payload))
        return True

    def write(self) -> None:
        """The fresh tasks that did not start are written as pending."""
        for task, message in self._fresh.values():
            self._insert(task, message, task, then=partial(self._accepted, task.id))
        self._fresh.clear()

    def revive(self, message: Revive) -> None:
        """A failed task is to wait again. A purge that is under way would take it for one of its own."""
        if self._desk.clearing is not None:
            message.reply.fail(UnavailableError(f"queue {self._desk.key} is being purged; try again soon"))
            return
        after = lifecycle.revived(message.task, now=self._desk.now)
        receipt = self._receipt(after)
        answer = answering(message.reply, receipt, refused=not_revivable)
        unit = [*_claim(message, receipt), Update(after, was=Status.FAILED)]

        def first(settled: Answer | Exception) -> None:
            answer(settled)
            if isinstance(settled, Applied):
                self._desk.chronicle.retrying(after, after.due_at)

        self._desk.outbox.put(unit, partial(self._revived, after), first=first)

    def arrived(self, message: Arrived) -> None:
        """Someone else wrote tasks that wait from now on."""
        self._desk.add(message.entries)
        self._desk.note_expiry(message.expires_at)

    def _insert(self, asked: Task, message: Submit, written: Task, *, then: Then) -> None:
        self._record.create_on_first_use(asked.created_at)
        receipt = self._receipt(asked)
        answer = answering(message.reply, receipt, refused=not_accepted)

        def first(settled: Answer | Exception) -> None:
            answer(settled)
            if isinstance(settled, Applied):
                self._desk.chronicle.created(asked)

        self._desk.outbox.put(
            [*_claim(message, receipt), Insert(written, message.new.payload)], then, first=first
        )

    def _receipt(self, task: Task) -> Receipt:
        return Receipt(task, *lifecycle.in_force(task, self._desk.policy))

    def _accepted(self, task_id: str, answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            self._desk.released(answer)
        else:
            self._desk.agenda.remove(task_id)

    def _revived(self, task: Task, answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            self._desk.await_turn(task)
            self._desk.released(answer)


def _claim(message: Submit | Revive, receipt: Receipt) -> Sequence[Change]:
    return [] if message.claiming is None else [message.claiming.of(receipt)]
