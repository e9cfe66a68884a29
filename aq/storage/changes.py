"""What can be written to a storage: changes, gathered in units that are applied or refused wholly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from attrs import frozen

from aq.apikey import ApiKey
from aq.instants import Instant
from aq.policy import Retention
from aq.schedule import Schedule
from aq.task import Attempt, Environment, Queue, QueueKey, Status, Task


class Insert(msgspec.Struct, frozen=True):
    """A new task, in whatever status it has (a fresh task may be inserted already started)."""

    task: Task
    payload: bytes


class Start(msgspec.Struct, frozen=True):
    """A pending task at this version becomes active: attempt + 1, version + 1, started_at = at."""

    queue: QueueKey
    id: str
    version: int
    at: Instant


class Update(msgspec.Struct, frozen=True):
    """The task as it is now, where it was ``was`` and its version one lower."""

    task: Task
    was: Status


class Record(msgspec.Struct, frozen=True):
    """An attempt that ended, for the history of a task; it travels in a unit with the task's Update."""

    task_id: str
    attempt: Attempt


@frozen
class Delete:
    """A pending task, at whatever version, is gone."""

    queue: QueueKey
    id: str


@frozen
class PutQueue:
    """A queue's policy; ``queue.counts`` is ignored."""

    queue: Queue


@frozen
class DropQueue:
    """The queue is gone."""

    key: QueueKey


@frozen
class Sweep:
    """The tasks of a queue that finished first, in one of these states and before that instant, are gone.

    So many stay of all that are in these states. ``rule`` is by which queue's retention they are to go; not
    by any, where it is None.
    """

    key: QueueKey
    limit: int
    statuses: tuple[Status, ...] = (Status.COMPLETED, Status.FAILED)
    finished_before: Instant | None = None
    stay: int = 0
    rule: tuple[QueueKey, Retention] | None = None


@frozen
class Purge:
    """The first pending tasks of a queue, up to the sequence ``through``, are gone; not the ``spared``."""

    key: QueueKey
    limit: int
    through: int
    spared: frozenset[str] = frozenset()


@frozen
class Claim:
    """A name within an environment is taken, by a request with this fingerprint that got this answer."""

    environment: Environment
    name: str
    fingerprint: bytes
    answer: bytes
    expires_at: Instant


@frozen
class Forget:
    """Claims that expired at or before ``before`` are gone, at most so many; answers how many."""

    before: Instant
    limit: int


@frozen
class PutKey:
    """An API key, as it is now."""

    key: ApiKey


@frozen
class PutSchedule:
    """A schedule, as it is now."""

    schedule: Schedule


@frozen
class DropSchedule:
    """The schedule is gone; MISSING when it is not there."""

    id: str


@frozen
class PutSetting:
    """One named value of the service itself (a signing secret, a key's hash)."""

    name: str
    value: str


Change: TypeAlias = (
    Insert
    | Start
    | Update
    | Record
    | Delete
    | PutQueue
    | DropQueue
    | Sweep
    | Purge
    | Claim
    | Forget
    | PutKey
    | PutSchedule
    | DropSchedule
    | PutSetting
)
Unit: TypeAlias = Sequence[Change]
