"""How a commit writes its tasks: every row with the columns that it needs, since each column costs."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, Final

from aq.storage.answers import Answer, Applied
from aq.storage.draft import Draft
from aq.storage.sqlite import bulk
from aq.storage.sqlite.before import QueueRow, StoredBefore
from aq.storage.sqlite.connection import Connection
from aq.storage.sqlite.rows import (
    NOTHING_RARE,
    attempt_row,
    ended_row,
    inserted_row,
    kept_columns,
    options_text,
    rare_columns,
    started_row,
)
from aq.task import QueueKey, Status, Task

MOST_MIXED: Final = 8_192
"""Pending tasks of a queue up to which they are in no lane: each lane costs a commit a page."""


class Places:
    """Where tasks belong: the number of their queue, and the lane of those that wait, if they have one."""

    def __init__(self, rows: Mapping[QueueKey, QueueRow], moved: Mapping[QueueKey, Sequence[int]]) -> None:
        self._rows = rows
        self._moved = moved
        self._told_apart: dict[QueueKey, bool] = {}
        self.any_pending = False
        """Whether somebody asked for the lane of a task that is pending."""

    def number(self, task: Task) -> int:
        return self._rows[task.queue].id

    def lane(self, task: Task) -> str | None:
        if task.status is not Status.PENDING:
            return None
        self.any_pending = True
        told_apart = self._told_apart.get(task.queue)
        if told_apart is None:
            pending = self._rows[task.queue].pending + self._moved.get(task.queue, (0,))[0]
            told_apart = self._told_apart[task.queue] = pending > MOST_MIXED
        return task.destination if told_apart else None


def write_tasks(
    db: Connection, draft: Draft, answers: Sequence[Answer], before: StoredBefore, places: Places
) -> None:
    """All but the deletions."""
    if inserted := draft.inserted():
        _insert(db, draft, inserted, places)
    started = {id(task) for answer in answers if isinstance(answer, Applied) for task, _ in answer.started}
    _update(db, draft, before, places, started)
    if draft.held:
        marks = [(sequence, mark) for sequence, mark in draft.held.items() if sequence not in draft.tasks]
        bulk.MARK_TASKS.run(db, marks)
    attempts = [
        attempt_row(sequence, attempt) for sequence, made in draft.records.items() for attempt in made
    ]
    bulk.PUT_ATTEMPTS.run(db, attempts)


def _insert(
    db: Connection, draft: Draft, inserted: Sequence[tuple[int, Task, bytes]], places: Places
) -> None:
    plain: list[tuple[Any, ...]] = []
    whole: list[tuple[Any, ...]] = []
    for sequence, task, _ in inserted:
        row, options = inserted_row(sequence, task, places.number(task)), options_text(task.options)
        rare = rare_columns(task, draft.held.get(sequence, False), places.lane(task))
        if options is None and rare is NOTHING_RARE:
            plain.append(row)
        else:
            whole.append((*row, options, *rare))
    bulk.INSERT_PLAIN_TASKS.run(db, plain)
    bulk.INSERT_TASKS.run(db, whole)
    bulk.INSERT_PAYLOADS.run(db, [(sequence, payload) for sequence, _, payload in inserted])


def _update(
    db: Connection, draft: Draft, before: StoredBefore, places: Places, just_started: Container[int]
) -> None:
    """A task as a Start left it, one version above the stored one, differs from it by that alone."""
    started: list[tuple[Any, ...]] = []
    ended: list[tuple[Any, ...]] = []
    whole: list[tuple[Any, ...]] = []
    for sequence, task in draft.updated():
        if id(task) in just_started and task.ordering_key is None:
            stored, _ = before.to_start[sequence]
            if task.version == stored.version + 1:
                started.append(started_row(sequence, task))
                continue
        rare = rare_columns(task, draft.held.get(sequence, False), places.lane(task))
        row, kept = ended_row(sequence, task), kept_columns(task)
        if rare is NOTHING_RARE and kept == before.kept.get(sequence) and task.status is not Status.PENDING:
            ended.append(row)
        else:
            whole.append((*row, *kept, *rare))
    bulk.START_TASKS.run(db, started)
    bulk.END_TASKS.run(db, ended)
    bulk.UPDATE_TASKS.run(db, whole)
