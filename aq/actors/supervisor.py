"""The queue supervisor: a Trio shell around the pure agenda of one queue.

Each turn it takes what lies in its mailbox, applies it to the agenda, starts what the agenda says is next,
and sends what has to be written to the committer, in that order. Between turns it waits for a message or
for the agenda's next instant: one timer, no polling. It holds no truth that is not durable: kill it, and a
successor rebuilds from storage.

Its parts, which share a `Desk`:

    arrivals   tasks on their way in           attempts   started, run, concluded
    ends       what an end writes and tells    expiry     tasks whose time ran out
    record     the queue's own row             chores     work on many tasks, beside the turns
"""

from __future__ import annotations

import math
from typing import assert_never

import trio

from aq.actors.agenda import Agenda
from aq.actors.arrivals import Arrivals
from aq.actors.attempts import Attempts, SupervisorError
from aq.actors.chores import Chores
from aq.actors.chronicle import Chronicle
from aq.actors.desk import Desk
from aq.actors.ends import Ends
from aq.actors.expiry import Expiry
from aq.actors.mailbox import Mailbox
from aq.actors.messages import (
    Arrived,
    Clear,
    Configure,
    Create,
    Drop,
    Ended,
    Ensure,
    Explain,
    Message,
    Remove,
    Request,
    Revive,
    ReviveAll,
    Settled,
    Stop,
    Submit,
    Woken,
)
from aq.actors.outbox import Outbox
from aq.actors.patience import patiently
from aq.actors.record import QueueRecord
from aq.actors.removal import Removal
from aq.actors.services import Services
from aq.actors.standing import explain
from aq.errors import AsyncQueueError, DrainingError
from aq.instants import Instant
from aq.task import QueueKey


