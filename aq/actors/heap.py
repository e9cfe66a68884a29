"""A binary heap that knows its members by id, so that one can leave from the middle. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, nsmallest
from typing import Any, Final

from aq.storage.protocol import Entry

_SLACK: Final = 16


class IndexedHeap:
    """Entries in the order of ``key(entry)``, which must differ between any two entries.

    Removal by id only drops the entry from the index; its place in the heap is passed over when it comes
    up, and the heap is rebuilt before such places outnumber the members. So push, pop and removal are O(log
    n) amortised at the speed of heapq, and the memory stays within twice the members.
    """

    def __init__(self, key: Callable[[Entry], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, Entry]] = []
        self._members: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._members.values())

    def push(self, entry: Entry) -> None:
        """Add an entry, or put it in the place of the one with its id."""
        self._members[entry.id] = entry
        heappush(self._heap, (self._key(entry), entry))
        self._rebuild_if_hollow()

    def peek(self) -> Entry | None:
        """The first entry, without taking it."""
        while self._heap:
            entry = self._heap[0][1]
            if self._members.get(entry.id) is entry:
                return entry
            heappop(self._heap)
        return None

    def pop(self) -> Entry:
        """Take the first entry. Raises IndexError when there is none."""
        entry = self.peek()
        if entry is None:
            raise IndexError("pop from an empty heap")
        heappop(self._heap)
        del self._members[entry.id]
        return entry

    def discard(self, task_id: str) -> bool:
        """Take the entry with this id, wherever it stands; False when there is none."""
        if self._members.pop(task_id, None) is None:
            return False
        self._rebuild_if_hollow()
        return True

    def trim(self, keep: int) -> Entry:
        """Keep the first ``keep`` entries (at least 1) and let go of the rest; returns the last one kept."""
        kept = nsmallest(keep, self._members.values(), key=self._key)
        self._members = {entry.id: entry for entry in kept}
        self._rebuild()
        return kept[-1]

    def _rebuild_if_hollow(self) -> None:
        if len(self._heap) > 2 * len(self._members) + _SLACK:
            self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [(self._key(entry), entry) for entry in self._members.values()]
        heapify(self._heap)
