"""What the parts of one queue's supervisor have in common."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define

from aq.actors.agenda import Agenda
from aq.actors.chronicle import Chronicle
from aq.actors.mailbox import Mailbox
from aq.actors.outbox import Outbox
from aq.actors.services import Services
from aq.ids import sequence_of
from aq.instants import Instant
from aq.policy import QueuePolicy
from aq.storage.answers import Applied, Entry
from aq.task import Clearing, Environment, QueueKey, Task


@define(kw_only=True)
class Desk:
    """One queue's agenda and outbox, and how it is heard."""

    key: QueueKey
    services: Services
    mailbox: Mailbox
    agenda: Agenda
    outbox: Outbox
    chronicle: Chronicle
    clearing: Clearing | None = None
    """The purge that is under way: what it covers counts as gone, though storage may still hold it."""
    next_expiry: Instant | None = None
    """When the time of the next waiting task may run out; None when none has a limit."""

    @property
    def now(self) -> Instant:
        return self.services.clock.now()

    @property
    def policy(self) -> QueuePolicy:
        """In force. Callbacks follow the policy of the queue whose tasks they tell of."""
        return self.services.policies.known(owner(self.key))

    def await_turn(self, task: Task) -> None:
        """The task waits from now on.

        Of a task with an ordering key the storage says when it is its turn to wait: see `released`.
        """
        self.note_expiry(task.expires_at)
        if task.ordering_key is None:
            self.add([Entry.of(task)])

    def released(self, answer: Applied) -> None:
        """Tasks whose ordering key holds them back no more."""
        if answer.released:
            self.add(answer.released)

    def add(self, entries: Iterable[Entry]) -> None:
        """These wait for a slot from now on. Sandbox tasks are kept, and never run."""
        if self.key.environment is Environment.TEST:
            return
        now = self.now
        for entry in entries:
            if self.clearing is None or not _covers(self.clearing, entry.id):
                self.agenda.add(entry, now)

    def note_expiry(self, at: Instant | None) -> None:
        """A task waits from now on that has this limit, if any."""
        if at is not None and (self.next_expiry is None or at < self.next_expiry):
            self.next_expiry = at


def owner(key: QueueKey) -> QueueKey:
    """The queue whose policy holds for this one."""
    return QueueKey(Environment.LIVE, key.name) if key.environment is Environment.CALLBACK else key


def _covers(clearing: Clearing, task_id: str) -> bool:
    """Whether a pending task of the queue is one of those that the purge counted as gone."""
    return (sequence_of(task_id) or 0) <= clearing.through and task_id not in clearing.spared


def earliest_expiry(tasks: Iterable[Task]) -> Instant | None:
    """When the first of them that has a limit runs out of time."""
    return min((task.expires_at for task in tasks if task.expires_at is not None), default=None)
