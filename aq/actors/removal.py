"""Deleting one pending task."""

from __future__ import annotations

from functools import partial

from aq.actors.desk import Desk
from aq.actors.messages import Remove
from aq.actors.outbox import Then, answering, not_deletable
from aq.storage.answers import Answer, Applied, Reason, Refused
from aq.storage.changes import Delete


class Removal:
    """Once it is answered, the task will never be delivered."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def remove(self, message: Remove) -> None:
        desk = self._desk
        if message.task_id in desk.agenda.running:
            message.reply.fail(not_deletable(Refused(Reason.STATE)))
            return
        desk.agenda.remove(message.task_id)
        answer = answering(message.reply, None, refused=not_deletable)
        desk.outbox.put(
            [Delete(desk.key, message.task_id)],
            self._removed,
            first=partial(self._told, message.task_id, answer),
        )

    def _told(self, task_id: str, answer: Then, settled: Answer | Exception) -> None:
        answer(settled)
        if isinstance(settled, Applied):
            self._desk.chronicle.deleted(task_id)

    def _removed(self, answer: Answer | Exception) -> None:
        if isinstance(answer, Applied):
            self._desk.released(answer)
        elif isinstance(answer, Exception):
            self._desk.agenda.invalidate()
