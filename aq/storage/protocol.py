"""What a storage promises. Everything is said in domain types; no SQL, no files, no threads.

The one write is `Storage.commit`. It takes *units*; a unit is a list of changes (`aq.storage.changes`) that
is applied wholly or refused wholly. What comes back stands in `aq.storage.answers`. The rules below are
numbered, and `aq.storage.conformance` quotes the numbers.

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
    those that finished first (by finished_at, then id), with their payloads and attempts, and never so many
    that fewer than ``stay`` are left in its states; it is refused (STATE) where the queue of its ``rule`` has
    another retention by then, one that is not there the default one. Purge deletes pending ones, by id. Both
    answer how many and which; of a queue that is not there, none.
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

Failures
20. ``failures`` puts failed tasks into groups of one queue, destination and error type: the largest first,
    then the one that failed last. It looks at those created last, and says how many there are in all. Its
    cost has a bound, however many have failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import frozen

from aq.apikey import ApiKey
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
from aq.storage.changes import Unit
from aq.task import Environment, Queue, QueueKey, Task


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

    async def failures(
        self, environment: Environment, queues: tuple[str, ...] | None, *, most: int
    ) -> Failures:
        """Failed tasks by kind, of these queues or of all; rule 20. At most ``most`` tasks are looked at."""
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
