"""How a task moves from state to state: one table, and the functions that apply it. Pure.

Time and chance are arguments. Every function returns a new `Task` whose ``version`` is one higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec.structs import replace

from aq.errors import FieldError, ValidationError
from aq.instants import Instant, from_datetime, from_seconds
from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.policy import QueuePolicy
from aq.task import (
    DEFAULT_PRIORITY,
    NO_OPTIONS,
    NO_TRACE,
    Attempt,
    Environment,
    FailureReason,
    Method,
    NewTask,
    Options,
    QueueKey,
    Status,
    Task,
    TraceContext,
)


class Event(StrEnum):
    """What can happen to a task, told as a past event."""

    SUBMITTED = "submitted"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    REVIVED = "revived"
    DELETED = "deleted"


TRANSITIONS: Final[Mapping[tuple[Status | None, Event], Status | None]] = {
    (None, Event.SUBMITTED): Status.PENDING,
    (Status.PENDING, Event.STARTED): Status.ACTIVE,
    (Status.PENDING, Event.EXPIRED): Status.FAILED,
    (Status.PENDING, Event.DELETED): None,
    (Status.ACTIVE, Event.SUCCEEDED): Status.COMPLETED,
    (Status.ACTIVE, Event.RETRIED): Status.PENDING,
    (Status.ACTIVE, Event.EXHAUSTED): Status.FAILED,
    (Status.ACTIVE, Event.EXPIRED): Status.FAILED,
    (Status.FAILED, Event.REVIVED): Status.PENDING,
}
"""(state, event) → state; None is "no such task". What is not listed cannot happen."""

UNKNOWNS_FORGIVEN: Final = 5
"""So many attempts in a row may end unknown at no cost; each further one counts as a failure."""

MAX_RETRY_AFTER: Final = 86_400
"""A receiver may ask for at most a day (seconds)."""


_NOTHING: Final = (None,) * 6
MAX_AHEAD: Final = 31_536_000
"""``run_at`` may lie at most a year ahead (seconds)."""


def submitted(
    new: NewTask,
    *,
    task_id: str,
    queue: QueueKey,
    now: Instant,
    wall_ahead: int = 0,
    trace: TraceContext = NO_TRACE,
    schedule_id: str | None = None,
    slot: Instant | None = None,
) -> Task:
    """The task that a request makes, due ``delay`` seconds from now or when the wall clock shows ``run_at``.

    ``wall_ahead`` is by how much the wall clock is ahead of the service clock, in microseconds. Raises
    ValidationError for times that cannot be meant.
    """
    due_at, expires_at = times(new, now, wall_ahead)
    run_at = None if new.run_at is None else from_datetime(new.run_at)
    return Task(
        id=task_id,
        queue=queue,
        webhook_url=new.webhook_url,
        priority=new.priority,
        delay=new.delay,
        created_at=now,
        due_at=due_at,
        max_retries=new.max_retries,
        timeout=new.timeout,
        traceparent=trace.traceparent,
        ordering_key=new.ordering_key,
        options=_options(new, run_at, schedule_id, slot, trace.tracestate),
        expires_at=expires_at,
    )


def times(new: NewTask, now: Instant, wall_ahead: int = 0) -> tuple[Instant, Instant | None]:
    """When a task that is submitted now is due, and when it expires. As `submitted` has it."""
    due_at = now + from_seconds(new.delay)
    if new.run_at is not None:
        due_at = max(now, from_datetime(new.run_at) - wall_ahead)
    if due_at - now > from_seconds(MAX_AHEAD):
        raise ValidationError([FieldError("run_at", "must be at most 365 days ahead")])
    expires_at = None if new.expires_in is None else now + from_seconds(new.expires_in)
    if expires_at is not None and expires_at <= due_at:
        raise ValidationError([FieldError("expires_in", "must be longer than the task waits for its start")])
    return due_at, expires_at


def _options(
    new: NewTask,
    run_at: Instant | None,
    schedule_id: str | None,
    slot: Instant | None,
    tracestate: str | None,
) -> Options:
    asked = run_at, schedule_id, slot, tracestate, new.expires_in, new.callback_url
    if asked == _NOTHING and new.method is Method.POST and not (new.headers or new.tags):
        return NO_OPTIONS
    return Options(
        method=new.method,
        headers=tuple(new.headers),
        run_at=run_at,
        expires_in=new.expires_in,
        callback_url=new.callback_url,
        tags=new.tags,
        schedule_id=schedule_id,
        slot=slot,
        tracestate=tracestate,
    )


def started(task: Task, now: Instant) -> Task:
    """The next attempt begins."""
    return replace(
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


def expired(task: Task, *, now: Instant) -> Task:
    """Its time ran out while it waited, or would before its retry: failed, without another attempt."""
    return _settled(
        task,
        Event.EXPIRED,
        finished_at=now,
        failure_reason=FailureReason.EXPIRED,
        error_type=ErrorType.EXPIRED,
    )


def revived(task: Task, *, now: Instant) -> Task:
    """A failed task waits again, due now: history and numbers go on, allowances are fresh."""
    expires_in = task.options.expires_in
    return _settled(
        task,
        Event.REVIVED,
        due_at=now,
        failures=0,
        unknowns=0,
        finished_at=None,
        failure_reason=None,
        callback_id=None,
        expires_at=None if expires_in is None else now + from_seconds(expires_in),
    )


def callback(task: Task, *, callback_id: str, now: Instant) -> Task:
    """The delivery that tells ``callback_url`` of a task's end: a task beside its queue, with its retries."""
    if task.options.callback_url is None or not task.status.final:
        raise ValueError(f"{task.id} has no end to tell of, or nobody to tell")
    return Task(
        id=callback_id,
        queue=QueueKey(Environment.CALLBACK, task.queue.name),
        webhook_url=task.options.callback_url,
        priority=DEFAULT_PRIORITY,
        delay=0,
        created_at=now,
        due_at=now,
        traceparent=task.traceparent,
        options=Options(tells_of=task.id, tracestate=task.options.tracestate),
    )


