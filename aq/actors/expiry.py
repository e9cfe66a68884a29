"""Tasks whose time ran out while they waited: failed, also while their queue is paused."""

from __future__ import annotations

from typing import Final

from aq import lifecycle
from aq.actors.desk import Desk
from aq.actors.ends import Ends
from aq.actors.patience import patiently
from aq.instants import Instant
from aq.storage.answers import Answer, Applied
from aq.task import Environment, Status

_AT_ONCE: Final = 500


class Expiry:
    """Sandbox tasks have no end. What a purge covers has none either: it waits until that is over."""

    def __init__(self, desk: Desk, ends: Ends) -> None:
        self._desk = desk
        self._ends = ends

    @property
    def next_at(self) -> Instant | None:
        """When to `run`; None for "not before something happens"."""
        if self._desk.key.environment is Environment.TEST or self._desk.clearing is not None:
            return None
        return self._desk.next_expiry

    async def run(self, now: Instant) -> None:
        """Put the ends of the tasks whose time has run out. What was decided before must be in storage."""
        self._desk.next_expiry = now
        if self.next_at is None:
            return
        services = self._desk.services
        found = await patiently(lambda: services.storage.expiring(self._desk.key, now, _AT_ONCE))
        for task in found.tasks:
            self._desk.agenda.remove(task.id)
            end = self._ends.end(lifecycle.expired(task, now=now), Status.PENDING)
            self._ends.put(end, self._expired, insists=False)
        self._desk.next_expiry = now if len(found.tasks) == _AT_ONCE else found.next_at

    def _expired(self, answer: Answer | Exception) -> None:
        """It was refused when the task was started or deleted at the same moment."""
        if isinstance(answer, Applied):
            self._desk.released(answer)
        elif isinstance(answer, Exception):
            self._desk.next_expiry = self._desk.now
            self._desk.agenda.invalidate()  # it waits still, so the supervisor may not retire
