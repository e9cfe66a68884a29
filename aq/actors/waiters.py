"""Who waits for which task to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from aq.task import Task


class Waiters:
    """Costs nothing while nobody waits, and nothing while somebody does."""

    def __init__(self) -> None:
        self._events: dict[str, list[trio.Event]] = {}

    @contextmanager
    def watch(self, task_id: str) -> Iterator[trio.Event]:
        """An event that is set when the task has ended, once that is durable."""
        ended = trio.Event()
        self._events.setdefault(task_id, []).append(ended)
        try:
            yield ended
        finally:
            self._events[task_id].remove(ended)
            if not self._events[task_id]:
                del self._events[task_id]

    def tell(self, task: Task) -> None:
        """The task has ended."""
        for ended in self._events.get(task.id, ()):
            ended.set()
