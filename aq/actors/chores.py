"""Work on many of a queue's tasks: beside the supervisor's turns, in small steps, so that it holds up nobody.

What was promised is durable before the first step (a *mark* in the queue's row), so that a crash in the
middle leaves work to be gone on with, never a promise broken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import trio
from attrs import evolve

from aq import lifecycle
from aq.actors.desk import Desk, earliest_expiry
from aq.actors.messages import Arrived, Clear, Drop, Reply, Request, ReviveAll
from aq.actors.outbox import Then, answering, not_accepted, out_of_step
from aq.actors.patience import patiently
from aq.actors.record import QueueRecord, no_such_queue
from aq.errors import AsyncQueueError, ConflictError, UnavailableError
from aq.storage.answers import Answer, Applied, Entry, Reason, Refused, TaskFilter
from aq.storage.changes import Purge, Sweep, Update
from aq.task import Clearing, Environment, Revival, Status, Task

logger = logging.getLogger(__name__)
_STEP: Final = 500
"""Tasks deleted in one transaction."""
_REVIVED: Final = 100
"""Failed tasks revived in one transaction."""


class Chores:
    """``nursery`` is the one they run in, set by the supervisor. ``running`` is how many do."""

    nursery: trio.Nursery

    def __init__(self, desk: Desk, record: QueueRecord) -> None:
        self._desk = desk
        self._record = record
        self.running = 0
        self._swept = trio.Event()
        """Set, and replaced, when a purge is over."""

    @property
    def clearing(self) -> bool:
        """Whether storage holds pending tasks that count as gone."""
        return self._desk.clearing is not None

    def resume(self) -> None:
        """What an earlier life of the supervisor began."""
        queue = self._record.queue
        if queue is not None and queue.clearing is not None:
            self._begin(self._clear, queue.clearing)
        if queue is not None and queue.revival is not None:
            self._begin(self._revive, queue.revival)

    def drop(self, message: Drop) -> None:
        self._begin(self._drop, message.reply, asked=message)

    def clear(self, message: Clear) -> None:
        """Fresh tasks are in the outbox by now: every id minted so far is covered."""
        if self._record.queue is None:
            message.reply.fail(no_such_queue(self._desk.key))
            return
        clearing = Clearing(self._desk.services.minter.last, tuple(self._desk.agenda.running))
        self._desk.agenda.clear()
        self._record.change(
            first=partial(self._cleared, message.reply),
            then=self._then(self._clear, clearing),
            clearing=clearing,
        )

    def revive(self, message: ReviveAll) -> None:
        queue = self._record.queue
        if queue is None:
            message.reply.fail(no_such_queue(self._desk.key))
        elif queue.revival is not None:
            error = ConflictError("a retry of this queue's failed tasks is still under way")
            self._record.refuse(message.reply, error)
        else:
            claim = [] if message.claiming is None else [message.claiming.of(message.count)]
            self._record.change(
                first=answering(message.reply, message.count, refused=not_accepted),
                then=self._then(self._revive, message.revival),
                beside=claim,
                revival=message.revival,
            )

    # -- purge ----------------------------------------------------------------------------------------------
    def _cleared(self, reply: Reply[int], answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            reply.set(answer.count)
            self._desk.chronicle.queue("purged", count=answer.count)
        elif isinstance(answer, Exception):
            reply.fail(answer)
        else:
            missing = answer.reason is Reason.MISSING
            reply.fail(no_such_queue(self._desk.key) if missing else out_of_step(answer))

    async def _clear(self, clearing: Clearing) -> None:
        purge = Purge(self._desk.key, _STEP, clearing.through, frozenset(clearing.spared))
        while True:
            answer = await self._desk.services.committer.commit([purge])
            if not isinstance(answer, Applied):
                break
            for task_id in answer.removed:
                self._desk.chronicle.deleted(task_id)
            if answer.released:  # younger ones, that were behind those in the line of an ordering key
                self._desk.mailbox.report(Arrived(answer.released))
            if len(answer.removed) < _STEP:
                break
        if self._record.queue is not None and self._record.queue.clearing == clearing:
            self._record.change(clearing=None)
            self._wake_who_waits_for_the_sweep()

    # -- bulk retry -----------------------------------------------------------------------------------------
    async def _revive(self, revival: Revival) -> None:
        storage, after, left = self._desk.services.storage, "", revival.remaining
        which = failed_tasks(self._desk.key.environment, self._desk.key.name, revival)
        while left is None or left > 0:
            limit = _REVIVED if left is None else min(_REVIVED, left)
            page = await patiently(partial(storage.list_tasks, which, limit=limit, after=after))
            done = await self._step(
                [lifecycle.revived(task, now=self._desk.now) for task in page.tasks], left
            )
            left = None if left is None else left - done
            if page.more is None:
                break
            after = page.more
        if self._record.queue is not None:
            self._record.change(revival=None)

    async def _step(self, tasks: Sequence[Task], left: int | None) -> int:
        """All of them in one unit; where somebody was quicker with one of them, each for itself."""
        if not tasks or await self._revived(tasks, left):
            return len(tasks)
        done = 0
        for task in tasks:
            done += await self._revived([task], None if left is None else left - done)
        return done

    async def _revived(self, tasks: Sequence[Task], left: int | None) -> bool:
        while self.clearing:  # it would sweep them away
            await self._swept.wait()
        queue = self._record.queue
        if queue is None or queue.revival is None:
            return False
        settled = Reply[Answer]()
        remaining = None if left is None else left - len(tasks)
        self._record.change(
            then=lambda answer: (
                settled.fail(answer) if isinstance(answer, Exception) else settled.set(answer)
            ),
            beside=[Update(task, was=Status.FAILED) for task in tasks],
            revival=evolve(queue.revival, remaining=remaining),
        )
        self._desk.outbox.wake()
        answer = await settled.wait()
        if isinstance(answer, Refused):
            return False
        waiting = [Entry.of(task) for task in tasks if task.ordering_key is None]
        if self._desk.key.environment is not Environment.TEST:
            arrived = Arrived([*waiting, *answer.released], earliest_expiry(tasks))
            self._desk.mailbox.report(arrived)
        return True

    # -- deletion -------------------------------------------------------------------------------------------
    async def _drop(self, reply: Reply[None]) -> None:
        committer, key = self._desk.services.committer, self._desk.key
        while self.clearing:  # what was purged holds nobody up
            await self._swept.wait()
        await committer.commit(())
        if (refusal := await self._still_needed()) is not None:
            reply.fail(refusal)
            return
        while _count(await committer.commit([Sweep(key, _STEP)])) == _STEP:
            continue
        self._record.drop(first=answering(reply, None, refused=self._not_dropped))

    def _not_dropped(self, refused: Refused) -> AsyncQueueError:
        if refused.reason is Reason.MISSING:
            return no_such_queue(self._desk.key)
        return ConflictError(f"a task came to queue {self._desk.key} while it was being deleted")

    async def _still_needed(self) -> AsyncQueueError | None:
        queue = await patiently(lambda: self._desk.services.storage.queue(self._desk.key))
        if queue is None:
            return no_such_queue(self._desk.key)
        if queue.counts.pending or queue.counts.active:
            held = f"{queue.counts.pending:,} pending and {queue.counts.active:,} active tasks"
            return ConflictError(f"queue {self._desk.key} still holds {held}; delete them first")
        return None

    # -- within ---------------------------------------------------------------------------------------------
    def _then(self, chore: Callable[[Any], Any], mark: Any) -> Then:
        def begin(answer: Answer | Exception) -> None:
            if isinstance(answer, Applied):
                self._begin(chore, mark)
            else:
                self._desk.agenda.invalidate()
                self._wake_who_waits_for_the_sweep()

        return begin

    def _wake_who_waits_for_the_sweep(self) -> None:
        self._swept.set()
        self._swept = trio.Event()

    def _begin(self, chore: Callable[[Any], Any], about: Any, asked: Request | None = None) -> None:
        self.running += 1
        self.nursery.start_soon(self._run, chore, about, asked)

    async def _run(self, chore: Callable[[Any], Any], about: Any, asked: Request | None) -> None:
        try:
            await chore(about)
        except UnavailableError as error:
            logger.warning("%s: put off until the next start: %s", self._desk.key, error)
            if asked is not None:
                asked.reply.fail(error)
        except BaseException:
            if asked is not None:
                asked.reply.fail(UnavailableError("it was interrupted; repeat it"))
            raise
        finally:
            self.running -= 1
            self._desk.outbox.wake()


def failed_tasks(environment: Environment, queue: str, revival: Revival) -> TaskFilter:
    """The tasks that a bulk retry covers."""
    before = revival.failed_by if revival.failed_before is None else revival.failed_before
    return TaskFilter(
        environment,
        (queue,),
        Status.FAILED,
        tag=revival.tag,
        error_type=revival.error_type,
        destination=revival.destination,
        finished_after=revival.failed_after,
        finished_before=min(revival.failed_by, before),
    )


def _count(answer: Answer) -> int:
    return answer.count if isinstance(answer, Applied) else 0
