"""What a storage promises. Everything is said in domain types; no SQL, no files, no threads.

The one write is `Storage.commit`. It takes *units*; a unit is a list of changes that is applied wholly or
refused wholly. The rules below are numbered, and `aq.storage.conformance` quotes the numbers.

Writing
 1. The units of one commit share a transaction and are applied in order, each seeing those before it; each
    is applied or refused for itself, and the answers come in the order of the units.
 2. When commit has returned, what it applied is durable: on a storage whose ``traits.durable`` is true it
    survives the death of the process and of the machine.
 3. A commit that raises StorageUnavailableError may or may not have happened. Called again with the same
    units (the very objects) before any others, it takes effect once and gives the answers of that one
    effect. StorageFullError means it has not happened, by none of the calls.
 4. A refused unit changes nothing, whichever of its changes was refused.
 5. Insert refuses an id that exists (EXISTS) and a queue that does not (MISSING).
 6. Start, Update and Delete are compare-and-set on the task: MISSING when it is not there, or not in the
    queue named, STATE when its status is another one than expected, VERSION when its version is. An Update
    leaves id, queue, webhook_url, delay, created_at and traceparent as they were inserted. Record refuses a
    task that is not there (MISSING); of two records of one number the later stands.
 7. Counts of a queue always equal the number of its tasks in each state, in the same transaction.
 8. PutQueue with version 1 creates and refuses a name that exists (EXISTS); with version n it replaces
    version n - 1 (MISSING, VERSION). Counts stay.
 9. DropQueue refuses a queue that holds any task (STATE). Sweep deletes at most ``limit`` finished tasks,
    oldest first (by id), with their payloads and attempts, and answers how many; of a queue that is not
    there, none.
10. An applied Start is answered with the task as started and its payload. Delete removes the task, its
    payload and its attempts.

Reading
11. A read that begins after commit returned sees what it applied. Each read sees one moment.
12. ``window`` gives the due tasks (``due_at <= now``, pending) in running order (priority high to low, then
    due_at, then id) and the ones not yet due by (due_at, id); at most ``limit`` of each, its cost bound by
    the answer. The window of a sandbox queue is empty: its tasks are never due.
13. ``list_tasks`` gives newest first (descending id); its total is exact and costs no scan.
14. ``floor`` is the highest ``now`` ever committed and the highest id sequence ever inserted, deleted or
    not.
15. ``damage`` is None, or says what an integrity check or a read found broken. From then on every commit
    raises StorageCorruptError, for good; reads give what can still be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

from attrs import frozen

from aq.instants import Instant
from aq.task import Attempt, Environment, Queue, QueueKey, Status, Task


# -- changes ------------------------------------------------------------------------------------------------
@frozen
class Insert:
    """A new task, in whatever status it has (a fresh task may be inserted already started)."""

    task: Task
    payload: bytes


@frozen
class Start:
    """A pending task at this version becomes active: attempt + 1, version + 1, started_at = at."""

    queue: QueueKey
    id: str
    version: int
    at: Instant


@frozen
class Update:
    """The task as it is now, where it was ``was`` and its version one lower."""

    task: Task
    was: Status


@frozen
class Record:
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
    """The oldest finished tasks of a queue are gone."""

    key: QueueKey
    limit: int


@frozen
class PutSetting:
    """One named value of the service itself (a signing secret, a key's hash)."""

    name: str
    value: str


Change: TypeAlias = Insert | Start | Update | Record | Delete | PutQueue | DropQueue | Sweep | PutSetting
Unit: TypeAlias = Sequence[Change]


# -- answers ------------------------------------------------------------------------------------------------
class Reason(StrEnum):
    """Why a unit was refused."""

    MISSING = "missing"
    EXISTS = "exists"
    STATE = "state"
    VERSION = "version"


@frozen
class Applied:
    """The unit is in.

    ``count`` is the number of tasks that a Sweep deleted; ``started`` are the tasks that its Start changes
    made active, as they are now, each with its payload.
    """

    count: int = 0
    started: Sequence[tuple[Task, bytes]] = ()


@frozen
class Refused:
    """The unit is out, and why."""

    reason: Reason


Answer: TypeAlias = Applied | Refused


class Entry(NamedTuple):
    """A waiting task, as little of it as scheduling needs."""

    id: str
    priority: int
    due_at: Instant
    version: int


@frozen
class Window:
    """The head of a queue's waiting tasks. ``*_complete`` says that there are no more than these."""

    due: Sequence[Entry]
    due_complete: bool
    upcoming: Sequence[Entry]
    upcoming_complete: bool


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
    queue: str | None = None
    status: Status | None = None


@frozen
class TaskPage:
    """One page of a list and the number of tasks on all of its pages."""

    tasks: Sequence[Task]
    total: int


@frozen
class Floor:
    """What time and ids must stay above."""

    now: Instant = 0
    sequence: int = 0


@frozen
class Traits:
    """What kind of storage this is. ``shared``: several nodes may open it at once."""

    durable: bool
    shared: bool


class Storage(Protocol):
    """A place where tasks are kept, for many readers and one committer.

    Opened by `aq.storage.open_storage`. Reads raise StorageUnavailableError when they fail for now; every
    method raises StorageError when the storage cannot be used any more. A cancelled read has no effect; a
    commit is not cancelled once it began.
    """

    @property
    def traits(self) -> Traits: ...

    @property
    def damage(self) -> str | None:
        """Rule 15; for readiness checks and people."""
        ...

    async def commit(self, units: Sequence[Unit], now: Instant) -> Sequence[Answer]:
        """Apply the units in one transaction; see rules 1-10. ``now`` raises the floor."""
        ...

    async def task(self, task_id: str) -> StoredTask | None:
        """One task with its payload and attempts (by number), or None."""
        ...

    async def list_tasks(
        self, which: TaskFilter, *, limit: int, offset: int = 0, before: str | None = None
    ) -> TaskPage:
        """Newest first; ``before`` starts below that id, ``offset`` skips (not both).

        A ``before`` that no minter made gives an empty page.
        """
        ...

    async def window(self, key: QueueKey, now: Instant, limit: int) -> Window:
        """The head of what waits in a queue; rule 12. Empty for a queue that is not there."""
        ...

    async def active(self, key: QueueKey, limit: int) -> Sequence[Task]:
        """Tasks that a start was committed for and no end: after a crash, the interrupted ones. By id."""
        ...

    async def queue(self, key: QueueKey) -> Queue | None:
        """One queue with its policy and counts."""
        ...

    async def queues(self, environment: Environment | None = None) -> Sequence[Queue]:
        """Every queue, by (environment, name), of one environment or of all."""
        ...

    async def settings(self) -> Mapping[str, str]:
        """Everything that PutSetting put."""
        ...

    async def floor(self) -> Floor:
        """Rule 14."""
        ...

    async def aclose(self) -> None:
        """Let go of files and locks. Idempotent."""
        ...
