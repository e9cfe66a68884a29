"""Deletes what has been kept for long enough: in small steps, with pauses, so that deliveries never wait."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import trio

from aq.actors.chronicle import Chronicle
from aq.actors.desk import owner
from aq.actors.patience import patiently
from aq.actors.services import Services
from aq.errors import UnavailableError
from aq.ids import first_sequence_at
from aq.instants import Instant, from_seconds
from aq.policy import QueuePolicy
from aq.storage.answers import Applied
from aq.storage.changes import DropQueue, Forget, Purge, Sweep
from aq.task import Environment, Queue, QueueKey, Status

STEP: Final = 200
"""Tasks deleted in one transaction."""
PAUSE: Final = 0.02
"""Seconds between two transactions."""
SANDBOX: Final = 7 * 86_400
"""Seconds for which sandbox tasks are kept."""

logger = logging.getLogger(__name__)


class Janitor:
    """Goes round for ever. Storage that takes no writes for now is left alone until the next round."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except UnavailableError as error:
                logger.info("nothing is cleared away for now: %s", error)
            await trio.sleep(self._services.sizes.tidied)

    async def round(self) -> None:
        """Everything that is over its time by now."""
        queues = await patiently(self._services.storage.queues)
        policies = {queue.key: queue.policy for queue in queues}
        for queue in queues:
            if owner(queue.key) not in policies and not queue.counts.total:
                await self._services.committer.commit([DropQueue(queue.key)], insists=False)
                continue
            policy = policies.get(owner(queue.key), QueuePolicy())
            for change in _over_their_time(queue, policy, self._services.clock.now()):
                await self._in_steps(change, queue.key)
        await self._in_steps(Forget(self._services.clock.now(), STEP))

    async def _in_steps(self, change: Sweep | Purge | Forget, key: QueueKey | None = None) -> None:
        while True:
            if await self._step(change, key) < STEP:
                return
            await trio.sleep(PAUSE)

    async def _step(self, change: Sweep | Purge | Forget, key: QueueKey | None = None) -> int:
        """Returns how many are gone by it."""
        answer = await self._services.committer.commit([change], insists=False)
        if not isinstance(answer, Applied):
            return 0
        if key is not None and isinstance(change, Purge):
            chronicle = Chronicle(key, self._services)
            for task_id in answer.removed:
                chronicle.deleted(task_id)
        return answer.count


def _over_their_time(queue: Queue, policy: QueuePolicy, now: Instant) -> Iterator[Sweep | Purge]:
    """What is to be deleted of a queue, `STEP` at a time, for as long as its policy says so on disk."""
    key, counts = queue.key, queue.counts
    rule = owner(key), policy.retention
    for status, kept, number in (
        (Status.COMPLETED, policy.retention_completed, counts.completed),
        (Status.FAILED, policy.retention_failed, counts.failed),
    ):
        if number:
            yield Sweep(key, STEP, (status,), now - from_seconds(kept), rule=rule)
    if counts.completed + counts.failed > policy.retention_max_tasks:
        yield Sweep(key, STEP, stay=policy.retention_max_tasks, rule=rule)
    if key.environment is Environment.TEST and counts.pending:
        yield Purge(key, STEP, first_sequence_at(now - from_seconds(SANDBOX)) - 1)
