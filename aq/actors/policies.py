"""The policies in force, as far as they are known: what a queue's supervisor decided, durable or not yet."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from aq.policy import QueuePolicy
from aq.storage.protocol import Storage
from aq.task import Environment, QueueKey


class Policies:
    """One policy for each queue that was looked at; a queue that is not there would have the default one.

    A queue changes through its supervisor alone, which puts each change here. So what is here holds, whether
    the supervisor is still up or not.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[QueueKey, QueuePolicy] = {}

    def put(self, key: QueueKey, policy: QueuePolicy) -> None:
        self._known[key] = policy

    def forget(self, key: QueueKey) -> None:
        """The queue is not there, and nobody serves it any more."""
        self._known.pop(key, None)

    def known(self, key: QueueKey) -> QueuePolicy:
        """Of a queue that is there and was looked at before, else the default one."""
        return self._known.get(key) or QueuePolicy()

    async def of(self, key: QueueKey) -> QueuePolicy:
        """Of any queue."""
        if key not in self._known:
            queue = await self._storage.queue(key)
            if queue is not None:
                self._known.setdefault(key, queue.policy)
        return self.known(key)

    async def all(self, environment: Environment) -> Mapping[QueueKey, QueuePolicy]:
        """Of every queue that is kept."""
        return {
            queue.key: self._known.get(queue.key, queue.policy)
            for queue in await self._storage.queues(environment)
        }


def of_callbacks(policy: QueuePolicy) -> QueuePolicy:
    """How a queue's callbacks are delivered: with its retries, outside of its limits."""
    free = QueuePolicy()
    return evolve(
        policy,
        concurrency=free.concurrency,
        destination_concurrency=None,
        rate_limit=None,
        paused=False,
    )
