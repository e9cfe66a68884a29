"""The end of an attempt, or of a task without one: what is written, and who is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from aq import documents, lifecycle
from aq.actors.desk import Desk
from aq.actors.messages import Arrived
from aq.actors.outbox import Then
from aq.actors.patience import patiently
from aq.actors.record import QueueRecord
from aq.instants import Instant
from aq.storage.answers import Answer, Applied, Entry
from aq.storage.changes import Change, Insert, Record, Update
from aq.storage.protocol import Storage
from aq.task import Attempt, Environment, Status, Task


class End(msgspec.Struct, frozen=True):
    """What an end writes; ``task`` is the task afterwards, ``callback`` the delivery that tells of it."""

    task: Task
    changes: Sequence[Change]
    at: Instant
    callback: Task | None = None
    attempt: Attempt | None = None
    """None where the task ended without one."""


class Ends:
    """Writes ends. With the end of a task that has a ``callback_url`` its callback is written."""

    def __init__(self, desk: Desk, record: QueueRecord) -> None:
        self._desk = desk
        self._record = record

    def end(self, after: Task, was: Status, attempt: Attempt | None = None) -> End:
        """Made of the task as it is now; to be put by the caller, who then calls `told` or uses `put`."""
        at = self._desk.now
        callback = None
        if after.status.final and after.options.callback_url is not None:
            self._record.ensure_callbacks(at)
            callback = lifecycle.callback(
                after, callback_id=self._desk.services.minter.mint(at, "cb_"), now=at
            )
            after = replace(after, callback_id=callback.id)
        changes: list[Change] = [Update(after, was=was)]
        if attempt is not None:
            changes.append(Record(after.id, attempt))
        if callback is not None:
            changes.append(Insert(callback, self._snapshot(after, callback)))
        return End(after, changes, at, callback, attempt)

    def put(self, end: End, then: Then, *, insists: bool) -> None:
        self._desk.outbox.put(end.changes, then, insists=insists, first=partial(self._told, end))

    def told(self, end: End) -> None:
        """It is durable."""
        if end.attempt is not None:
            self._desk.chronicle.attempted(end.task, end.attempt)
        if end.task.queue.environment is not Environment.CALLBACK:
            self._desk.chronicle.ended(end.task, end.at)
        if end.callback is not None:
            self._desk.services.tell(end.callback.queue, Arrived([Entry.of(end.callback)]))

    def _told(self, end: End, answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            self.told(end)

    def _snapshot(self, task: Task, callback: Task) -> bytes:
        shown = documents.Callback.of(callback)
        in_force = lifecycle.in_force(task, self._desk.policy)
        return documents.snapshot(task, documents.task_document(task, *in_force, shown))


async def callback_body(storage: Storage, task_id: str, snapshot: bytes) -> bytes:
    """What a callback sends: the task as it ended, with what is kept of its payload and attempts."""
    stored = await patiently(lambda: storage.task(task_id))
    if stored is None:
        return documents.joined(snapshot, None, ())
    return documents.joined(snapshot, stored.payload, stored.attempts)
