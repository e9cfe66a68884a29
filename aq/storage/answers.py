"""What a storage answers: how a unit fared, what waits in a queue, tasks and pages of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import msgspec
from attrs import evolve, frozen

from aq.instants import Instant
from aq.outcome import ErrorType
from aq.task import Attempt, Environment, Status, Task

MOST_LOOKED_AT: Final = 10_000
"""Tasks that a filtered list looks at for one page (rule 13)."""


MOST_GROUPED: Final = 2_000
"""Failed tasks that the front door looks at for their kinds (rule 20): some milliseconds."""
SAMPLES: Final = 3
"""Tasks that a group of failures names."""


class Entry(NamedTuple):
    """A waiting task, as little of it as scheduling needs."""

    id: str
    priority: int
    due_at: Instant
    version: int
    destination: str
    expires_at: Instant | None = None

    @classmethod
    def of(cls, task: Task) -> Entry:
        """As much of a waiting task as scheduling needs."""
        return cls(task.id, task.priority, task.due_at, task.version, task.destination, task.expires_at)


class Reason(StrEnum):
    """Why a unit was refused."""

    MISSING = "missing"
    EXISTS = "exists"
    STATE = "state"
    VERSION = "version"


class Applied(msgspec.Struct, frozen=True):
    """The unit is in.

    ``count`` is the number of tasks or claims that its Sweep, Purge and Forget deleted, ``removed`` the ids
    of the tasks among them; ``started`` are the tasks that its Start changes made active, as they are now,
    each with its payload; ``released`` is told by rule 16.
    """

    count: int = 0
    started: Sequence[tuple[Task, bytes]] = ()
    removed: Sequence[str] = ()
    released: Sequence[Entry] = ()


@frozen
class Refused:
    """The unit is out, and why."""

    reason: Reason


Answer: TypeAlias = Applied | Refused


class Aside(NamedTuple):
    """The first due tasks of a destination that is left out of a window, and whether there are no more."""

    due: Sequence[Entry]
    complete: bool


@frozen
class Window:
    """The head of a queue's waiting tasks. ``*_complete`` says that there are no more than these."""

    due: Sequence[Entry]
    due_complete: bool
    upcoming: Sequence[Entry]
    upcoming_complete: bool
    aside: Mapping[str, Aside] = {}


@frozen
class Expiring:
    """Pending tasks whose time has run out, by (expires_at, id), and when the next one's does."""

    tasks: Sequence[Task]
    next_at: Instant | None


@frozen
class Backlog:
    """How a queue's pending tasks stand at an instant."""

    scheduled: int = 0
    """Not yet due, exact to the minute."""
    oldest_due_at: Instant | None = None
    """The earliest due time among those that may be scheduled."""


@frozen
class Claimed:
    """What a claim holds."""

    fingerprint: bytes
    answer: bytes


@frozen
class StoredTask:
    """A task with all that is kept of it."""

    task: Task
    payload: bytes
    attempts: Sequence[Attempt]


@frozen
class TaskFilter:
    """Which tasks a list is of; None is "any"."""

    environment: Environment = Environment.LIVE
    queues: tuple[str, ...] | None = None
    status: Status | None = None
    tag: str | None = None
    error_type: ErrorType | None = None
    destination: str | None = None
    created_after: Instant | None = None
    """At that instant or later."""
    created_before: Instant | None = None
    """Earlier than that instant."""
    finished_after: Instant | None = None
    """At that instant or later."""
    finished_before: Instant | None = None
    """Earlier than that instant."""

    @property
    def counted(self) -> bool:
        """Whether the counters of queues alone tell how many there are."""
        return evolve(self, queues=None, status=None) == TaskFilter(self.environment)


@frozen
class TaskPage:
    """One page of a list.

    ``total`` is the number of tasks on all pages, None where it is not kept. ``more`` is the id to go on
    from, None at the end; a page with ``more`` may be short, also empty (rule 13).
    """

    tasks: Sequence[Task]
    total: int | None
    more: str | None


@frozen
class FailureGroup:
    """Failed tasks of one queue, destination and error type.

    The first of them failed at ``first_at``, the last at ``last_at``. ``samples`` are the ids of those
    created last, newest first, at most `SAMPLES`; ``error`` is what was said of the newest one's latest
    attempt, None where it had none.
    """

    queue: str
    destination: str
    error_type: ErrorType | None
    count: int
    first_at: Instant
    last_at: Instant
    samples: tuple[str, ...]
    error: str | None


@frozen
class Failures:
    """Failed tasks by kind (rule 20): ``looked_at`` of ``total`` are in the groups."""

    groups: Sequence[FailureGroup]
    looked_at: int
    total: int

    @classmethod
    def of(cls, groups: Iterable[FailureGroup], total: int) -> Failures:
        """In the order that rule 20 gives them."""
        inorder = sorted(groups, key=lambda group: (group.count, group.last_at, group.samples), reverse=True)
        return cls(inorder, sum(group.count for group in inorder), total)


@frozen
class Floor:
    """What time and ids must stay above."""

    now: Instant = 0
    sequence: int = 0