def in_force(task: Task, policy: QueuePolicy) -> tuple[int, float]:
    """The max_retries and timeout (seconds) that hold for a task: its own, else its queue's."""
    return (
        policy.max_retries if task.max_retries is None else task.max_retries,
        policy.timeout if task.timeout is None else task.timeout,
    )


def _judged(task: Task, outcome: Outcome, policy: QueuePolicy, now: Instant, chance: float) -> Task:
    if outcome.succeeded:
        return _settled(task, Event.SUCCEEDED, unknowns=0, finished_at=now, error_type=None)
    unknown = outcome.status is AttemptStatus.UNKNOWN
    unknowns = task.unknowns + 1 if unknown else 0
    forgiven = unknown and unknowns <= UNKNOWNS_FORGIVEN
    failures = task.failures if forgiven else task.failures + 1
    known = {"failures": failures, "unknowns": unknowns, "error_type": outcome.error_type}
    if outcome.final or failures > in_force(task, policy)[0]:
        reason = FailureReason.GONE if outcome.final else FailureReason.EXHAUSTED
        return _settled(task, Event.EXHAUSTED, **known, finished_at=now, failure_reason=reason)
    wait = 0 if forgiven else policy.retry_wait_us(failures, chance)
    asked = from_seconds(min(outcome.retry_after or 0, MAX_RETRY_AFTER))
    due_at = now + max(wait, asked)
    if task.expires_at is not None and task.expires_at <= due_at:
        return expired(replace(task, **known), now=now)
    return _settled(task, Event.RETRIED, **known, due_at=due_at)


def _settled(task: Task, event: Event, **changes: Any) -> Task:
    return replace(
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
