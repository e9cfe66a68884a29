"""The queue supervisor: a Trio shell around the pure agenda of one queue.

Each turn it takes what lies in its mailbox, applies it to the agenda, starts what the agenda says is next,
and sends what has to be written to the committer, in that order. Between turns it waits for a message or
for the agenda's next instant: one timer, no polling. It holds no truth that is not durable: kill it, and a
successor rebuilds from storage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from aq import lifecycle
from aq.actors.agenda import Agenda
from aq.actors.mailbox import Mailbox
from aq.actors.messages import (
    Configure,
    Create,
    Drop,
    Ended,
    Message,
    Remove,
    Request,
    Settled,
    Stop,
    Submit,
    Woken,
)
from aq.actors.outbox import Outbox, Then, answering, not_deletable
from aq.actors.patience import patiently
from aq.actors.record import QueueRecord
from aq.actors.runner import run_attempt
from aq.actors.services import Services
from aq.delivery.protocol import Delivery
from aq.errors import AsyncQueueError, DrainingError
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.protocol import (
    Answer,
    Applied,
    Change,
    Delete,
    Entry,
    Insert,
    Reason,
    Record,
    Refused,
    Start,
    Unit,
    Update,
)
from aq.task import Environment, QueueKey, Status, Task

_INTERRUPTED: Final = 500
"""Interrupted tasks recovered in one transaction."""


class SupervisorError(AsyncQueueError):
    """What memory and storage say of a queue does not fit: the supervisor gives up, a successor rebuilds."""


class QueueSupervisor:
    """Runs one queue until it is stopped, or retires because nothing has waited or run for a while."""

    def __init__(self, key: QueueKey, mailbox: Mailbox, services: Services) -> None:
        self.key = key
        self._mailbox = mailbox
        self._services = services
        self._agenda = Agenda(window=services.sizes.window)
        self._outbox = Outbox(services.committer, mailbox)
        self._record = QueueRecord(key, services, self._outbox, self._agenda.adopt)
        self._turn: list[Message] = []
        self._fresh: dict[str, tuple[Task, Submit]] = {}
        self._stopping = False
        self._attempts: trio.Nursery

    @property
    def policy(self) -> QueuePolicy:
        return self._record.policy

    async def run(self) -> None:
        """Recover, then serve. Whatever it raises, its attempts have ended when it does."""
        await self._recover()
        async with trio.open_nursery() as self._attempts:
            await self._serve()
            self._attempts.cancel_scope.cancel()
        await self._clear_up()

    def abandon(self, error: AsyncQueueError) -> None:
        """In the end: callers whose request was in hand are told, and the places in use are given back."""
        for message in self._turn:
            if isinstance(message, Request):
                message.reply.fail(error)
        self._services.capacity.leave(self.key, len(self._agenda.running))

    # -- the loop -------------------------------------------------------------------------------------------
    async def _recover(self) -> None:
        """Pass behind the predecessor's writes; record what it left running as unknown; load what waits."""
        services = self._services
        await services.committer.commit(())
        self._mailbox.forget_reports()
        await self._record.read()
        while not services.committer.broken and (
            interrupted := await patiently(lambda: services.storage.active(self.key, _INTERRUPTED))
        ):
            await self._record_unknown(interrupted)
        await self._load(services.clock.now())

    async def _record_unknown(self, interrupted: Sequence[Task]) -> None:
        now, unit, final = self._services.clock.now(), list[Change](), list[Task]()
        for task in interrupted:
            after, attempt = lifecycle.interrupted(
                task, self.policy, now=now, chance=self._services.random.random()
            )
            unit += [Update(after, was=task.status), Record(task.id, attempt)]
            final += [after] if after.status.final else []
        answer = await self._services.committer.commit(unit)
        if not isinstance(answer, Applied):
            raise SupervisorError(f"recovery of {self.key} was refused: {answer}")
        for task in final:
            self._services.waiters.tell(task.id)

    async def _serve(self) -> None:
        await self._advance()
        while not self._stopping:
            self._turn = await self._next_messages()
            if not self._turn and self._idle:
                self._mailbox.close()
                return
            for message in self._turn:
                self._handle(message)
            await self._advance()
            self._turn = []

    async def _clear_up(self) -> None:
        """Attempts that ended while the others were cut short are on record all the same."""
        for message in self._mailbox.take(len(self._mailbox)):
            if isinstance(message, Ended | Settled):
                self._handle(message)
            elif isinstance(message, Request):
                message.reply.fail(DrainingError())
        await self._outbox.flush()

    async def _next_messages(self) -> list[Message]:
        """What lies in the mailbox, else the next message; nothing when the time for something has come."""
        if len(self._mailbox):
            await trio.lowlevel.checkpoint()
        else:
            with trio.CancelScope(deadline=self._wake_at()):
                return [await self._mailbox.receive()]
        return self._mailbox.take(self._services.sizes.turn)

    def _wake_at(self) -> float:
        """In Trio's time."""
        if self._idle:
            return trio.current_time() + self._services.sizes.idle
        wake_at = self._agenda.wake_at() if self._may_start else None
        return math.inf if wake_at is None else self._services.clock.trio_deadline(wake_at)

    @property
    def _idle(self) -> bool:
        agenda = self._agenda
        working = agenda.running or self._outbox.unsettled or self._record.dropping
        return not (agenda.waiting or agenda.spilled or working)

    @property
    def _may_start(self) -> bool:
        committer = self._services.committer
        return not (self._services.draining or self._stopping or committer.broken or committer.full)

    def _handle(self, message: Message) -> None:
        match message:
            case Submit():
                self._accept(message)
            case Ended():
                self._conclude(message)
            case Settled():
                self._outbox.heard(message)
            case Remove():
                self._remove(message)
            case Create():
                self._record.create(message)
            case Configure():
                self._record.configure(message)
            case Drop():
                self._attempts.start_soon(self._record.drop, message)
            case Stop():
                self._stopping = True
            case Woken():
                pass  # the turn that it brings about is the point

    async def _advance(self) -> None:
        """Start what is next, and send what this turn decided to the committer."""
        if self._may_start:
            now = self._services.clock.now()  # one instant for what is due, what is loaded and what starts
            if self._agenda.needs_load(now):
                self._insert_fresh()
                await self._outbox.flush()
                await self._services.committer.commit(())
                await self._load(now)
            self._start(now)
        elif self._services.committer.full:
            self._services.committer.when_writable(self.key, self._outbox.wake)
        self._insert_fresh()
        await self._outbox.flush()

    async def _load(self, now: Instant) -> None:
        services = self._services
        self._agenda.load(
            await patiently(lambda: services.storage.window(self.key, now, services.sizes.window))
        )

    # -- tasks ----------------------------------------------------------------------------------------------
    def _accept(self, message: Submit) -> None:
        now = self._services.clock.now()
        task = lifecycle.submitted(
            message.new,
            task_id=self._services.minter.mint(now),
            queue=self.key,
            now=now,
            traceparent=message.traceparent,
        )
        self._fresh[task.id] = task, message
        self._await_turn(task)

    def _await_turn(self, task: Task) -> None:
        """The task waits from now on. Sandbox tasks are kept, and never run."""
        if self.key.environment is Environment.LIVE:
            entry = Entry(task.id, task.priority, task.due_at, task.version)
            self._agenda.add(entry, self._services.clock.now())

    def _start(self, now: Instant) -> None:
        """Start what the agenda says, as far as there are places. A fresh task starts as it is written."""
        services, agenda = self._services, self._agenda
        room = services.capacity.claim(self.key, agenda.startable(now), self._outbox.wake)
        for entry in agenda.start(now, room):
            if entry.id in self._fresh:
                task, message = self._fresh.pop(entry.id)
                started = lifecycle.started(task, now)
                begun = partial(self._begun, entry.id, (started, message.new.payload))
                self._insert(started, message, begun, answer_with=task)
            else:
                start = Start(self.key, entry.id, entry.version, now)
                self._outbox.put([start], partial(self._begun, entry.id, None), insists=True)

    def _insert_fresh(self) -> None:
        """The fresh tasks that did not start are written as pending."""
        for task, message in self._fresh.values():
            self._insert(task, message, partial(self._accepted, task), answer_with=task)
        self._fresh.clear()

    def _insert(self, task: Task, message: Submit, then: Then, *, answer_with: Task) -> None:
        self._record.create_on_first_use(task.created_at)
        first = answering(message.reply, answer_with)
        self._outbox.put([Insert(task, message.new.payload)], then, first=first)

    def _accepted(self, task: Task, answer: Answer | Exception) -> None:
        if not isinstance(answer, Applied):
            self._agenda.remove(task.id)

    def _begun(self, task_id: str, fresh: tuple[Task, bytes] | None, answer: Answer | Exception) -> None:
        """A start was committed: the request may leave. A start that was refused frees its slot."""
        if isinstance(answer, Applied):
            if self._stopping:
                return  # it will be found active, and repeated
            task, payload = fresh or answer.started[0]
            self._attempts.start_soon(self._attempt, task, payload)
            return
        self._free_slot(task_id)
        if isinstance(answer, Exception) and fresh is None:
            self._agenda.invalidate()

    async def _attempt(self, task: Task, payload: bytes) -> None:
        delivery = Delivery(
            task_id=task.id,
            queue=self.key,
            webhook_url=task.webhook_url,
            payload=payload,
            attempt=task.attempt,
            timeout=task.timeout or self.policy.timeout,
            due_at=task.due_at,
            started_at=task.started_at or task.due_at,
            traceparent=task.traceparent,
        )
        outcome = await run_attempt(self._services.runner, delivery)
        self._mailbox.report(Ended(task, outcome, self._services.clock.now()))

    def _conclude(self, message: Ended) -> None:
        task = message.task
        self._free_slot(task.id)
        after, attempt = lifecycle.ended(
            task,
            message.outcome,
            self.policy,
            now=message.at,
            chance=self._services.random.random(),
        )
        if after.status is Status.PENDING:
            self._await_turn(after)
        unit: Unit = [Update(after, was=task.status), Record(task.id, attempt)]
        tell = partial(self._tell_waiters, after) if after.status.final else None
        self._outbox.put(unit, partial(self._concluded, after), insists=True, first=tell)

    def _tell_waiters(self, task: Task, answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            self._services.waiters.tell(task.id)

    def _concluded(self, task: Task, answer: Answer | Exception) -> None:
        if isinstance(answer, Refused):
            raise SupervisorError(f"the outcome of {task.id} was refused: {answer.reason}")

    def _free_slot(self, task_id: str) -> None:
        self._agenda.finish(task_id)
        self._services.capacity.release()

    def _remove(self, message: Remove) -> None:
        if message.task_id in self._agenda.running:
            message.reply.fail(not_deletable(Refused(Reason.STATE)))
            return
        self._agenda.remove(message.task_id)
        unit = [Delete(self.key, message.task_id)]
        answer = answering(message.reply, None, refused=not_deletable)
        self._outbox.put(unit, self._removed, first=partial(self._told_removed, message.task_id, answer))

    def _told_removed(self, task_id: str, answer: Then, settled: Answer | Exception) -> None:
        answer(settled)
        if isinstance(settled, Applied):
            self._services.waiters.tell(task_id)

    def _removed(self, answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            self._agenda.invalidate()
