"""What the checks share: their queues and instants, short words for what they do often, `expect`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

from aq.ids import IdMinter
from aq.instants import Instant
from aq.lifecycle import ended
from aq.outcome import AttemptStatus, ErrorType, Outcome, Timing
from aq.policy import QueuePolicy
from aq.storage.answers import Answer, Applied, Entry, Reason, Refused, StoredTask, TaskFilter
from aq.storage.changes import Change, Insert, PutQueue, Record, Update
from aq.storage.protocol import Storage
from aq.task import Attempt, Counts, Environment, Queue, QueueKey, Status, Task

Factory: TypeAlias = Callable[[], AbstractAsyncContextManager[Storage]]
Case: TypeAlias = Callable[[Factory], Awaitable[None]]
T = TypeVar("T")

NOW: Final = 1_800_000_000_000_000
MAIL: Final = QueueKey(Environment.LIVE, "mail")
IMAGES: Final = QueueKey(Environment.LIVE, "images")
SANDBOX: Final = QueueKey(Environment.TEST, "mail")
CALLBACKS: Final = QueueKey(Environment.CALLBACK, "mail")
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND


def expect(rule: int, found: T, wanted: T) -> None:
    """Raises AssertionError unless the two are equal."""
    if found != wanted:
        raise AssertionError(f"rule {rule}: expected {wanted!r}, got {found!r}")


class Bench:
    """A storage with a minter, and short words for what the checks do often."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._minter = IdMinter(Random(7).getrandbits)  # noqa: S311

    def task(self, queue: QueueKey = MAIL, **fields: Any) -> Task:
        """A new task, created and due at NOW where nothing else is said."""
        return Task(
            **{
                "id": self._minter.mint(fields.get("created_at", NOW)),
                "queue": queue,
                "webhook_url": "https://example.com/hooks?x=1",
                "priority": 5,
                "delay": 0,
                "created_at": NOW,
                "due_at": NOW,
                **fields,
            }
        )

    async def commit(self, *units: Sequence[Change], now: Instant = NOW) -> Sequence[Answer]:
        return await self.storage.commit(units, now)

    async def make(self, *keys: QueueKey) -> None:
        units = [[PutQueue(Queue(key, QueuePolicy(), NOW))] for key in keys]
        expect(8, list(await self.commit(*units)), [Applied() for _ in keys])

    async def put(self, *tasks: Task, payload: bytes = b"{}") -> list[Task]:
        """Insert them, a unit for each."""
        answers = await self.commit(*[[Insert(task, payload)] for task in tasks])
        expect(5, [type(answer) for answer in answers], [Applied for _ in tasks])
        return list(tasks)

    async def refused(self, rule: int, reason: Reason, *unit: Change) -> None:
        """The unit is refused for this reason, between two that are applied."""
        answers = await self.commit([], unit, [])
        expect(rule, list(answers), [Applied(), Refused(reason), Applied()])

    async def stored(self, task: Task) -> StoredTask:
        found = await self.storage.task(task.id)
        if found is None:
            raise AssertionError(f"{task.id} is not stored")
        return found

    async def counts(self, key: QueueKey) -> Counts:
        queue = await self.storage.queue(key)
        return Counts() if queue is None else queue.counts

    async def ids(self, which: TaskFilter, limit: int = 100, **where: Any) -> list[str]:
        return [task.id for task in (await self.storage.list_tasks(which, limit=limit, **where)).tasks]


def entry(task: Task) -> Entry:
    """As much of a waiting task as scheduling needs."""
    return Entry(task.id, task.priority, task.due_at, task.version, task.destination, task.expires_at)


def finished(task: Task, outcome: Outcome, at: Instant = NOW) -> tuple[Task, Attempt]:
    """An active task's end without retries."""
    return ended(task, outcome, QueuePolicy(max_retries=0), now=at, chance=0)


def end_of(task: Task, attempt: Attempt) -> Sequence[Change]:
    return [Update(task, Status.ACTIVE), Record(task.id, attempt)]


FAILED: Final = Outcome(
    status=AttemptStatus.FAILURE,
    error_type=ErrorType.HTTP_5XX,
    error="answered 503 \u2014 “busy”\x00",
    response_code=503,
    response_body=b"\x00\xff busy",
    timing=Timing(dns=1, tls=3, total=9),
)
