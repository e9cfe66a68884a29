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
 5. Insert refuses an id that exists (EXISTS), a queue that does not (MISSING), and an id that the queue's
    ``clearing`` covers (STATE).
 6. Start, Update and Delete are compare-and-set on the task: MISSING when it is not there, or not in the
    queue named, STATE when its status is another one than expected, VERSION when its version is. Start also
    refuses (STATE) a task that its ordering key holds back, see rule 16. An Update leaves id, queue,
    webhook_url, delay, created_at, traceparent, ordering_key and options as they were inserted. Record
    refuses a task that is not there (MISSING); of two records of one number the later stands.
 7. Counts of a queue always equal the number of its tasks in each state, in the same transaction.
 8. PutQueue with version 1 creates and refuses a name that exists (EXISTS); with version n it replaces
    version n - 1 (MISSING, VERSION). Counts stay. With a ``clearing`` it answers how many tasks are pending.
 9. DropQueue refuses a queue that holds any task (STATE). Sweep deletes at most ``limit`` finished tasks,
    those that finished first (by finished_at, then id), with their payloads and attempts; Purge deletes
    pending ones, by id. Both answer how many and which; of a queue that is not there, none.
10. An applied Start is answered with the task as started and its payload. Delete removes the task, its
    payload and its attempts.

Reading
11. A read that begins after commit returned sees what it applied. Each read sees one moment.
12. ``window`` gives the due tasks (``due_at <= now``, pending) in running order (priority high to low, then
    due_at, then id) and the ones not yet due by (due_at, id); at most ``limit`` of each. Tasks that an
    ordering key holds back (rule 16) are in neither. Due tasks of the destinations in ``aside`` are left
    out of ``due`` and given apart, at most ``aside_limit`` for each, in the same order. What is left out
    costs nothing: the cost is bound by the answer and the number of destinations, never by their tasks. The
    window of a sandbox queue is empty: its tasks are never due.
13. ``list_tasks`` gives newest first (descending id), or from ``after`` upwards. With a filter on
    queues and status alone the total is exact and costs no scan; with any other filter it is None, at most
    `MOST_LOOKED_AT` tasks are looked at, and ``more`` says from which id to go on.
14. ``floor`` is the highest ``now`` ever committed and the highest id sequence ever inserted, deleted or
    not.
15. ``damage`` is None, or says what an integrity check or a read found broken. From then on every commit
    raises StorageCorruptError, for good; reads give what can still be read.

Ordering keys
16. Of the tasks of a queue with one ordering key that are pending or active, one is the *head*: the active
    one, else the one with the lowest id. The other ones are held back until they become the head. An applied
    unit answers with the waiting tasks that became heads by it (``released``).

Claims
17. Claim refuses (EXISTS) a name that was claimed and has not expired at the commit's ``now``; so of the
    units that carry one claim, one is applied. Forget deletes expired claims.

Schedules and keys
18. PutSchedule is like PutQueue: version 1 creates (EXISTS), version n replaces version n - 1 (MISSING,
    VERSION). So of the units that settle one slot of a schedule, one is applied. PutKey creates or replaces
    by id.

Truth
19. ``audit`` compares everything that is kept counted or marked with what it stands for, by looking at every
    task, and says in words what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeAlias

from attrs import evolve, frozen

from aq.apikey import ApiKey
from aq.instants import Instant
from aq.outcome import ErrorType
from aq.schedule import Schedule
from aq.task import Attempt, Environment, Queue, QueueKey, Status, Task

MOST_LOOKED_AT: Final = 10_000
"""Tasks that a filtered list looks at for one page (rule 13)."""


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
    """The tasks of a queue that finished first, in one of these states and before that instant, are gone."""

    key: QueueKey
    limit: int
    statuses: tuple[Status, ...] = (Status.COMPLETED, Status.FAILED)
    finished_before: Instant | None = None


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


# -- answers ------------------------------------------------------------------------------------------------
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


@frozen
class Applied:
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
        self,
        which: TaskFilter,
        *,
        limit: int,
        offset: int = 0,
        before: str | None = None,
        after: str | None = None,
    ) -> TaskPage:
        """Newest first; ``before`` starts below that id, ``after`` walks upwards from it, ``offset`` skips.

        Only one of the three. A ``before`` or ``after`` that no minter made gives an empty page; but after
        the empty text everything comes.
        """
        ...

    async def count_tasks(self, which: TaskFilter) -> int:
        """How many there are; with a filter that is not ``counted`` it looks at every one of that state."""
        ...

    async def window(
        self, key: QueueKey, now: Instant, limit: int, aside: Sequence[str] = (), aside_limit: int = 0
    ) -> Window:
        """The head of what waits in a queue; rule 12. Empty for a queue that is not there."""
        ...

    async def expiring(self, key: QueueKey, now: Instant, limit: int) -> Expiring:
        """Pending tasks with ``expires_at <= now``, held back or not; of the sandbox too."""
        ...

    async def head_of(self, key: QueueKey, ordering_key: str) -> str | None:
        """The id of the task that is the head of an ordering key (rule 16)."""
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

    async def backlogs(
        self, environment: Environment, now: Instant, name: str | None = None
    ) -> Mapping[str, Backlog]:
        """By the name of the queue, of one or of all; a queue without pending tasks may be missing."""
        ...

    async def claim(self, environment: Environment, name: str, now: Instant) -> Claimed | None:
        """A claim that has not expired."""
        ...

    async def api_keys(self) -> Sequence[ApiKey]:
        """All, revoked ones too, by id."""
        ...

    async def schedule(self, schedule_id: str) -> Schedule | None: ...

    async def schedules(self, environment: Environment | None = None) -> Sequence[Schedule]:
        """By id, of one environment or of all."""
        ...

    async def audit(self) -> Sequence[str]:
        """Rule 19. Slow on a large store; writes go on beside it."""
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