class QueueSupervisor:
    """Runs one queue until it is stopped, or retires because nothing has waited or run for a while."""

    def __init__(self, key: QueueKey, mailbox: Mailbox, services: Services, *, idle_since: Instant) -> None:
        """``idle_since``: no predecessor has started anything since then, as far as its rate limit goes."""
        self.key = key
        self._idle_since = idle_since
        self._mailbox = mailbox
        self._services = services
        self._agenda = Agenda(window=services.sizes.window, holds=services.holds, now=services.clock.now())
        self._outbox = Outbox(services.committer, mailbox)
        self._desk = desk = Desk(
            key=key,
            services=services,
            mailbox=mailbox,
            agenda=self._agenda,
            outbox=self._outbox,
            chronicle=Chronicle(key, services),
        )
        self._record = QueueRecord(desk)
        self._ends = Ends(desk, self._record)
        self._expiry = Expiry(desk, self._ends)
        self._arrivals = Arrivals(desk, self._record)
        self._attempts = Attempts(desk, self._arrivals, self._ends)
        self._chores = Chores(desk, self._record, self._arrivals)
        self._removal = Removal(desk)
        self._turn: list[Message] = []
        self._stopping = self._served = False
        self._decided_at: Instant = 0
        """For which instant it was decided last what starts. What became due since is still to be seen."""

    async def run(self) -> None:
        """Recover, then serve. Whatever it raises, its attempts have ended when it does."""
        self._services.holds.watch(self._outbox.wake)
        try:
            await self._recover()
            async with trio.open_nursery() as nursery:
                self._attempts.nursery = self._chores.nursery = nursery
                self._chores.resume()
                await self._serve()
                self._served = True
                nursery.cancel_scope.cancel()
            if not self._served:
                raise SupervisorError("a runner has cancelled the supervisor that it runs under")
            await self._clear_up()
        finally:
            self._services.holds.unwatch(self._outbox.wake)

    @property
    def is_of_no_queue(self) -> bool:
        """Whether the queue was deleted, or never made."""
        return self._record.queue is None

    def abandon(self, error: AsyncQueueError) -> None:
        """In the end: callers whose request was in hand are told, and the places in use are given back."""
        for message in self._turn:
            if isinstance(message, Request):
                message.reply.fail(error)
        self._record.abandon(error)
        self._chores.abandon(error)
        for task_id in self._agenda.running:
            self._services.holds.abandoned(task_id)
        self._services.capacity.leave(self.key, self._attempts.places)

    # -- the loop -------------------------------------------------------------------------------------------
    async def _recover(self) -> None:
        """Pass behind the predecessor's writes; record what it left running as unknown; load what waits."""
        await self._services.committer.commit(())
        self._mailbox.forget_reports()
        await self._record.read()
        self._agenda.idle_since(self._idle_since)
        await self._attempts.recover()
        now = self._services.clock.now()
        await self._expiry.run(now)
        await self._write_all()
        if not self._chores.clearing:
            await self._load(now)

    async def _serve(self) -> None:
        self._turn = self._mailbox.take(len(self._mailbox))  # what came during recovery may be to go first
        while True:
            for message in self._turn:
                self._handle(message)
            await self._advance()
            self._turn = []
            if self._stopping:
                return
            idle = False if len(self._mailbox) else self._idle(self._services.clock.now())
            self._turn = await self._next_messages(idle)
            if idle and not self._turn:
                self._mailbox.close()
                return

    async def _clear_up(self) -> None:
        """Attempts that ended while the others were cut short are on record all the same."""
        for message in self._mailbox.take(len(self._mailbox)):
            if isinstance(message, Ended | Settled):
                self._handle(message)
            elif isinstance(message, Request):
                message.reply.fail(DrainingError())
        await self._outbox.flush()

    async def _next_messages(self, idle: bool) -> list[Message]:
        """What lies in the mailbox, else the next message; nothing when the time for something has come."""
        if len(self._mailbox):
            await trio.lowlevel.checkpoint()
        else:
            if self._services.committer.full:
                self._services.committer.when_writable(self.key, self._outbox.wake)
            with trio.CancelScope(deadline=self._wake_at(idle)):
                return [await self._mailbox.receive()]
        return self._mailbox.take(self._services.sizes.turn)

    def _wake_at(self, idle: bool) -> float:
        """In Trio's time."""
        clock = self._services.clock
        if idle:
            return trio.current_time() + self._services.sizes.idle
        now = clock.now()
        rests_at = self._agenda.rests_at(now)
        wakes = [rests_at] if rests_at is not None and rests_at > now else []
        if self._may_start() and not self._must_wait_for_the_sweep(self._decided_at):
            looks = self._agenda.wake_at(self._decided_at), self._expiry.next_at
            wakes += [wake for wake in looks if wake is not None]
        return clock.trio_deadline(min(wakes)) if wakes else math.inf

    def _idle(self, now: Instant) -> bool:
        return self._agenda.at_rest(now) and not (self._outbox.unsettled or self._chores.running)

    def _must_wait_for_the_sweep(self, now: Instant) -> bool:
        """Only storage knows what is next, and what it knows is partly gone. The end of the purge is told."""
        return self._chores.clearing and self._agenda.needs_load(now)

    def _may_start(self) -> bool:
        committer = self._services.committer
        held_up = self._stopping or self._chores.purging is not None
        return not (self._services.draining or held_up or committer.broken or committer.full)

    def _handle(self, message: Message) -> None:  # noqa: C901 -- one line for each kind of message
        match message:
            case Submit():
                self._arrivals.accept(message)
            case Ended():
                self._attempts.conclude(message)
            case Settled():
                self._outbox.hear()
            case Arrived():
                self._arrivals.arrived(message)
            case Remove():
                self._removal.remove(message)
            case Revive():
                self._arrivals.revive(message)
            case Ensure():
                self._record.ensure(message)
            case Create():
                self._record.create(message)
            case Configure():
                self._record.configure(message)
            case Drop():
                self._chores.drop(message)
            case Clear():
                self._chores.clear(message)
            case ReviveAll():
                self._chores.revive(message)
            case Explain():
                explain(message, self._desk)
            case Stop():
                self._stopping = self._attempts.stopping = True
            case Woken():
                pass  # the turn that it brings about is the point
            case Request():
                raise TypeError(f"a queue supervisor does not know {message!r}")
            case _:
                assert_never(message)

    async def _advance(self) -> None:
        """Start what is next, and send what this turn decided to the committer."""
        if self._may_start():
            now = self._services.clock.now()  # one instant for what is due, what is loaded and what starts
            self._decided_at = now
            if self._expiry.next_at is not None and self._expiry.next_at <= now:
                await self._write_all()
                await self._expiry.run(now)
            lacking = self._agenda.needs_load(now)
            if lacking and not self._chores.clearing:
                await self._write_all()
                await self._load(now)
                lacking = self._agenda.needs_load(now)
            if self._may_start() and not lacking:  # what was waited for may have taken its time
                self._attempts.start(now)
        self._arrivals.write()
        await self._outbox.flush()

    async def _write_all(self) -> None:
        """What memory knows is in storage when this returns."""
        self._arrivals.write()
        await self._outbox.flush()
        await self._services.committer.commit(())

    async def _load(self, now: Instant) -> None:
        storage, window = self._services.storage, self._services.sizes.window
        aside, limit = self._agenda.aside(), self._agenda.aside_limit
        head = await patiently(lambda: storage.window(self.key, now, window, aside, limit))
        self._agenda.load(head, now)
