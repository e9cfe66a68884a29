"""The domain's values as the JSON documents that people see. Pure.

Instants become RFC 3339, a payload keeps its bytes, and what is write-only shows as ``***``. Answers of the
API and the bodies of callbacks are made of the same documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
import msgspec
from attrs import frozen

from aq.instants import SECOND, Instant, from_seconds, to_rfc3339
from aq.policy import QueuePolicy
from aq.rules import unstructure
from aq.task import Attempt, Queue, Status, Task

HIDDEN: Final = "***"
_MILLISECOND: Final = SECOND // 1_000


@frozen
class Callback:
    """The delivery that tells of a task's end, as its task shows it. ``attempts`` is how many have begun."""

    id: str
    status: Status
    attempts: int = 0

    @classmethod
    def of(cls, task: Task) -> Callback:
        """From the task that the callback is kept as."""
        return cls(task.id, task.status, task.attempt)


class Backlog(Protocol):
    """How a queue's pending tasks stand: `aq.storage.answers.Backlog`, seen from here."""

    @property
    def scheduled(self) -> int:
        """Pending tasks that are not yet due."""

    @property
    def oldest_due_at(self) -> Instant | None:
        """The earliest due time of those that may run."""


def task_document(
    task: Task, max_retries: int, timeout: float, callback: Callback | None = None
) -> dict[str, Any]:
    """A task without its payload and attempts. ``max_retries`` and ``timeout`` are those in force."""
    options = task.options
    asked_for = task.created_at + from_seconds(task.delay) if options.run_at is None else options.run_at
    return {
        "id": task.id,
        "queue": task.queue.name,
        "status": task.status,
        "priority": task.priority,
        "delay": task.delay,
        "created_at": to_rfc3339(task.created_at),
        "run_at": to_rfc3339(asked_for),
        "due_at": to_rfc3339(task.due_at) if task.status is Status.PENDING else None,
        "expires_in": options.expires_in,
        "expires_at": _instant(task.expires_at),
        "webhook_url": task.webhook_url,
        "method": options.method,
        "headers": {name: HIDDEN for name, _ in options.headers},
        "max_retries": max_retries,
        "timeout": timeout,
        "ordering_key": task.ordering_key,
        "tags": list(options.tags),
        "callback_url": options.callback_url,
        "callback": None if callback is None else attrs.asdict(callback),
        "schedule_id": options.schedule_id,
        "attempt": task.attempt if task.status is Status.ACTIVE else None,
        "started_at": _instant(task.started_at),
        "completed_at": _instant(task.finished_at if task.status is Status.COMPLETED else None),
        "failed_at": _instant(task.finished_at if task.status is Status.FAILED else None),
        "failure_reason": task.failure_reason,
        "error_type": task.error_type,
    }


def whole_task_document(
    document: Mapping[str, Any], payload: bytes | None, attempts: Sequence[Attempt]
) -> dict[str, Any]:
    """A task's document with everything else that is kept of it; the payload byte for byte."""
    return {
        **document,
        "payload": None if payload is None else msgspec.Raw(payload),
        "attempts": [attempt_document(attempt) for attempt in attempts],
    }


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    """One attempt that has ended."""
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


def queue_document(
    queue: Queue, backlog: Backlog, rates: Mapping[str, float], now: Instant
) -> dict[str, Any]:
    """A queue with its policy, counts and pace.

    ``counts.scheduled`` are those of ``pending`` that are not yet due. ``lateness`` is how many seconds the
    oldest due task has waited. ``rates`` are per second: created, started, completed, failed.
    """
    return {
        "name": queue.key.name,
        **_policy_document(queue.policy),
        "created_at": to_rfc3339(queue.created_at),
        "counts": {
            "pending": queue.counts.pending,
            "scheduled": min(backlog.scheduled, queue.counts.pending),
            "active": queue.counts.active,
            "completed": queue.counts.completed,
            "failed": queue.counts.failed,
        },
        "lateness": _lateness(backlog.oldest_due_at, now),
        "rates": dict(rates),
    }


def event_of(task: Task) -> str:
    """What a callback calls the end of this task: ``task.completed`` or ``task.failed``."""
    return f"task.{task.status}"


def callback_body(event: str, task: Mapping[str, Any] | bytes) -> bytes:
    """``{"event": …, "task": …}``; ``task`` is a document, or the JSON text of one."""
    return msgspec.json.encode(
        {"event": event, "task": msgspec.Raw(task) if isinstance(task, bytes) else task}
    )


def snapshot(task: Task, document: Mapping[str, Any]) -> bytes:
    """What is kept for a callback when its task has ended: the body without payload and attempts.

    In place of the attempts stands their number, so that `joined` knows which of them the end had seen.
    """
    return callback_body(event_of(task), {**document, "payload": None, "attempts": task.attempt})


def joined(snapshot: bytes, payload: bytes | None, attempts: Sequence[Attempt]) -> bytes:
    """The body of a callback, from its `snapshot` and what the store holds of the task by now.

    ``payload`` is None when the task is gone. Attempts after the snapshot, of a task that was retried, are
    left out.
    """
    kept = msgspec.json.decode(snapshot, type=_Snapshot)
    seen = int(bytes(kept.task["attempts"]))
    until_then = [attempt for attempt in attempts if attempt.number <= seen]
    return callback_body(kept.event, whole_task_document(kept.task, payload, until_then))


class _Snapshot(msgspec.Struct):
    event: str
    task: dict[str, msgspec.Raw]


def _policy_document(policy: QueuePolicy) -> dict[str, Any]:
    secrets = policy.signing_secrets
    return {**unstructure(policy), "signing_secrets": None if secrets is None else [HIDDEN] * len(secrets)}


def _lateness(oldest_due_at: Instant | None, now: Instant) -> float:
    return 0.0 if oldest_due_at is None else max(0, now - oldest_due_at) / SECOND


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
