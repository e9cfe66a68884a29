"""Answers: documents as JSON, with the headers that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Response

from aq import documents, explanation, lifecycle
from aq.actors.messages import Receipt
from aq.actors.meter import Rates
from aq.api.answer import Answer
from aq.engine import TaskView
from aq.instants import Instant, to_rfc3339
from aq.policy import QueuePolicy
from aq.queues import QueueView
from aq.storage.answers import Backlog
from aq.task import Queue, Task


def answer(
    body: Mapping[str, Any], status: int = 200, *, location: str | None = None, replayed: bool = False
) -> Response:
    """As `told`, for Quart to send."""
    return told(body, status, location=location, replayed=replayed).response()


def told(
    body: Mapping[str, Any], status: int = 200, *, location: str | None = None, replayed: bool = False
) -> Answer:
    """A JSON answer. One that an earlier request got already is a 200, and says so."""
    headers = {"Content-Type": "application/json"}
    if location is not None:
        headers["Location"] = location
    if replayed:
        headers["Idempotent-Replay"] = "true"
    return Answer(200 if replayed else status, headers, msgspec.json.encode(body))


def nothing(status: int = 204) -> Response:
    """An answer that has no body, and says nothing of one (RFC 9110, 8.6)."""
    response = Response(b"", status=status)
    response.headers.clear()
    return response


def receipt(receipt: Receipt) -> dict[str, Any]:
    """A task as it was accepted."""
    return documents.task_document(receipt.task, receipt.max_retries, receipt.timeout)


def task(task: Task, policy: QueuePolicy) -> dict[str, Any]:
    """A task without its payload and attempts."""
    return documents.task_document(task, *lifecycle.in_force(task, policy))


def whole_task(view: TaskView) -> dict[str, Any]:
    """A task with everything that is kept of it."""
    callback = None if view.callback is None else documents.Callback.of(view.callback)
    document = documents.task_document(view.task, view.max_retries, view.timeout, callback)
    return documents.whole_task_document(document, view.payload, view.attempts)


def queue(view: QueueView) -> dict[str, Any]:
    """A queue with its policy, counts and pace."""
    return documents.queue_document(view.queue, view.backlog, view.rates._asdict(), view.at)


def new_queue(queue: Queue) -> dict[str, Any]:
    """A queue as it was made: nothing has happened in it yet, whenever this is told."""
    idle = dict.fromkeys(Rates._fields, 0.0)
    return documents.queue_document(queue, Backlog(), idle, queue.created_at)


def explained(told: explanation.Explanation) -> dict[str, Any]:
    """Why a task is not running."""
    return {
        "task_id": told.task.id,
        "status": told.task.status,
        "reasons": [
            {"reason": it.why, "detail": it.detail, "until": _instant(it.until)} for it in told.reasons
        ],
        "tasks_ahead": told.ahead,
        "tasks_ahead_exact": told.exact,
        "retries": [{"attempt": it.attempt, "wait": it.wait, "at": to_rfc3339(it.at)} for it in told.retries],
    }


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
