"""The queue itself: made on first use or on request, its policy changed, deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import evolve

from aq.actors.messages import Configure, Create, Drop, Reply
from aq.actors.outbox import Outbox, answering
from aq.actors.patience import patiently
from aq.actors.services import Services
from aq.errors import (
    AsyncQueueError,
    ConflictError,
    NotFoundError,
    UnavailableError,
    ValidationError,
)
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.protocol import Answer, Applied, DropQueue, PutQueue, Reason, Refused, Sweep
from aq.task import Queue, QueueKey

_SWEPT: Final = 500
"""Finished tasks deleted in one transaction when a queue is deleted."""


def no_such_queue(key: QueueKey) -> NotFoundError:
    return NotFoundError(f"there is no queue {key}")


class QueueRecord:
    """One queue's row. A policy holds from the moment it is decided; it is answered once it is durable.

    ``adopted`` is called whenever the policy in force may be another one.
    """

    def __init__(
        self, key: QueueKey, services: Services, outbox: Outbox, adopted: Callable[[QueuePolicy], None]
    ) -> None:
        self._key = key
        self._services = services
        self._outbox = outbox
        self._adopted = adopted
        self._queue: Queue | None = None
        self._kept: Queue | None = None
        """``_queue`` as it is on disk; they differ while a change is under way."""
        self._underway = 0
        self.dropping = 0
        """How many deletions of the queue run."""

    @property
    def policy(self) -> QueuePolicy:
        return self._queue.policy if self._queue is not None else QueuePolicy()

    async def read(self) -> None:
        """As it is kept."""
        self._kept = await patiently(lambda: self._services.storage.queue(self._key))
        self._adopt(self._kept)

    def create_on_first_use(self, now: Instant) -> None:
        """To be called before the first task is written."""
        if self._queue is None:
            self._put(Queue(self._key, QueuePolicy(), created_at=now))

    def create(self, message: Create) -> None:
        if self._queue is not None:
            message.reply.fail(ConflictError(f"queue {self._key} exists already; PATCH changes it"))
            return
        now = self._services.clock.now()
        self._put(Queue(self._key, message.policy, created_at=now), message.reply)

    def configure(self, message: Configure) -> None:
        if self._queue is None:
            message.reply.fail(no_such_queue(self._key))
            return
        try:
            policy = message.change(self.policy)
        except ValidationError as error:
            message.reply.fail(error)
            return
        self._put(evolve(self._queue, policy=policy, version=self._queue.version + 1), message.reply)

    async def drop(self, message: Drop) -> None:
        """Beside the supervisor's turns and in small steps, so that a long history holds up nobody."""
        self.dropping += 1
        try:
            await self._drop(message.reply)
        except BaseException:
            message.reply.fail(UnavailableError("the deletion was interrupted; repeat it"))
            raise
        finally:
            self.dropping -= 1
            self._outbox.wake()

    async def _drop(self, reply: Reply[None]) -> None:
        committer = self._services.committer
        await committer.commit(())
        if (refusal := await self._still_needed()) is not None:
            reply.fail(refusal)
            return
        while _count(await committer.commit([Sweep(self._key, _SWEPT)])) == _SWEPT:
            continue
        first = answering(reply, None, refused=self._not_dropped)
        self._outbox.put([DropQueue(self._key)], self._was_dropped, first=first)

    def _not_dropped(self, refused: Refused) -> AsyncQueueError:
        if refused.reason is Reason.MISSING:
            return no_such_queue(self._key)
        return ConflictError(f"a task came to queue {self._key} while it was being deleted")

    def _was_dropped(self, answer: Answer | Exception) -> None:
        """Heard in the order of the commits, like `_was_put`: the last of them holds."""
        if isinstance(answer, Applied):
            self._kept = None
        if not self._underway:
            self._adopt(self._kept)

    async def _still_needed(self) -> AsyncQueueError | None:
        queue = await patiently(lambda: self._services.storage.queue(self._key))
        if queue is None:
            return no_such_queue(self._key)
        if queue.counts.pending or queue.counts.active:
            held = f"{queue.counts.pending:,} pending and {queue.counts.active:,} active tasks"
            return ConflictError(f"queue {self._key} still holds {held}; delete them first")
        return None

    def _adopt(self, queue: Queue | None) -> None:
        self._queue = queue
        self._adopted(self.policy)

    def _put(self, queue: Queue, reply: Reply[Queue] | None = None) -> None:
        self._adopt(queue)
        first = answering(reply, queue) if reply is not None else None
        self._underway += 1
        self._outbox.put([PutQueue(queue)], partial(self._was_put, queue), first=first)

    def _was_put(self, queue: Queue, answer: Answer | Exception) -> None:
        self._underway -= 1
        if isinstance(answer, Applied):
            self._kept = queue
        if not self._underway:
            self._adopt(self._kept)


def _count(answer: Answer) -> int:
    return answer.count if isinstance(answer, Applied) else 0
