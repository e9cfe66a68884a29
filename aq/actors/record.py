"""The queue itself: made on first use or on request, its policy changed, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import evolve

from aq.actors.desk import Desk, owner
from aq.actors.messages import Configure, Create, Ensure, Reply
from aq.actors.outbox import Then, answering, not_accepted
from aq.actors.patience import patiently
from aq.actors.policies import of_callbacks
from aq.errors import ConflictError, NotFoundError, ValidationError
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Refused
from aq.storage.changes import Change, DropQueue, PutQueue
from aq.task import Environment, Queue, QueueKey


def no_such_queue(key: QueueKey) -> NotFoundError:
    return NotFoundError(f"there is no queue {key}")


class QueueRecord:
    """One queue's row. A policy holds from the moment it is decided; it is answered once it is durable."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._key = desk.key
        self.queue: Queue | None = None
        """As decided."""
        self._kept: Queue | None = None
        """As it is on disk; they differ while a change is under way."""
        self._underway = 0
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
        exists = ConflictError(f"queue {self._key} exists already; PATCH changes it")
        if self.queue is not None:
            self.refuse(message.reply, exists)
            return
        queue = Queue(self._key, message.policy, created_at=self._desk.now)
        claim: Sequence[Change] = [message.claiming.of(queue)] if message.claiming is not None else []
        self._created(queue, first=answering(message.reply, queue, refused=not_accepted), beside=claim)

    def refuse(self, reply: Reply[Any], error: ConflictError) -> None:
        """Answered once what it is in conflict with is durable: it may be a twin of the same request."""

        def answer(settled: Answer | Exception) -> None:
            reply.fail(settled if isinstance(settled, Exception) else error)

        self._desk.outbox.put([], _ignored, first=answer)

    def configure(self, message: Configure) -> None:
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

    def change(
        self,
        *,
        first: Then | None = None,
        then: Then | None = None,
        beside: Sequence[Change] = (),
        **changes: Any,
    ) -> None:
        """Put the queue with some attributes changed, in one unit with the changes ``beside`` it."""
        if self.queue is None:
            raise ValueError(f"there is no queue {self._key} to change")
        queue = evolve(self.queue, version=self.queue.version + 1, **changes)
        self._put(queue, first=first, then=then, beside=beside)

    def drop(self, first: Then) -> None:
        """Delete the row, and that of its callbacks unless some are on their way."""
        self._desk.outbox.put(
            [DropQueue(self._key)], self._was_dropped, first=self._with_event(first, "deleted")
        )
        if self._key.environment is Environment.LIVE:
            self._desk.outbox.put([DropQueue(QueueKey(Environment.CALLBACK, self._key.name))], _ignored)
            self._has_callbacks = False

    # -- within ---------------------------------------------------------------------------------------------
    def _created(self, queue: Queue, first: Then | None = None, beside: Sequence[Change] = ()) -> None:
        self._put(queue, first=self._with_event(first, "created"), beside=beside)

    def _adopt(self, queue: Queue | None) -> None:
        self.queue = queue
        self._desk.clearing = None if queue is None else queue.clearing
        if self._key.environment is Environment.CALLBACK:
            self._desk.agenda.adopt(of_callbacks(self._desk.policy), self._desk.now)
            return
        policy = QueuePolicy() if queue is None else queue.policy
        self._desk.services.policies.put(self._key, policy)
        self._desk.agenda.adopt(policy, self._desk.now)

    def _put(
        self, queue: Queue, *, first: Then | None, then: Then | None = None, beside: Sequence[Change] = ()
    ) -> None:
        self._adopt(queue)
        self._underway += 1
        unit = [*beside, PutQueue(queue)]
        self._desk.outbox.put(unit, partial(self._was_put, queue, then), first=first)

    def _was_put(self, queue: Queue, then: Then | None, answer: Answer | Exception) -> None:
        self._underway -= 1
        if isinstance(answer, Applied):
            self._kept = queue
        self._agree()
        if then is not None:
            then(answer)

    def _was_dropped(self, answer: Answer | Exception) -> None:
        """Heard in the order of the commits, like `_was_put`: the last of them holds."""
        if isinstance(answer, Applied):
            self._kept = None
        self._agree()

    def _agree(self) -> None:
        if not self._underway:
            self._adopt(self._kept)

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
