"""What one queue tells the outside, once it is durable: who waits for an end, the event feed, the meter,
the totals and the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from aq.actors.services import Services
from aq.instants import Instant, to_rfc3339
from aq.outcome import AttemptStatus
from aq.task import Attempt, QueueKey, Status, Task

logger = logging.getLogger(__name__)


class Chronicle:
    """The same words for the same happenings, whoever made them happen.

    Callbacks are told to nobody but the log and the totals.
    """

    def __init__(self, key: QueueKey, services: Services) -> None:
        self._key = key
        self._feed = services.feed
        self._meter = services.meter
        self._totals = services.totals.of(key)
        self._waiters = services.waiters
        self._clock = services.clock

    def created(self, task: Task) -> None:
        self._totals.created += 1
        self._meter.count(self._key, task.created_at, created=1)
        self._feed.publish("task.created", self._key, task.created_at, task.id)

    def started(self, task: Task, at: Instant) -> None:
        self._totals.late_us.add(at - task.due_at)
        self._meter.count(self._key, at, started=1)
        self._meter.late(self._key, at, at - task.due_at)
        self._feed.publish("task.started", self._key, at, task.id, attempt=task.attempt)

    def attempted(self, task: Task, attempt: Attempt) -> None:
        """An attempt has ended, of a callback too; `ended` follows, but for callbacks."""
        self._totals.attempted(attempt)
        level = logging.DEBUG if attempt.status is AttemptStatus.SUCCESS else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(level, "an attempt has ended", extra=_told_of(task, attempt))

    def ended(self, task: Task, at: Instant) -> None:
        """An attempt ended, or the task without one."""
        if task.status is Status.PENDING:
            self.retrying(task, at)
        elif task.status is Status.COMPLETED:
            self._totals.completed += 1
            self._meter.count(self._key, at, completed=1)
            self._feed.publish("task.completed", self._key, at, task.id, attempt=task.attempt)
            self._waiters.tell(task.id)
        else:
            self._totals.failed_for_good(task.failure_reason)
            self._meter.count(self._key, at, failed=1)
            self._feed.publish(
                "task.failed",
                self._key,
                at,
                task.id,
                attempt=task.attempt,
                error_type=task.error_type,
                failure_reason=task.failure_reason,
            )
            self._waiters.tell(task.id)

    def retrying(self, task: Task, at: Instant) -> None:
        """It waits for a retry, of its queue's policy or by hand; ``task.attempt`` was its latest."""
        self._totals.retried += 1
        self._meter.count(self._key, at, retried=1)
        self._feed.publish(
            "task.retrying",
            self._key,
            at,
            task.id,
            attempt=task.attempt,
            error_type=task.error_type,
            due_at=to_rfc3339(task.due_at),
        )

    def deleted(self, task_id: str) -> None:
        self._totals.deleted += 1
        self._feed.publish("task.deleted", self._key, self._clock.now(), task_id)
        self._waiters.tell(task_id)

    def queue(self, what: str, **data: Any) -> None:
        """``what`` is created, updated, paused, resumed, purged or deleted."""
        self._feed.publish(f"queue.{what}", self._key, self._clock.now(), **data)


def _told_of(task: Task, attempt: Attempt) -> Mapping[str, object]:
    """For a log: names, numbers and the host; nothing that a client or a receiver has written."""
    return {
        "queue": str(task.queue),
        "task_id": task.id,
        "attempt": attempt.number,
        "outcome": attempt.status.value,
        "error_type": attempt.error_type,
        "code": attempt.response_code,
        "duration_ms": attempt.duration_us / 1_000,
        "lateness_ms": attempt.lateness_us / 1_000,
        "host": task.destination.partition("://")[2],
        "trace_id": None if task.traceparent is None else task.traceparent.split("-")[1],
    }
