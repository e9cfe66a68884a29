"""Who runs next in one queue, and when to look again. Pure: time is an argument, nothing is awaited.

The agenda keeps two heaps. *Ready* holds due tasks in running order (priority high to low, then earlier
due, then earlier created); *delayed* holds the others by due time. It holds keys only, never payloads, and
at most about twice ``window`` of them in each heap: a backlog beyond that *spills*, which means it is left
in storage.

A heap that spilled knows a *horizon*: every task up to it is in memory, every task beyond it is not. So
order holds across the spill: a newcomer beyond the horizon stays in storage, and before the next start the
agenda asks to be loaded again when the ready heap has run empty, or when the clock has passed the delayed
horizon (tasks in storage, of any priority, may be due that no heap knows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aq.actors.heap import IndexedHeap
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.protocol import Entry, Window


def running_order(entry: Entry) -> tuple[int, Instant, str]:
    """The order among due tasks of one queue."""
    return (-entry.priority, entry.due_at, entry.id)


def due_order(entry: Entry) -> tuple[Instant, str]:
    """The order in which tasks become due."""
    return (entry.due_at, entry.id)


class Agenda:
    """One queue's waiting and running tasks.

    A fresh agenda is empty and asks to be loaded.
    """

    def __init__(self, *, window: int) -> None:
        self.running: set[str] = set()
        self._policy = QueuePolicy()
        self._ready = _Spilling(running_order, window)
        self._delayed = _Spilling(due_order, window)
        self._stale = True

    @property
    def waiting(self) -> int:
        """How many waiting tasks are in memory."""
        return len(self._ready.heap) + len(self._delayed.heap)

    @property
    def spilled(self) -> bool:
        """Whether storage may hold waiting tasks that are not in memory."""
        return self._stale or self._ready.horizon is not None or self._delayed.horizon is not None

    @property
    def free_slots(self) -> int:
        policy = self._policy
        return 0 if policy.paused else max(0, policy.concurrency - len(self.running))

    def adopt(self, policy: QueuePolicy) -> None:
        """From now on so many may run at once, and none starts while paused."""
        self._policy = policy

    def invalidate(self) -> None:
        """Memory may differ from storage: load again before the next start."""
        self._stale = True

    def needs_load(self, now: Instant) -> bool:
        """Whether `load` must come before `start`, for what starts to be the right thing."""
        if not self.free_slots:
            return False
        horizon = self._delayed.horizon
        return (
            self._stale
            or (horizon is not None and horizon[0] <= now)
            or (self._ready.horizon is not None and not self._ready.heap)
        )

    def load(self, head: Window) -> None:
        """Take the head of what waits in storage in the place of all that waits in memory.

        Everything decided before must be in storage by then: what starts is not pending there any more.
        """
        self._stale = False
        self._ready.load(head.due, head.due_complete)
        self._delayed.load(head.upcoming, head.upcoming_complete)

    def add(self, entry: Entry, now: Instant) -> None:
        """A task waits from now on (a new one, or one to be retried)."""
        (self._ready if entry.due_at <= now else self._delayed).add(entry)

    def remove(self, task_id: str) -> bool:
        """A waiting task is gone; False when it was not in memory."""
        return self._ready.heap.discard(task_id) or self._delayed.heap.discard(task_id)

    def startable(self, now: Instant) -> int:
        """How many `start` would give, were there room for all."""
        while (entry := self._delayed.heap.peek()) is not None and entry.due_at <= now:
            self._delayed.heap.discard(entry.id)
            self._ready.add(entry)
        return min(self.free_slots, len(self._ready.heap))

    def start(self, now: Instant, room: int) -> list[Entry]:
        """The next tasks to run, in order, at most ``room``; each takes a slot until `finish`."""
        starting = []
        for _ in range(min(room, self.startable(now))):
            entry = self._ready.heap.pop()
            self.running.add(entry.id)
            starting.append(entry)
        return starting

    def finish(self, task_id: str) -> None:
        """The slot of a task is free again."""
        self.running.discard(task_id)

    def wake_at(self) -> Instant | None:
        """When to look again though nothing happened; None for "not before something happens"."""
        if not self.free_slots:
            return None
        entry, horizon = self._delayed.heap.peek(), self._delayed.horizon
        times = [entry.due_at] if entry is not None else []
        times += [horizon[0]] if horizon is not None else []
        return min(times, default=None)


class _Spilling:
    """A heap with a bound, and the horizon up to which it is complete (None: it holds everything)."""

    def __init__(self, key: Any, window: int) -> None:
        self.heap = IndexedHeap(key)
        self.horizon: Any = None
        self._key = key
        self._window = window

    def add(self, entry: Entry) -> None:
        if self.horizon is not None and self._key(entry) > self.horizon:
            return
        self.heap.push(entry)
        if len(self.heap) > 2 * self._window:
            self.horizon = self._key(self.heap.trim(self._window))

    def load(self, entries: Sequence[Entry], complete: bool) -> None:
        self.heap = IndexedHeap(self._key)
        for entry in entries:
            self.heap.push(entry)
        self.horizon = None if complete or not entries else self._key(entries[-1])
