"""Why a task is not running, and when it will be tried again. Pure."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from aq.instants import Instant, from_seconds
from aq.lifecycle import in_force
from aq.policy import QueuePolicy
from aq.task import Status, Task


class Why(StrEnum):
    """What stands between a task and its next attempt."""

    SCHEDULED = "scheduled"
    """It is not due yet."""
    PAUSED = "paused"
    RATE_LIMIT = "rate_limit"
    CONCURRENCY = "concurrency"
    """Its queue's slots are taken."""
    DESTINATION_CONCURRENCY = "destination_concurrency"
    DESTINATION_HELD = "destination_held"
    """Its receiver asked for a pause (Retry-After)."""
    ORDERING_KEY = "ordering_key"
    """An earlier task of its ordering key has not ended."""
    TASKS_AHEAD = "tasks_ahead"
    SERVER_BUSY = "server_busy"
    """Every attempt that the server may have in flight is taken by the queues."""
    QUARANTINED = "quarantined"
    STORAGE = "storage"
    """Nothing can be written for now."""
    DRAINING = "draining"
    SANDBOX = "sandbox"
    """Sandbox tasks are never delivered."""
    RUNNING = "running"
    ENDED = "ended"


@frozen
class Reason:
    """One thing in the way; ``until`` where it is known when it will be out of it."""

    why: Why
    detail: str
    until: Instant | None = None


@frozen
class Retry:
    """One retry to come, should every attempt before it fail at once.

    ``wait`` is in seconds and without jitter, which only adds.
    """

    attempt: int
    wait: float
    at: Instant


@frozen
class Explanation:
    """``ahead`` counts the tasks that start before it; where storage may hold more, it is not ``exact``."""

    task: Task
    reasons: tuple[Reason, ...]
    ahead: int = 0
    exact: bool = True
    retries: tuple[Retry, ...] = ()


def calendar(task: Task, policy: QueuePolicy, now: Instant) -> tuple[Retry, ...]:
    """The retries that a task has left, after the attempt that waits or runs."""
    if task.status.final:
        return ()
    first = task.attempt + (task.status is Status.PENDING)
    at = max(task.due_at, now)
    retries = []
    for failures in range(task.failures + 1, in_force(task, policy)[0] + 1):
        wait = policy.retry_wait_us(failures, 0)
        at += wait
        if task.expires_at is not None and at >= task.expires_at:
            break
        retries.append(Retry(first + failures - task.failures, wait / from_seconds(1), at))
    return tuple(retries)
