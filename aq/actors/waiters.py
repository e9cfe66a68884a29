"""Who waits for which task to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Waiters:
    """Costs nothing while nobody waits, and nothing while somebody does."""

    def __init__(self) -> None:
        self.closed = False
        self._events: dict[str, list[trio.Event]] = {}

    @contextmanager
    def watch(self, task_id: str) -> Iterator[trio.Event]:
        """An event that is set when the task has ended or is gone, once that is durable, and by `close`."""
        ended = trio.Event()
        if self.closed:
            ended.set()
        self._events.setdefault(task_id, []).append(ended)
        try:
            yield ended
        finally:
            self._events[task_id].remove(ended)
            if not self._events[task_id]:
                del self._events[task_id]

    def tell(self, task_id: str) -> None:
        """The task has ended, or is gone."""
        for ended in self._events.get(task_id, ()):
            ended.set()

    def close(self) -> None:
        """Nobody will be told of anything any more: who waits is told that."""
        self.closed = True
        for task_id in self._events:
            self.tell(task_id)
