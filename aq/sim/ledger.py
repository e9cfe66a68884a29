"""What is durable, as the commits that returned tell it; and what clients have asked for. No judgement here.

It is kept apart from the engine and from the storage: a plain dict of rows, moved on by the changes of each
commit, in their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field, frozen

from aq.ids import sequence_of
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.schedule import Schedule
from aq.sim.network import Arrival
from aq.sim.verdict import FUZZ
from aq.task import Environment, Queue, QueueKey, Status, Task

OPEN: Final = (Status.PENDING, Status.ACTIVE)


@define(eq=False)
class Row:
    """One task as it is on disk, and what has been seen of it."""

    task: Task
    known_at: Instant
    """When the commit of its latest change returned."""
    life: int
    """In which life of the engine that was."""
    failures: int = 0
    unknowns: int = 0
    arrival: Arrival | None = None
    """The latest request that came for it."""
    arrival_life: int = 0
    revived: int = 0
    callbacks: int = 0
    """Callbacks written for its present end."""
    condemned: bool = False
    """A purge that was acknowledged covers it."""

    @property
    def order(self) -> tuple[int, Instant, str]:
        """Its place in its queue: priority, due, creation."""
        return (-self.task.priority, self.task.due_at, self.task.id)


@define(eq=False)
class Ask:
    """A client's request. ``settled_at`` is None while it is under way."""

    what: str
    key: QueueKey
    asked_at: Instant
    number: int = 0
    task_id: str | None = None
    fields: dict[str, Any] = field(factory=dict)
    commits: int = 0
    """How many commits had begun by then, the one under way counted twice."""
    pending: dict[str, int] = field(factory=dict)
    """Of a purge: the versions of the tasks that waited when it was asked for."""
    revived: int = 0
    settled_at: Instant | None = None

    def may_count(self, since: Instant) -> bool:
        """Whether it may have taken effect at that instant or later."""
        return self.settled_at is None or self.settled_at + FUZZ >= since


@frozen
class _Since:
    at: Instant
    policy: QueuePolicy


