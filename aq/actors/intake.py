"""Tasks that are accepted together: a batch, over any number of queues, in one transaction."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from aq import lifecycle
from aq.actors.chronicle import Chronicle
from aq.actors.desk import earliest_expiry
from aq.actors.messages import Arrived, Ensure, Reply
from aq.actors.root import Root
from aq.actors.services import Services
from aq.errors import AsyncQueueError, Gathering, ValidationError, within
from aq.instants import SECOND, Instant
from aq.storage.answers import Applied, Entry, Reason, Refused
from aq.storage.changes import Change, Insert
from aq.task import NO_TRACE, Environment, NewTask, QueueKey, Task, TraceContext

_TRIES: Final = 3
"""A queue that is deleted or purged at the same moment is made again, or given newer ids."""


class RefusedError(AsyncQueueError):
    """What was to be written together with the tasks was refused."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(f"it was refused: {reason}")


def nothing_else(tasks: Sequence[Task]) -> Sequence[Change]:
    """Only the tasks are written."""
    return ()


def nobody_else(tasks: Sequence[Task]) -> None:
    """Only the supervisors are told."""


class Intake:
    """Writes tasks past the supervisors, which are told of them once they are durable."""

    def __init__(self, services: Services, root: Root) -> None:
        self._services = services
        self._root = root

    async def insert(
        self,
        environment: Environment,
        news: Sequence[NewTask],
        *,
        also: Callable[[Sequence[Task]], Sequence[Change]] = nothing_else,
        then: Callable[[Sequence[Task]], object] = nobody_else,
        trace: TraceContext = NO_TRACE,
        schedule_id: str | None = None,
        slot: Instant | None = None,
    ) -> Sequence[Task]:
        """Accept all of the tasks, in order, in one unit with what ``also`` makes of them; or none.

        ``then`` is called once they are durable, as the supervisors are told then: whether the caller still
        waits or not.
        Raises RefusedError when ``also`` was refused; ValidationError naming fields as ``tasks[2].run_at``;
        UnavailableError when they were not accepted for now (OverloadedError, QuarantinedError and its other
        kinds).
        """
        refused = Refused(Reason.STATE)
        for _ in range(_TRIES):
            await self._ensure(dict.fromkeys(QueueKey(environment, new.queue) for new in news))
            # behind any wait: ids are in the order in which tasks are written
            tasks = self._made(environment, news, trace, schedule_id, slot)
            inserts = [Insert(task, new.payload) for task, new in zip(tasks, news, strict=True)]

            def tell(answer: Applied, tasks: Sequence[Task] = tasks) -> None:
                self._tell(tasks, answer.released)
                then(tasks)

            unit = [*also(tasks), *inserts]
            answer = await self._services.committer.commit(unit, insists=False, then=tell)
            if isinstance(answer, Applied):
                return tasks
            refused = answer
            if refused.reason in (Reason.EXISTS, Reason.VERSION):
                break
        raise RefusedError(refused.reason)

    async def _ensure(self, keys: Iterable[QueueKey]) -> None:
        """The queues are there; those that are new are made together."""
        replies = []
        for key in keys:
            replies.append(reply := Reply[None]())
            await self._root.ask(key, Ensure(reply))
        for reply in replies:
            await reply.wait()

    def _made(
        self,
        environment: Environment,
        news: Sequence[NewTask],
        trace: TraceContext,
        schedule_id: str | None,
        slot: Instant | None,
    ) -> list[Task]:
        services = self._services
        now = services.clock.now()
        wall_ahead = math.floor(services.clock.wall_offset() * SECOND)
        tasks, wrong = [], Gathering()
        for place, new in enumerate(news):
            try:
                task = lifecycle.submitted(
                    new,
                    task_id=services.minter.mint(now),
                    queue=QueueKey(environment, new.queue),
                    now=now,
                    wall_ahead=wall_ahead,
                    trace=trace,
                    schedule_id=schedule_id,
                    slot=slot,
                )
            except ValidationError as error:
                wrong.errors += within(f"tasks[{place}]", error)
            else:
                tasks.append(task)
        wrong.check()
        return tasks

    def _tell(self, tasks: Sequence[Task], released: Sequence[Entry]) -> None:
        heads = {entry.id: entry for entry in released}
        by_queue = defaultdict[QueueKey, list[Task]](list)
        for task in tasks:
            by_queue[task.queue].append(task)
        chronicles = {key: Chronicle(key, self._services) for key in by_queue}
        for task in tasks:
            chronicles[task.queue].created(task)
        for key, written in by_queue.items():
            if key.environment is not Environment.TEST:
                waiting = [heads.get(task.id) if task.ordering_key else Entry.of(task) for task in written]
                entries = [entry for entry in waiting if entry is not None]
                self._services.tell(key, Arrived(entries, earliest_expiry(written)))
