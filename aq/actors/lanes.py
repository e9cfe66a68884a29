"""Destinations that have stepped aside. Pure: time is an argument.

A destination where nothing may start now (it is held, or as many attempts run there as may) must not keep
the others waiting. Once the first ready task is one of its own, the destination gets a *lane*, a small heap
beside the ready heap, and its tasks are put there as they come up. A lane whose destination is free again is
*open*: its head competes with the head of the ready heap, so order holds, also among its own tasks that are
still in the ready heap. A lane costs nothing while it is closed; those that may have opened are looked at.

Like the ready heap, a lane has a bound and a horizon: every due task of its destination up to both horizons
is in memory, in the lane or in the ready heap. An open lane that is empty and has a horizon is *starved*: no
task may start before its next ones are loaded. Nor may one beyond the horizon of the ready heap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from aq.actors.heap import IndexedHeap, Spilling, running_order
from aq.actors.holds import FOREVER
from aq.instants import Instant
from aq.storage.answers import Aside, Entry

ASIDE: Final = 64
"""Tasks of one lane that are loaded or kept; twice as many before it is trimmed."""
MOST_ASIDE: Final = 1_000
"""Destinations that one load leaves out."""


class Lane:
    """The tasks of one destination, and the one that competes (None while it is closed or empty)."""

    __slots__ = ("head", "open", "tasks")

    def __init__(self, window: int) -> None:
        self.tasks = Spilling(running_order, window)
        self.head: Entry | None = None
        self.open = False


class Lanes:
    """The lanes beside one ready heap.

    ``blocked_until`` says when a task may start at a destination: None now, `FOREVER` not before something
    happens. When it may say something sooner than it did, the destination is to be doubted.
    """

    def __init__(
        self, ready: Spilling, window: int, blocked_until: Callable[[str, Instant], Instant | None]
    ) -> None:
        self.by_destination: dict[str, Lane] = {}
        self.size = 0
        """Tasks in all lanes."""
        self.opens_at: Instant = FOREVER
        """When the first hold ends that closes a lane; perhaps too early, never too late."""
        self.starved: set[str] = set()
        self._ready = ready
        self._window = window
        self._most = MOST_ASIDE + 2 * window
        self._blocked_until = blocked_until
        self._heads = IndexedHeap(running_order)
        self._doubted: set[str] = set()

    @property
    def spilled(self) -> bool:
        return any(lane.tasks.horizon is not None for lane in self.by_destination.values())

    def doubt(self, destination: str) -> None:
        """Its lane, if there is one, may open or have another head."""
        if destination in self.by_destination:
            self._doubted.add(destination)

    def doubt_all(self) -> None:
        self._doubted.update(self.by_destination)

    def settle(self, now: Instant) -> None:
        """Look at the lanes that may have opened."""
        if now >= self.opens_at:
            self.doubt_all()
        if self._doubted:
            if len(self._doubted) >= len(self.by_destination):
                self.opens_at = FOREVER  # found anew
            doubted, self._doubted = self._doubted, set()
            for destination in doubted:
                self._look_at(destination, now)

    def before(self, entry: Entry | None) -> Entry | None:
        """The head of an open lane, if it comes before this one; else this one."""
        head = self._heads.peek()
        if head is None or (entry is not None and running_order(entry) < running_order(head)):
            return entry
        return head

    def step_aside(self, entry: Entry) -> bool:
        """The destination of a ready task is blocked. False when there are too many lanes already."""
        self._ready.heap.discard(entry.id)
        if entry.destination not in self.by_destination:
            if len(self.by_destination) >= self._most:
                return False
            self.by_destination[entry.destination] = self._lane()
        self.add(entry)
        return True

    def add(self, entry: Entry) -> None:
        """A due task of a destination that has a lane."""
        lane = self.by_destination[entry.destination]
        before = len(lane.tasks.heap)
        if lane.tasks.add(entry):
            lane.tasks.trim()
        self.size += len(lane.tasks.heap) - before
        self._doubted.add(entry.destination)
        if self.size > 2 * max(self._window, len(self.by_destination)):
            self._thin_out()

    def take(self, entry: Entry) -> None:
        """A task starts, or is gone, that may be in the lane of its destination."""
        if self.by_destination[entry.destination].tasks.heap.discard(entry.id):
            self.size -= 1
        self._doubted.add(entry.destination)

    def discard(self, task_id: str) -> bool:
        """Looks into every lane."""
        for destination, lane in self.by_destination.items():
            if lane.tasks.heap.discard(task_id):
                self.size -= 1
                self._doubted.add(destination)
                return True
        return False

    def load(self, aside: Mapping[str, Aside]) -> None:
        """The lanes are these, in the place of all others; the rest of their tasks is in storage."""
        self.clear()
        for destination, (due, complete) in aside.items():
            lane = self.by_destination[destination] = self._lane()
            lane.tasks.load(due, complete)
            self.size += len(lane.tasks.heap)
        self.doubt_all()

    def clear(self) -> None:
        self.by_destination.clear()
        self.starved.clear()
        self._doubted.clear()
        self._heads = IndexedHeap(running_order)
        self.size = 0
        self.opens_at = FOREVER

    def _lane(self) -> Lane:
        return Lane(min(ASIDE, self._window))

    def _look_at(self, destination: str, now: Instant) -> None:
        lane = self.by_destination.get(destination)
        if lane is None:
            return
        until = self._blocked_until(destination, now)
        first = lane.tasks.heap.peek()
        lane.open = until is None
        self._compete(lane, first if lane.open else None)
        self.starved.discard(destination)
        if first is None and self._is_needless(lane):
            del self.by_destination[destination]
        elif until is not None:
            self.opens_at = min(self.opens_at, until)
        elif first is None:
            self.starved.add(destination)

    def _compete(self, lane: Lane, head: Entry | None) -> None:
        if head is not lane.head:
            if lane.head is not None:
                self._heads.discard(lane.head.id)
            if head is not None:
                self._heads.push(head)
            lane.head = head

    def _is_needless(self, lane: Lane) -> bool:
        """Empty, it knows no less of its destination than the ready heap does."""
        horizon, ready = lane.tasks.horizon, self._ready.horizon
        return horizon is None or (ready is not None and ready <= horizon)

    def _thin_out(self) -> None:
        """Leave each lane its share of the window, at least one task."""
        keep = max(1, self._window // len(self.by_destination))
        for lane in self.by_destination.values():
            lane.tasks.trim(keep)
        self.size = sum(len(lane.tasks.heap) for lane in self.by_destination.values())
        self.doubt_all()
