"""Waiting tasks in an order, by key and by id. Pure.

`IndexedHeap` knows its members by id, so that one can leave from the middle. `Spilling` is one with a bound,
that knows up to where it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush, nsmallest
from typing import Any, Final

from aq.instants import Instant
from aq.storage.answers import Entry

_SLACK: Final = 16


def running_order(entry: Entry) -> tuple[int, Instant, str]:
    """The order among due tasks of one queue."""
    return (-entry.priority, entry.due_at, entry.id)


def due_order(entry: Entry) -> tuple[Instant, str]:
    """The order in which tasks become due."""
    return (entry.due_at, entry.id)


class IndexedHeap:
    """Entries in the order of ``key(entry)``, which must differ between any two entries.

    Removal by id only drops the entry from the index; its place in the heap is passed over when it comes
    up, and the heap is rebuilt before such places outnumber the members. So push, pop and removal are O(log
    n) amortised at the speed of heapq, and the memory stays within twice the members.
    """

    def __init__(self, key: Callable[[Entry], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, Entry]] = []
        self.members: dict[str, Entry] = {}
        """By id. Not to be changed from outside."""

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.members.values())

    def push(self, entry: Entry) -> None:
        """Add an entry, or put it in the place of the one with its id."""
        self.members[entry.id] = entry
        heappush(self._heap, (self._key(entry), entry))
        if len(self._heap) > 2 * len(self.members) + _SLACK:
            self._rebuild()

    def peek(self) -> Entry | None:
        """The first entry, without taking it."""
        while self._heap:
            entry = self._heap[0][1]
            if self.members.get(entry.id) is entry:
                return entry
            heappop(self._heap)
        return None

    def pop(self) -> Entry:
        """Take the first entry. Raises IndexError when there is none."""
        while True:
            entry = heappop(self._heap)[1]
            if self.members.get(entry.id) is entry:
                del self.members[entry.id]
                return entry

    def discard(self, task_id: str) -> bool:
        """Take the entry with this id, wherever it stands; False when there is none."""
        if self.members.pop(task_id, None) is None:
            return False
        if len(self._heap) > 2 * len(self.members) + _SLACK:
            self._rebuild()
        return True

    def trim(self, keep: int) -> Entry:
        """Keep the first ``keep`` entries (at least 1) and let go of the rest; returns the last one kept."""
        kept = nsmallest(keep, self.members.values(), key=self._key)
        self.members = {entry.id: entry for entry in kept}
        self._rebuild()
        return kept[-1]

    def _rebuild(self) -> None:
        self._heap = [(self._key(entry), entry) for entry in self.members.values()]
        heapify(self._heap)


class Spilling:
    """A heap with a bound, and the horizon up to which it is complete (None: it holds everything)."""

    def __init__(self, key: Callable[[Entry], Any], window: int) -> None:
        self.heap = IndexedHeap(key)
        self.horizon: Any = None
        self._key = key
        self._window = window
        self._bound = 2 * window

    def add(self, entry: Entry) -> bool:
        """Take an entry, unless it lies beyond the horizon. True says that it is time to `trim`."""
        if self.horizon is not None and self._key(entry) > self.horizon:
            return False
        self.heap.push(entry)
        return len(self.heap) > self._bound

    def trim(self, keep: int | None = None) -> None:
        """Leave all but the first ``keep`` entries (a window) to the storage."""
        keep = self._window if keep is None else keep
        if len(self.heap) > keep:
            self.horizon = self._key(self.heap.trim(keep))

    def load(self, entries: Sequence[Entry], complete: bool) -> None:
        """These are the first that storage has, in order; ``complete`` says that there are no more."""
        self.heap = IndexedHeap(self._key)
        for entry in entries:
            self.heap.push(entry)
        self.horizon = None if complete or not entries else self._key(entries[-1])
