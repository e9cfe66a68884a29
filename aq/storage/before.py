"""The state that a commit finds, as much of it as the rules look at: what a storage shows to a `Draft`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.answers import Entry
from aq.task import Environment, Queue, QueueKey, Status, Task

STATUSES: Final = tuple(Status)
RANK: Final[Mapping[Status, int]] = {status: rank for rank, status in enumerate(STATUSES)}
"""A status as a small integer: its place among the four counts, and its value in a row."""


class Head(Protocol):
    """As much of a task as a condition looks at."""

    @property
    def id(self) -> str: ...
    @property
    def queue(self) -> QueueKey: ...
    @property
    def status(self) -> Status: ...
    @property
    def version(self) -> int: ...
    @property
    def due_at(self) -> Instant: ...
    @property
    def ordering_key(self) -> str | None: ...


class QueueHead(NamedTuple):
    """As much of a queue as a condition looks at."""

    version: int
    cleared_through: int
    """The sequence up to which its ``clearing`` covers ids; 0 without one."""
    policy: QueuePolicy

    @classmethod
    def of(cls, queue: Queue) -> QueueHead:
        return cls(queue.version, queue.clearing.through if queue.clearing else 0, queue.policy)


class Contender(NamedTuple):
    """A pending or active task with an ordering key."""

    sequence: int
    status: Status
    held: bool
    """Whether the store has it marked as held back."""
    entry: Entry


class Before(Protocol):
    """The state that a commit finds, for the tasks and queues its units name."""

    def head(self, sequence: int) -> Head | None:
        """The task of this sequence."""
        ...

    def task(self, sequence: int) -> tuple[Task, bytes]:
        """A task that a unit wants to start, and its payload; its `head` is there."""
        ...

    def finished(
        self, key: QueueKey, statuses: Sequence[Status], before: Instant | None, limit: int
    ) -> Iterable[tuple[Instant, int, Head]]:
        """The tasks that finished first, as (finished_at, sequence, head), in that order."""
        ...

    def pending(self, key: QueueKey, through: int, limit: int) -> Iterable[tuple[int, Head]]:
        """The first pending tasks of a queue up to a sequence, by sequence."""
        ...

    def contenders(self, key: QueueKey, ordering_key: str, limit: int) -> Iterable[Contender]:
        """The pending and active tasks of an ordering key: the active ones first, then by sequence."""
        ...

    def queue(self, key: QueueKey) -> QueueHead | None: ...

    def counts(self, key: QueueKey) -> Sequence[int]:
        """How many tasks a queue holds in each state, in the order of `STATUSES`; of a missing queue none."""
        ...

    def claimed_until(self, environment: Environment, name: str) -> Instant | None:
        """When a claim expires, whether it has or not."""
        ...

    def expired_claims(self, before: Instant, limit: int) -> Iterable[tuple[Environment, str]]:
        """Claims that expired at or before an instant."""
        ...

    def schedule_version(self, schedule_id: str) -> int | None: ...
