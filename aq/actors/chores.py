"""Work on many of a queue's tasks: beside the supervisor's turns, in small steps, so that it holds up nobody.

What was promised is durable before the first step (a *mark* in the queue's row), so that a crash in the
middle leaves work to be gone on with, never a promise broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from attrs import evolve

from aq import lifecycle
from aq.actors.arrivals import Arrivals
from aq.actors.beside import Beside
from aq.actors.desk import Desk
from aq.actors.messages import Clear, Drop, Reply, ReviveAll
from aq.actors.outbox import Then, answering, not_accepted, out_of_step
from aq.actors.patience import patiently
from aq.actors.record import QueueRecord, no_such_queue
from aq.errors import AsyncQueueError, ConflictError
from aq.storage.answers import Answer, Applied, Reason, TaskFilter
from aq.storage.changes import Purge, Sweep, Update
from aq.task import Clearing, Environment, Revival, Status, Task

_STEP: Final = 500
"""Tasks deleted in one transaction."""
_REVIVED: Final = 100
"""Failed tasks revived in one transaction."""
_EVERY_ID: Final = (1 << 63) - 1


class Chores(Beside):
    """Purge, bulk retry and deletion of one queue."""

    def __init__(self, desk: Desk, record: QueueRecord, arrivals: Arrivals) -> None:
        super().__init__(desk, record)
        self._arrivals = arrivals
        self.purging: Reply[int] | None = None
        """Of a purge that is about to be decided: until then nothing starts."""

    def resume(self) -> None:
        """What an earlier life of the supervisor began."""
        queue = self._record.queue
        if queue is not None and queue.clearing is not None:
            if queue.clearing.of_the_queue:
                self._begin(self._delete, Reply[None]())
            else:
                self._begin(self._sweep, queue.clearing)
        if queue is not None and queue.revival is not None:
            self._begin(self._revive, queue.revival)

    def drop(self, message: Drop) -> None:
        self._begin(self._drop, message.reply, asked=message)

    def clear(self, message: Clear) -> None:
        self._between_sweeps(partial(self._wait_for_starts, message.reply), message)

    def abandon(self, error: AsyncQueueError) -> None:
        """In the end: who asked for a purge that is not decided is told."""
        if self.purging is not None:
            self.purging.fail(error)

    def revive(self, message: ReviveAll) -> None:
        self._record.in_turn(partial(self._revive_all, message), message)

    # -- purge ----------------------------------------------------------------------------------------------
    def _wait_for_starts(self, reply: Reply[int]) -> None:
        """What is running is known once the starts on their way are: a task whose start is refused waits."""
        if self._record.queue is None:
            reply.fail(no_such_queue(self._desk.key))
            return

        def refused(answer: Answer | Exception) -> None:
            if isinstance(answer, Exception):
                reply.fail(answer)

        self.purging = reply
        self._record.pause(refused, partial(self._clear, reply))

    def _clear(self, reply: Reply[int], answer: Answer | Exception) -> None:
        self.purging = None
        if isinstance(answer, Exception):
            return
        self._arrivals.write()  # every id minted so far is covered
        clearing = Clearing(self._desk.services.minter.last, tuple(self._desk.agenda.running))
        self._desk.agenda.clear()
        self._record.change(
            first=partial(self._cleared, reply),
            then=self._then(self._sweep, clearing),
            clearing=clearing,
        )

    def _cleared(self, reply: Reply[int], answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            reply.set(answer.count)
            self._desk.chronicle.queue("purged", count=answer.count)
        elif isinstance(answer, Exception):
            reply.fail(answer)
        else:
            missing = answer.reason is Reason.MISSING
            reply.fail(no_such_queue(self._desk.key) if missing else out_of_step(answer))

    async def _sweep(self, clearing: Clearing) -> None:
        purge = Purge(self._desk.key, _STEP, clearing.through, frozenset(clearing.spared))
        step = partial(self._desk.outbox.put, [purge], insists=True, first=self._swept_away)
        while True:
            # younger ones may have been behind those that go, in the line of an ordering key
            if _count(await self._answer(step, self._desk.released)) < _STEP:
                break
        await self._answer(partial(self._in_turn, insists=True, clearing=None))

    def _swept_away(self, answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            for task_id in answer.removed:
                self._desk.chronicle.deleted(task_id)

    # -- bulk retry -----------------------------------------------------------------------------------------
    def _revive_all(self, message: ReviveAll) -> None:
        queue = self._record.queue
        if queue is None:
            message.reply.fail(no_such_queue(self._desk.key))
        elif queue.revival is not None:
            message.reply.fail(ConflictError("a retry of this queue's failed tasks is still under way"))
        elif queue.clearing is not None and queue.clearing.of_the_queue:
            message.reply.fail(ConflictError(f"queue {self._desk.key} is being deleted"))
        else:
            claim = [] if message.claiming is None else [message.claiming.of(message.count)]
            self._record.change(
                first=answering(message.reply, message.count, refused=not_accepted),
                then=self._then(self._revive, message.revival),
                beside=claim,
                revival=message.revival,
            )

    async def _revive(self, revival: Revival) -> None:
        storage, after = self._desk.services.storage, ""
        which = failed_tasks(self._desk.key.environment, self._desk.key.name, revival)
        while revival.remaining is None or revival.remaining > 0:
            limit = _REVIVED if revival.remaining is None else min(_REVIVED, revival.remaining)
            page = await patiently(partial(storage.list_tasks, which, limit=limit, after=after))
            tasks = [lifecycle.revived(task, now=self._desk.now) for task in page.tasks]
            revival = await self._step(tasks, revival)
            if page.more is None:
                break
            after = page.more
        await self._answer(partial(self._in_turn, insists=True, revival=None))

    async def _step(self, tasks: Sequence[Task], revival: Revival) -> Revival:
        """All of them in one unit; where somebody was quicker with one of them, each for itself."""
        if not tasks:
            return revival
        left = None if revival.remaining is None else revival.remaining - len(tasks)
        less = evolve(revival, remaining=left)
        if await self._revived(tasks, less):
            return less
        if len(tasks) > 1:
            for task in tasks:
                revival = await self._step([task], revival)
        return revival

    async def _revived(self, tasks: Sequence[Task], revival: Revival) -> bool:
        """False where they are not failed any more. ``revival`` is what is left to do after them."""
        beside = [Update(task, was=Status.FAILED) for task in tasks]
        change = partial(self._record.change, first=partial(self._waiting_again, tasks), beside=beside)

        def step(then: Then) -> None:  # a sweep would take them with it
            self._between_sweeps(partial(change, then=then, insists=True, revival=revival))

        return isinstance(await self._answer(step, partial(self._wait_again, tasks)), Applied)

    def _wait_again(self, tasks: Sequence[Task], answer: Applied) -> None:
        for task in tasks:
            self._desk.await_turn(task)
        self._desk.released(answer)

    def _waiting_again(self, tasks: Sequence[Task], answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            for task in tasks:
                self._desk.chronicle.retrying(task, task.due_at)

    # -- deletion -------------------------------------------------------------------------------------------
    async def _drop(self, reply: Reply[None]) -> None:
        await self._end_of_sweep()  # what was purged holds nobody up
        await self._desk.services.committer.commit(())
        if (refusal := await self._still_needed()) is not None:
            reply.fail(refusal)
            return

        def mark(then: Then) -> None:  # from here on no task comes in: what is found now is all there is
            clearing = Clearing(_EVERY_ID, of_the_queue=True)
            self._between_sweeps(partial(self._record.change, then=then, clearing=clearing))

        if isinstance(await self._answer(mark), Applied):
            await self._delete(reply)
        else:  # another request was quicker
            reply.fail(no_such_queue(self._desk.key))

    async def _delete(self, reply: Reply[None]) -> None:
        """What is marked goes on, also after a crash, unless a task came in just before the mark."""
        if (refusal := await self._still_needed()) is None:
            sweep = Sweep(self._desk.key, _STEP)
            while _count(await self._desk.services.committer.commit([sweep])) == _STEP:
                continue
            drop = partial(self._record.drop, answering(reply, None))
            await self._answer(lambda then: self._record.in_turn(partial(drop, then)))
        else:
            await self._answer(partial(self._in_turn, insists=True, clearing=None))
            reply.fail(refusal)

    async def _still_needed(self) -> AsyncQueueError | None:
        queue = await patiently(lambda: self._desk.services.storage.queue(self._desk.key))
        if queue is None:
            return no_such_queue(self._desk.key)
        if queue.revival is not None:
            return ConflictError(f"a retry of the failed tasks of queue {self._desk.key} is still under way")
        if queue.counts.pending or queue.counts.active:
            held = f"{queue.counts.pending:,} pending and {queue.counts.active:,} active tasks"
            return ConflictError(f"queue {self._desk.key} still holds {held}; delete them first")
        return None


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
