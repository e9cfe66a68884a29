"""Answers: from the domain's values to JSON. Instants become RFC 3339, the payload keeps its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
from quart import Response

from aq.engine import Engine, TaskView
from aq.instants import SECOND, Instant, from_seconds, to_rfc3339
from aq.policy import QueuePolicy
from aq.rules import unstructure
from aq.task import Attempt, Queue, Status, Task

_MILLISECOND: Final = SECOND // 1_000


def answer(body: Mapping[str, Any], status: int = 200, *, location: str | None = None) -> Response:
    """A JSON answer."""
    response = Response(msgspec.json.encode(body), status=status, content_type="application/json")
    if location is not None:
        response.headers["Location"] = location
    return response


def task(task: Task, policy: QueuePolicy) -> dict[str, Any]:
    """A task without its payload and attempts; what it did not set itself shows as its queue's."""
    return _task(task, *Engine.in_force(task, policy))


def whole_task(view: TaskView) -> dict[str, Any]:
    """A task with everything that is kept of it."""
    return {
        **_task(view.task, view.max_retries, view.timeout),
        "payload": msgspec.Raw(view.payload),
        "attempts": [_attempt(attempt) for attempt in view.attempts],
    }


def queue(queue: Queue) -> dict[str, Any]:
    """A queue with its policy and counts."""
    return {
        "name": queue.key.name,
        **unstructure(queue.policy),
        "created_at": to_rfc3339(queue.created_at),
        "counts": unstructure(queue.counts),
    }


def _task(task: Task, max_retries: int, timeout: float) -> dict[str, Any]:
    return {
        "id": task.id,
        "queue": task.queue.name,
        "status": task.status,
        "priority": task.priority,
        "delay": task.delay,
        "created_at": to_rfc3339(task.created_at),
        "run_at": to_rfc3339(task.created_at + from_seconds(task.delay)),
        "due_at": to_rfc3339(task.due_at) if task.status is Status.PENDING else None,
        "webhook_url": task.webhook_url,
        "max_retries": max_retries,
        "timeout": timeout,
        "attempt": task.attempt if task.status is Status.ACTIVE else None,
        "started_at": _instant(task.started_at),
        "completed_at": _instant(task.finished_at if task.status is Status.COMPLETED else None),
        "failed_at": _instant(task.finished_at if task.status is Status.FAILED else None),
        "failure_reason": task.failure_reason,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    body = attempt.response_body
    return {
        "number": attempt.number,
        "status": attempt.status,
        "response_code": attempt.response_code,
        "executed_at": to_rfc3339(attempt.executed_at),
        "error_type": attempt.error_type,
        "error": attempt.error,
        "duration_ms": attempt.duration_us // _MILLISECOND,
        "lateness_ms": attempt.lateness_us // _MILLISECOND,
        "timing_ms": None if attempt.timing is None else attrs.asdict(attempt.timing),
        "response_body": None if body is None else body.decode("utf-8", "replace"),
    }


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
