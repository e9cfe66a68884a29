"""Queues as the front door shows them: made, read, changed, paused, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from aq.actors.messages import Configure, Create, Drop, Reply, Request
from aq.actors.record import no_such_queue
from aq.actors.root import Root
from aq.errors import FieldError, ValidationError
from aq.policy import QueuePolicy
from aq.rules import QUEUE_NAME, structure, unstructure
from aq.storage.protocol import Storage
from aq.task import Environment, Queue, QueueKey

LIVE = Environment.LIVE


class Queues:
    """``engine.queues``. The fields of a policy are those of `QueuePolicy`; spans are in seconds."""

    def __init__(self, root: Root, storage: Storage, refuse_if_unwritable: Callable[[], None]) -> None:
        self._root = root
        self._storage = storage
        self._refuse_if_unwritable = refuse_if_unwritable

    async def create(self, name: str, *, environment: Environment = LIVE, **fields: Any) -> Queue:
        """Make a queue before its first task. Raises ValidationError; ConflictError when it exists."""
        policy = changed(QueuePolicy(), {"name": name, **fields})
        return await self._changed(QueueKey(environment, name), lambda reply: Create(policy, reply))

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
        """The end of `pause`."""
        return await self.update(name, environment=environment, paused=False)

    async def delete(self, name: str, *, environment: Environment = LIVE) -> None:
        """Delete a queue and its finished tasks.

        Raises NotFoundError, and ConflictError while it holds pending or active tasks.
        """
        self._refuse_if_unwritable()
        await self.get(name, environment=environment)
        reply = Reply[None]()
        await self._root.ask(QueueKey(environment, name), Drop(reply))
        await reply.wait()

    async def policy(self, key: QueueKey) -> QueuePolicy:
        """The policy in force; a queue that is not there yet would have the default one."""
        policy = self._root.policy(key)
        if policy is None:
            queue = await self._storage.queue(key)
            policy = queue.policy if queue is not None else QueuePolicy()
        return policy

    async def _changed(self, key: QueueKey, request: Callable[[Reply[Queue]], Request]) -> Queue:
        self._refuse_if_unwritable()
        reply = Reply[Queue]()
        await self._root.ask(key, request(reply))
        queue = await reply.wait()
        kept = await self._storage.queue(key)
        return queue if kept is None else evolve(queue, counts=kept.counts)


def changed(policy: QueuePolicy, fields: dict[str, Any]) -> QueuePolicy:
    """The policy with some fields changed. Raises ValidationError naming every wrong or unknown field."""
    wrong = []
    if "name" in fields:
        try:
            QUEUE_NAME.accept(fields.pop("name"))
        except ValueError as error:
            wrong.append(FieldError("name", str(error)))
    try:
        policy = structure({**unstructure(policy), **fields}, QueuePolicy)
    except ValidationError as error:
        wrong += error.errors
    if wrong:
        raise ValidationError(wrong)
    return policy
