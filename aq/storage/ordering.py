"""The tasks of one ordering key within one commit: who is the head (rule 16)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import Final, NamedTuple

from aq.storage.answers import Entry
from aq.storage.before import Contender
from aq.task import QueueKey, Status, Task

_FIRST_LOOK: Final = 2
"""Contenders asked for at first: mostly one task of a key changes, and the one behind it becomes the head."""


class LineName(NamedTuple):
    """An ordering key's full name."""

    queue: QueueKey
    ordering_key: str


class Line:
    """The pending and active tasks of one ordering key: the stored ones with the commit's own over them.

    ``tasks`` is the commit's overlay, which changes beside this; `note` tells of it. ``stored`` gives the
    first so many stored ones, in the order of `Before.contenders`.
    """

    def __init__(
        self, name: LineName, tasks: Mapping[int, Task | None], stored: Callable[[int], Iterable[Contender]]
    ) -> None:
        self._name = name
        self._tasks = tasks
        self._read = stored
        self._limit = _FIRST_LOOK
        self._stored = list(stored(_FIRST_LOOK))
        self._ours: list[tuple[bool, int]] = []
        """A heap of the places that overlay tasks have or had; what is not so any more is dropped late."""
        self.settled = self._stored[0] if self._stored else None
        """The head when marks were last set."""

    def owns(self, task: Task) -> bool:
        return (task.queue, task.ordering_key) == self._name

    def note(self, sequence: int) -> None:
        """The overlay's entry for this task has changed."""
        if (task := self._contender(sequence)) is not None:
            heappush(self._ours, _place(sequence, task.status))

    def head(self) -> Contender | None:
        """Who is the head now. Of a task of the overlay it does not know how it is marked."""
        ours, theirs = self._first_of_ours(), self._first_of_theirs()
        if ours is None or theirs is None:
            return ours or theirs
        return min(ours, theirs, key=lambda one: _place(one.sequence, one.status))

    def _contender(self, sequence: int) -> Task | None:
        """The overlay's task, if it is pending or active and of this ordering key."""
        task = self._tasks.get(sequence)
        return None if task is None or task.status.final or not self.owns(task) else task

    def _first_of_ours(self) -> Contender | None:
        while self._ours:
            sequence = self._ours[0][1]
            task = self._contender(sequence)
            if task is not None and _place(sequence, task.status) == self._ours[0]:
                return Contender(sequence, task.status, False, Entry.of(task))
            heappop(self._ours)
        return None

    def _first_of_theirs(self) -> Contender | None:
        while True:
            for one in self._stored:
                if one.sequence not in self._tasks:
                    return one
            if len(self._stored) < self._limit:
                return None
            self._limit *= 4
            self._stored = list(self._read(self._limit))


def _place(sequence: int, status: Status) -> tuple[bool, int]:
    """The active ones first, then by sequence."""
    return status is Status.PENDING, sequence
