"""How a task moves from state to state: one table, and the functions that apply it. Pure.

Time and chance are arguments. Every function returns a new `Task` whose ``version`` is one higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from attrs import evolve

from aq.instants import Instant, from_seconds
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.policy import QueuePolicy
from aq.task import Attempt, FailureReason, NewTask, QueueKey, Status, Task


class Event(StrEnum):
    """What can happen to a task, told as a past event."""

    SUBMITTED = "submitted"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    EXHAUSTED = "exhausted"
    DELETED = "deleted"


TRANSITIONS: Final[Mapping[tuple[Status | None, Event], Status | None]] = {
    (None, Event.SUBMITTED): Status.PENDING,
    (Status.PENDING, Event.STARTED): Status.ACTIVE,
    (Status.PENDING, Event.DELETED): None,
    (Status.ACTIVE, Event.SUCCEEDED): Status.COMPLETED,
    (Status.ACTIVE, Event.RETRIED): Status.PENDING,
    (Status.ACTIVE, Event.EXHAUSTED): Status.FAILED,
}
"""(state, event) → state; None is "no such task". What is not listed cannot happen."""

UNKNOWNS_FORGIVEN: Final = 5
"""So many attempts in a row may end unknown at no cost; each further one counts as a failure."""

MAX_RETRY_AFTER: Final = 86_400
"""A receiver may ask for at most a day (seconds)."""


def submitted(new: NewTask, *, task_id: str, queue: QueueKey, now: Instant, traceparent: str | None) -> Task:
    """The task that a request makes, due ``delay`` seconds from now."""
    return Task(
        id=task_id,
        queue=queue,
        webhook_url=new.webhook_url,
        priority=new.priority,
        delay=new.delay,
        created_at=now,
        due_at=now + from_seconds(new.delay),
        max_retries=new.max_retries,
        timeout=new.timeout,
        traceparent=traceparent,
    )


def started(task: Task, now: Instant) -> Task:
    """The next attempt begins."""
    return evolve(
        task,
        status=_after(task, Event.STARTED),
        version=task.version + 1,
        attempt=task.attempt + 1,
        started_at=now,
    )


def ended(
    task: Task, outcome: Outcome, policy: QueuePolicy, *, now: Instant, chance: float
) -> tuple[Task, Attempt]:
    """The running attempt ended: the task as it is now, and the attempt for its history.

    ``chance``, uniform in [0, 1), is the jitter's. The wait before a retry counts from ``now``.
    """
    if task.started_at is None:
        raise ValueError(f"{task.id} has no attempt running")
    attempt = Attempt(
        number=task.attempt,
        status=outcome.status,
        executed_at=task.started_at,
        duration_us=now - task.started_at,
        lateness_us=task.started_at - task.due_at,
        response_code=outcome.response_code,
        error_type=outcome.error_type,
        error=outcome.error,
        response_body=outcome.response_body,
        timing=outcome.timing,
    )
    return _judged(task, outcome, policy, now, chance), attempt


def interrupted(task: Task, policy: QueuePolicy, *, now: Instant, chance: float) -> tuple[Task, Attempt]:
    """The process ended in mid-attempt: recorded as unknown, due again at once, at no cost in retries."""
    outcome = Outcome(
        status=AttemptStatus.UNKNOWN,
        error_type=ErrorType.UNKNOWN,
        error="the service stopped before the outcome was known",
    )
    return ended(task, outcome, policy, now=now, chance=chance)


def _judged(task: Task, outcome: Outcome, policy: QueuePolicy, now: Instant, chance: float) -> Task:
    if outcome.succeeded:
        return _left_active(task, Event.SUCCEEDED, failures=task.failures, unknowns=0, finished_at=now)
    unknown = outcome.status is AttemptStatus.UNKNOWN
    unknowns = task.unknowns + 1 if unknown else 0
    forgiven = unknown and unknowns <= UNKNOWNS_FORGIVEN
    failures = task.failures if forgiven else task.failures + 1
    max_retries = policy.max_retries if task.max_retries is None else task.max_retries
    if outcome.final or failures > max_retries:
        reason = FailureReason.GONE if outcome.final else FailureReason.EXHAUSTED
        return _left_active(
            task,
            Event.EXHAUSTED,
            failures=failures,
            unknowns=unknowns,
            finished_at=now,
            failure_reason=reason,
        )
    wait = 0 if forgiven else policy.retry_wait_us(failures, chance)
    asked = from_seconds(min(outcome.retry_after or 0, MAX_RETRY_AFTER))
    return _left_active(
        task, Event.RETRIED, failures=failures, unknowns=unknowns, due_at=now + max(wait, asked)
    )


def _left_active(task: Task, event: Event, **changes: Any) -> Task:
    return evolve(
        task,
        status=_after(task, event),
        version=task.version + 1,
        started_at=None,
        **changes,
    )


def _after(task: Task, event: Event) -> Status:
    status = TRANSITIONS.get((task.status, event))
    if status is None:
        raise ValueError(f"{task.id} is {task.status}: it cannot be {event}")
    return status
