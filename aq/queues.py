"""Queues as the front door shows them: made, read, changed, paused, purged, retried, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import trio
from attrs import evolve, field, frozen

from aq.actors.chores import failed_tasks
from aq.actors.claims import Answered, Claims
from aq.actors.messages import Clear, Configure, Create, Drop, Reply, Request, ReviveAll
from aq.actors.meter import Rates
from aq.actors.record import no_such_queue
from aq.actors.root import Root
from aq.actors.services import Services
from aq.errors import Gathering, within
from aq.instants import Instant, from_datetime
from aq.outcome import ErrorType
from aq.policy import QueuePolicy
from aq.rules import (
    QUEUE_NAME,
    Flag,
    Integer,
    Moment,
    OneOf,
    Optional,
    enforce,
    given,
    structure,
    unstructure,
)
from aq.storage.answers import Backlog
from aq.task import DESTINATION, TAG, Environment, Queue, QueueKey, Revival

LIVE = Environment.LIVE
_STRIDE: Final = 50
"""Queues worked out before the loop gets its turn."""


@frozen
class QueueView:
    """A queue, how its pending tasks stand, and its pace over the last minute (per second)."""

    queue: Queue
    backlog: Backlog
    rates: Rates
    at: Instant


@frozen(kw_only=True)
class Retry:
    """Which failed tasks of a queue are to be retried; None is "any". Raises ValidationError."""

    tag: Annotated[str | None, Optional(TAG)] = None
    error_type: Annotated[ErrorType | None, Optional(OneOf(ErrorType))] = field(default=None, converter=given)
    destination: Annotated[str | None, Optional(DESTINATION)] = None
    failed_after: Annotated[datetime | None, Optional(Moment())] = field(default=None, converter=given)
    failed_before: Annotated[datetime | None, Optional(Moment())] = field(default=None, converter=given)
    limit: Annotated[int | None, Optional(Integer(1, 1_000_000_000))] = None
    """At most so many, those created first."""
    dry_run: Annotated[bool, Flag()] = False
    """Only count."""

    def __attrs_post_init__(self) -> None:
        enforce(self)

    def revival(self, now: Instant) -> Revival:
        """What has failed by now."""
        return Revival(
            failed_by=now + 1,
            tag=self.tag,
            error_type=self.error_type,
            destination=self.destination,
            failed_after=None if self.failed_after is None else from_datetime(self.failed_after),
            failed_before=None if self.failed_before is None else from_datetime(self.failed_before),
            remaining=self.limit,
        )


class Queues:
    """``engine.queues``. The fields of a policy are those of `QueuePolicy`; spans are in seconds."""

    def __init__(
        self, root: Root, services: Services, claims: Claims, refuse_if_unwritable: Callable[[], None]
    ) -> None:
        self._root = root
        self._services = services
        self._storage = services.storage
        self._claims = claims
        self._refuse_if_unwritable = refuse_if_unwritable

    async def create(self, name: str, *, environment: Environment = LIVE, **fields: Any) -> Queue:
        """Make a queue before its first task. Raises ValidationError; ConflictError when it exists."""
        return (await self.make(name, environment=environment, **fields)).value

    async def make(
        self,
        name: str,
        *,
        environment: Environment = LIVE,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Answered[Queue]:
        """As `create`, and whether an earlier request with this key got this answer."""
        policy = changed(QueuePolicy(), {"name": name, **fields})
        claiming = self._claims.claiming(environment, idempotency_key, "queue", name, policy)
        return await self._claims.once(
            claiming,
            Queue,
            lambda: self._changed(QueueKey(environment, name), lambda reply: Create(policy, reply, claiming)),
        )

    async def get(self, name: str, *, environment: Environment = LIVE) -> Queue:
        """A queue with its counts. Raises NotFoundError."""
        key = QueueKey(environment, name)
        queue = await self._storage.queue(key)
        if queue is None:
            raise no_such_queue(key)
        return queue

    async def list(self, *, environment: Environment = LIVE) -> Sequence[Queue]:
        """Every queue, by name."""
        return await self._storage.queues(environment)

    async def view(self, queue: Queue) -> QueueView:
        """A queue with its pace."""
        key, now = queue.key, self._services.clock.now()
        backlogs = await self._storage.backlogs(key.environment, now, key.name)
        return QueueView(queue, backlogs.get(key.name, Backlog()), self._services.meter.rates(key, now), now)

    async def views(
        self, *, environment: Environment = LIVE, names: Collection[str] | None = None
    ) -> AsyncIterator[QueueView]:
        """Every queue with its pace, or those of these names; by name. Others get their turn in between."""
        now = self._services.clock.now()
        backlogs = await self._storage.backlogs(environment, now)
        for number, queue in enumerate(await self.list(environment=environment)):
            if number % _STRIDE == 0:
                await trio.lowlevel.checkpoint()
            if names is None or queue.key.name in names:
                rates = self._services.meter.rates(queue.key, now)
                yield QueueView(queue, backlogs.get(queue.key.name, Backlog()), rates, now)

    async def update(self, name: str, *, environment: Environment = LIVE, **fields: Any) -> Queue:
        """Change some fields; they hold for waiting tasks at once. Raises ValidationError, NotFoundError."""

        await self.get(name, environment=environment)

        def change(policy: QueuePolicy) -> QueuePolicy:
            return changed(policy, fields)

        return await self._changed(QueueKey(environment, name), lambda reply: Configure(change, reply))

    async def pause(self, name: str, *, environment: Environment = LIVE) -> Queue:
        """Start nothing more; running attempts finish. Durable. Raises NotFoundError."""
        return await self.update(name, environment=environment, paused=True)

    async def resume(self, name: str, *, environment: Environment = LIVE) -> Queue:
        """The end of `pause`, and of a quarantine: the queue gets a new life."""
        self._root.release(QueueKey(environment, name))
        return await self.update(name, environment=environment, paused=False)

    async def delete(self, name: str, *, environment: Environment = LIVE) -> None:
        """Delete a queue and its finished tasks.

        Once it has begun no task comes in, and it goes on after a crash. Raises NotFoundError, and
        ConflictError while it holds pending or active tasks or a retry of failed ones is under way.
        """
        self._refuse_if_unwritable()
        await self.get(name, environment=environment)
        reply = Reply[None]()
        await self._root.ask(QueueKey(environment, name), Drop(reply))
        await reply.wait()

    async def purge(self, name: str, *, environment: Environment = LIVE, dry_run: bool = False) -> int:
        """Every pending task is gone: when this returns none of them will be delivered. Returns how many.

        They are deleted in small steps from then on. With ``dry_run`` they are only counted. Raises
        NotFoundError.
        """
        queue = await self.get(name, environment=environment)
        if dry_run:
            return queue.counts.pending
        self._refuse_if_unwritable()
        reply = Reply[int]()
        await self._root.ask(queue.key, Clear(reply))
        return await reply.wait()

    async def retry(
        self,
        name: str,
        which: Retry | None = None,
        *,
        environment: Environment = LIVE,
        idempotency_key: str | None = None,
    ) -> Answered[int]:
        """Failed tasks wait again, as `Engine.retry` has it, in small steps from now on. Returns how many.

        Raises NotFoundError, and ConflictError while an earlier retry of this queue is under way.
        """
        which = which or Retry()
        key = QueueKey(environment, name)

        async def ask() -> int:
            await self.get(name, environment=environment)
            revival = which.revival(self._services.clock.now())
            count = await self._storage.count_tasks(failed_tasks(environment, name, revival))
            count = count if which.limit is None else min(count, which.limit)
            if which.dry_run:
                return count
            self._refuse_if_unwritable()
            reply = Reply[int]()
            await self._root.ask(key, ReviveAll(revival, count, reply, claiming))
            return await reply.wait()

        claiming = self._claims.claiming(environment, idempotency_key, "retry queue", name, which)
        return await self._claims.once(claiming, int, ask)

    async def policy(self, key: QueueKey) -> QueuePolicy:
        """The policy in force; a queue that is not there yet would have the default one."""
        return await self._services.policies.of(key)

    async def _changed(self, key: QueueKey, request: Callable[[Reply[Queue]], Request]) -> Queue:
        self._refuse_if_unwritable()
        reply = Reply[Queue]()
        await self._root.ask(key, request(reply))
        queue = await reply.wait()
        kept = await self._storage.queue(key)
        return queue if kept is None else evolve(queue, counts=kept.counts)


def changed(policy: QueuePolicy, fields: dict[str, Any]) -> QueuePolicy:
    """The policy with some fields changed. Raises ValidationError naming every wrong or unknown field."""
    wrong = Gathering()
    if "name" in fields:
        try:
            QUEUE_NAME.accept(fields.pop("name"))
        except ValueError as error:
            wrong.errors += within("name", error)
    with wrong:
        policy = structure({**unstructure(policy), **fields}, QueuePolicy)
    wrong.check()
    return policy