class Ledger:
    """Rows by id; those that are pending or active by queue too."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.open: dict[QueueKey, dict[str, Row]] = defaultdict(dict)
        self.active: dict[QueueKey, dict[str, Row]] = defaultdict(dict)
        self.queues: dict[QueueKey, Queue] = {}
        self.schedules: dict[str, Schedule] = {}
        self.put_off: dict[str, Instant] = {}
        """When a slot was refused last, say because its queue was being deleted: it is tried again later."""
        self.requests: dict[int, Ask] = {}
        """Tasks that clients asked for, by the number in their payload."""
        self.inserted: dict[int, list[str]] = defaultdict(list)
        """By the number of the request: the tasks made for it."""
        self.batches: list[list[int]] = []
        """The numbers of requests that were made together, in this life of the engine."""
        self.top = 0
        """The highest sequence of an id that has been seen."""
        self.asks: dict[tuple[str, QueueKey], list[Ask]] = defaultdict(list)
        self.turned: dict[tuple[QueueKey, str], Instant] = {}
        """By ordering key: when anything changed among its tasks."""
        self._policies: dict[QueueKey, list[_Since]] = {}

    def clock_begins(self, now: Instant) -> None:
        """The service clock begins anew: at what is on disk, perhaps lower than it was when it ended."""
        for ask in self.requests.values():
            ask.asked_at = min(ask.asked_at, now)

    # -- rows -----------------------------------------------------------------------------------------------
    def put(self, task: Task, now: Instant, life: int) -> Row:
        """The task is on disk like this."""
        row = self.rows.get(task.id)
        if row is None:
            row = self.rows[task.id] = Row(task, now, life)
            self.top = max(self.top, sequence_of(task.id) or 0)
        row.task, row.known_at, row.life = task, now, life
        self._turn(task, now)
        _keep(self.open[task.queue], row, task.status in OPEN)
        _keep(self.active[task.queue], row, task.status is Status.ACTIVE)
        return row

    def drop(self, task_id: str, now: Instant) -> None:
        row = self.rows.pop(task_id)
        self._turn(row.task, now)
        _keep(self.open[row.task.queue], row, False)
        _keep(self.active[row.task.queue], row, False)

    def waiting(self, key: QueueKey) -> Iterator[Row]:
        """The pending tasks of a queue."""
        return (row for row in self.open[key].values() if row.task.status is Status.PENDING)

    def at_its_turn(self, row: Row) -> bool:
        """Whether no other task of its ordering key holds it back."""
        key = row.task.ordering_key
        return key is None or not any(
            other.task.ordering_key == key
            and other is not row
            and (other.task.status is Status.ACTIVE or other.task.id < row.task.id)
            for other in self.open[row.task.queue].values()
        )

    def may_be_purged(self, row: Row, at: Instant) -> bool:
        """Whether a purge covers a waiting task, or one that is under way might."""
        queue = self.queues.get(row.task.queue)
        clearing = None if queue is None else queue.clearing
        return (
            row.condemned
            or (clearing is not None and (sequence_of(row.task.id) or 0) <= clearing.through)
            or any(ask.may_count(at) for ask in self.asks.get(("purge", row.task.queue), ()))
        )

    def may_be_retried(self, task: Task) -> bool:
        """Whether somebody asked for a retry of a task that has ended, so that it may count since then."""
        asks = [ask for ask in self.asks.get(("retry", task.queue), ()) if ask.task_id == task.id]
        asks += self.asks.get(("retry all", task.queue), ())
        return any(ask.may_count(task.finished_at or 0) for ask in asks)

    def busy(self, destination: str) -> bool:
        """Whether an attempt is in flight at a destination, of any queue."""
        return any(
            row.task.destination == destination for rows in self.active.values() for row in rows.values()
        )

    def in_flight(self, life: int) -> int:
        """Attempts of a life of the engine; what an earlier one left active is not in flight any more."""
        return sum(row.life == life for rows in self.active.values() for row in rows.values())

    def _turn(self, task: Task, now: Instant) -> None:
        if task.ordering_key is not None:
            self.turned[task.queue, task.ordering_key] = now

    # -- policies -------------------------------------------------------------------------------------------
    def put_queue(self, key: QueueKey, queue: Queue | None, now: Instant) -> None:
        if queue is None:
            self.queues.pop(key, None)
        else:
            self.queues[key] = queue
        policy = QueuePolicy() if queue is None else queue.policy
        history = self._policies.setdefault(key, [_Since(0, QueuePolicy())])
        if history[-1].policy != policy:
            history.append(_Since(now, policy))

    def policies(self, key: QueueKey, since: Instant) -> list[QueuePolicy]:
        """Those that were on disk at that instant or later."""
        history = self._policies.get(key)
        if history is None:
            return [QueuePolicy()]
        found = [history[-1].policy]
        for after, before in zip(reversed(history), reversed(history[:-1]), strict=False):
            if after.at < since:
                break
            found.append(before.policy)
        return found

    def timeouts(self, row: Row) -> set[float]:
        """How long the attempt that runs may take, in seconds."""
        task = row.task
        if task.timeout is not None:
            return {task.timeout}
        return self.values(task.queue, "timeout", row.known_at - FUZZ)

    def changed_at(self, key: QueueKey, name: str) -> Instant:
        """When a field of its policy changed last."""
        history = self._policies.get(key, [])
        for after, before in zip(reversed(history), reversed(history[:-1]), strict=False):
            if getattr(after.policy, name) != getattr(before.policy, name):
                return after.at
        return 0

    def values(self, key: QueueKey, name: str, since: Instant) -> set[Any]:
        """What a field of the policy may have been, at that instant or later, for who decides by it.

        A change that is asked for holds from the moment it is decided, and no more if it is then refused.
        """
        owner = key
        if key.environment is Environment.CALLBACK:
            if name in _FREE:
                return {_FREE[name]}
            owner = QueueKey(Environment.LIVE, key.name)
        found = {getattr(policy, name) for policy in self.policies(owner, since)}
        for ask in self.asks.get(("configure", owner), ()):
            if name in ask.fields and ask.may_count(since):
                found.add(ask.fields[name])
        return found


_FREE: Final[dict[str, Any]] = {
    "concurrency": 50,
    "destination_concurrency": None,
    "rate_limit": None,
    "paused": False,
}
"""Callbacks are outside of their queue's limits."""


def _keep(rows: dict[str, Row], row: Row, there: bool) -> None:
    if there:
        rows[row.task.id] = row
    else:
        rows.pop(row.task.id, None)
