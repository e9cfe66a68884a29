"""The queue itself: made on first use or on request, its policy changed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import trio
from attrs import evolve

from aq.actors.desk import Desk, owner
from aq.actors.messages import Configure, Create, Ensure, Request
from aq.actors.outbox import Then, answering, not_accepted
from aq.actors.patience import patiently
from aq.actors.policies import of_callbacks
from aq.errors import AsyncQueueError, ConflictError, NotFoundError, ValidationError
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Reason, Refused
from aq.storage.changes import Change, DropQueue, PutQueue, Unit
from aq.task import Environment, Queue, QueueKey


def no_such_queue(key: QueueKey) -> NotFoundError:
    return NotFoundError(f"there is no queue {key}")


class QueueRecord:
    """One queue's row. A policy holds from the moment it is decided; it is answered once it is durable.

    The row is its supervisor's alone, and changes one step at a time: what is to change it waits in line
    while a change is under way, so that one that is refused takes no later one with it.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._key = desk.key
        self.queue: Queue | None = None
        """As decided."""
        self._kept: Queue | None = None
        """As it is on disk; they differ while a change is under way."""
        self.settled = trio.Event()
        """Set, and replaced, when a change of the row is settled."""
        self._underway = False
        self._line: list[tuple[Callable[[], None], Request | None]] = []
        """A list: it is short, and a deque that is empty takes 600 bytes of each queue."""
        self._has_callbacks = False

    async def read(self) -> None:
        """As it is kept."""
        services = self._desk.services
        self._kept = await patiently(lambda: services.storage.queue(self._key))
        if self._key.environment is Environment.CALLBACK:
            await patiently(lambda: services.policies.of(owner(self._key)))
        self._adopt(self._kept)

    def create_on_first_use(self, now: Instant) -> None:
        """To be called before the first task is written."""
        if self.queue is None:
            self._created(Queue(self._key, QueuePolicy(), created_at=now))

    def ensure(self, message: Ensure) -> None:
        """The answer comes once the queue is durable."""
        self.create_on_first_use(self._desk.now)
        self._desk.outbox.put([], _ignored, first=answering(message.reply, None))

    def ensure_callbacks(self, now: Instant) -> None:
        """To be called before a callback of this queue's tasks is written."""
        if not self._has_callbacks:
            self._has_callbacks = True
            beside = QueueKey(Environment.CALLBACK, self._key.name)
            put = PutQueue(Queue(beside, QueuePolicy(), created_at=now))
            self._desk.outbox.put([put], _ignored, insists=True)  # as the ends do that rely on it

    def create(self, message: Create) -> None:
        self.in_turn(partial(self._create, message), message)

    def configure(self, message: Configure) -> None:
        self.in_turn(partial(self._configure, message), message)

    def in_turn(self, act: Callable[[], None], asked: Request | None = None) -> None:
        """Run ``act``, which may change the row, once no change is under way: now, or in a later turn."""
        self._line.append((act, asked))
        if len(self._line) == 1:
            self._go_on()

    def change(
        self,
        *,
        first: Then | None = None,
        then: Then | None = None,
        beside: Sequence[Change] = (),
        insists: bool = False,
        **changes: Any,
    ) -> None:
        """In turn: put the queue with some attributes changed, in one unit with the changes ``beside`` it.

        A queue that is not there is answered as the storage would: MISSING.
        """
        if self.queue is None:
            for hear in (first, then):
                if hear is not None:
                    hear(Refused(Reason.MISSING))
            return
        queue = evolve(self.queue, version=self.queue.version + 1, **changes)
        self._put(queue, first=first, then=then, beside=beside, insists=insists)

    def pause(self, first: Then, then: Then) -> None:
        """In turn: until all that was sent before is settled and heard of, nothing else changes the row.

        Only of a queue that is there: the first task of another one makes it, whoever waits.
        """
        self._send([], self.queue, first=first, then=then)

    def drop(self, first: Then, then: Then) -> None:
        """In turn: delete the row, and that of its callbacks unless some are on their way."""
        first = self._with_event(first, "deleted")
        self._send([DropQueue(self._key)], None, first=first, then=then, insists=True)
        if self._key.environment is Environment.LIVE:
            self._desk.outbox.put([DropQueue(QueueKey(Environment.CALLBACK, self._key.name))], _ignored)
            self._has_callbacks = False

    def abandon(self, error: AsyncQueueError) -> None:
        """In the end: callers who wait in line are told."""
        for _, asked in self._line:
            if asked is not None:
                asked.reply.fail(error)

    # -- within ---------------------------------------------------------------------------------------------
    def _create(self, message: Create) -> None:
        if self.queue is not None:
            message.reply.fail(ConflictError(f"queue {self._key} exists already; PATCH changes it"))
            return
        queue = Queue(self._key, message.policy, created_at=self._desk.now)
        claim: Sequence[Change] = [message.claiming.of(queue)] if message.claiming is not None else []
        self._created(queue, first=answering(message.reply, queue, refused=not_accepted), beside=claim)

    def _configure(self, message: Configure) -> None:
        if self.queue is None:
            message.reply.fail(no_such_queue(self._key))
            return
        try:
            policy = message.change(self.queue.policy)
        except ValidationError as error:
            message.reply.fail(error)
            return
        what = _told(self.queue.policy, policy)
        after = evolve(self.queue, policy=policy, version=self.queue.version + 1)
        self._put(after, first=self._with_event(answering(message.reply, after), what))

    def _created(self, queue: Queue, first: Then | None = None, beside: Sequence[Change] = ()) -> None:
        self._put(queue, first=self._with_event(first, "created"), beside=beside)

    def _adopt(self, queue: Queue | None) -> None:
        clearing = None if queue is None else queue.clearing
        if self._desk.clearing is not None and clearing is None:
            self._desk.agenda.invalidate()  # what came to wait meanwhile may have counted as gone
        self.queue, self._desk.clearing = queue, clearing
        if self._key.environment is Environment.CALLBACK:
            self._desk.agenda.adopt(of_callbacks(self._desk.policy), self._desk.now)
            return
        policy = QueuePolicy() if queue is None else queue.policy
        self._desk.services.policies.put(self._key, policy)
        self._desk.agenda.adopt(policy, self._desk.now)

    def _put(self, queue: Queue, *, beside: Sequence[Change] = (), **how: Any) -> None:
        self._adopt(queue)
        self._send([*beside, PutQueue(queue)], queue, **how)

    def _send(
        self,
        unit: Unit,
        becomes: Queue | None,
        *,
        first: Then | None,
        then: Then | None = None,
        insists: bool = False,
    ) -> None:
        self._underway = True
        self._desk.outbox.put(unit, partial(self._settled, becomes, then), insists=insists, first=first)

    def _settled(self, becomes: Queue | None, then: Then | None, answer: Answer | Exception) -> None:
        self._underway = False
        if isinstance(answer, Applied):
            self._kept = becomes
        self._adopt(self._kept)
        if then is not None:
            then(answer)
        self.tell()
        self._go_on()

    def tell(self) -> None:
        """Who waits for the row to change looks again."""
        self.settled.set()
        self.settled = trio.Event()

    def _go_on(self) -> None:
        while self._line and not self._underway:
            self._line[0][0]()
            del self._line[0]  # only now: who asked is told of a crash, see `abandon`

    def _with_event(self, first: Then | None, what: str) -> Then:
        def tell(answer: Answer | Exception) -> None:
            if first is not None:
                first(answer)
            if isinstance(answer, Applied) and self._key.environment is not Environment.CALLBACK:
                self._desk.chronicle.queue(what)

        return tell


def _told(before: QueuePolicy, after: QueuePolicy) -> str:
    if before.paused != after.paused:
        return "paused" if after.paused else "resumed"
    return "updated"


def _ignored(answer: Answer | Exception | Refused) -> None:
    """Whoever made it first, it is there."""
