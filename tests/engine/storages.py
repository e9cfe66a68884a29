"""A storage that fails when told to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from aq.apikey import ApiKey
from aq.errors import StorageFullError
from aq.instants import Instant
from aq.schedule import Schedule
from aq.storage.answers import (
    Answer,
    Backlog,
    Claimed,
    Expiring,
    Failures,
    Floor,
    StoredTask,
    TaskFilter,
    TaskPage,
    Window,
)
from aq.storage.changes import Change, Unit
from aq.storage.protocol import Storage, Traits
from aq.task import Environment, Queue, QueueKey, Task


def full_once(which: Callable[[Change], bool]) -> Callable[[Sequence[Unit]], None]:
    """For ``before_commit``: the disk is full for a moment when the first such change comes."""
    full = [StorageFullError("no space left on the device")]

    def refuse(units: Sequence[Unit]) -> None:
        if full and any(which(change) for unit in units for change in unit):
            raise full.pop()

    return refuse


class Faulty:
    """Passes everything on to ``storage``; ``before_commit`` and ``before_read`` may raise or wait first."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.before_commit: Callable[[Sequence[Unit]], object] = lambda units: None
        self.before_read: Callable[[], object] = lambda: None
        self.after_window: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
        self.committed: list[Sequence[Unit]] = []

    @property
    def traits(self) -> Traits:
        return self.storage.traits

    @property
    def damage(self) -> str | None:
        return self.storage.damage

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        waiting = self.before_commit(units)
        if waiting is not None:
            await waiting  # type: ignore[misc]
        answers = await self.storage.commit(units, now)
        self.committed.append(units)
        return answers

    async def task(self, task_id: str) -> StoredTask | None:
        return await self.storage.task(task_id)

    async def list_tasks(
        self,
        which: TaskFilter,
        *,
        limit: int,
        offset: int = 0,
        before: str | None = None,
        after: str | None = None,
    ) -> TaskPage:
        return await self.storage.list_tasks(which, limit=limit, offset=offset, before=before, after=after)

    async def count_tasks(self, which: TaskFilter) -> int:
        return await self.storage.count_tasks(which)

    async def failures(
        self, environment: Environment, queues: tuple[str, ...] | None, *, most: int
    ) -> Failures:
        return await self.storage.failures(environment, queues, most=most)

    async def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
    ) -> Window:
        self.before_read()
        head = await self.storage.window(key, now, limit, aside, aside_limit)
        await self.after_window()
        return head

    async def expiring(self, key: QueueKey, now: Instant, limit: int) -> Expiring:
        return await self.storage.expiring(key, now, limit)

    async def head_of(self, key: QueueKey, ordering_key: str) -> str | None:
        return await self.storage.head_of(key, ordering_key)

    async def active(self, key: QueueKey, limit: int) -> Sequence[Task]:
        self.before_read()
        return await self.storage.active(key, limit)

    async def queue(self, key: QueueKey) -> Queue | None:
        return await self.storage.queue(key)

    async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
        return await self.storage.queues(environment)

    async def backlogs(
        self, environment: Environment, now: Instant, name: str | None = None
    ) -> Mapping[str, Backlog]:
        return await self.storage.backlogs(environment, now, name)

    async def claim(self, environment: Environment, name: str, now: Instant) -> Claimed | None:
        return await self.storage.claim(environment, name, now)

    async def api_keys(self) -> Sequence[ApiKey]:
        return await self.storage.api_keys()

    async def schedule(self, schedule_id: str) -> Schedule | None:
        return await self.storage.schedule(schedule_id)

    async def schedules(self, environment: Environment | None = None) -> Sequence[Schedule]:
        return await self.storage.schedules(environment)

    async def audit(self) -> Sequence[str]:
        return await self.storage.audit()

    async def settings(self) -> Mapping[str, str]:
        return await self.storage.settings()

    async def floor(self) -> Floor:
        return await self.storage.floor()

    async def aclose(self) -> None:
        await self.storage.aclose()
