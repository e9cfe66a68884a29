"""Domain values as rows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from attrs import astuple, fields

from aq.outcome import AttemptStatus, ErrorType, Timing
from aq.policy import QueuePolicy
from aq.rules import structure, unstructure
from aq.storage.draft import RANK, STATUSES
from aq.target import parse_target
from aq.task import Attempt, Counts, Environment, FailureReason, Queue, QueueKey, Status, Task

ENVIRONMENTS: Final = tuple(Environment)
ENVIRONMENT_RANK: Final[Mapping[Environment, int]] = {name: rank for rank, name in enumerate(ENVIRONMENTS)}

_STATUS: Final = [field.name for field in fields(Task)].index("status") - 2
"""The place of a task's status in its columns, after id and queue."""


class StoredHead(NamedTuple):
    """A `aq.storage.draft.Head` read from a row."""

    id: str
    queue: QueueKey
    status: Status
    version: int


def head_of(columns: Sequence[Any]) -> StoredHead:
    """From the columns of `aq.storage.sqlite.statements.HEADS`, without the sequence."""
    task_id, environment, name, status, version = columns
    return StoredHead(task_id, QueueKey(ENVIRONMENTS[environment], name), STATUSES[status], version)


def inserted_row(sequence: int, task: Task, queue_id: int) -> tuple[Any, ...]:
    """A row of ``tasks``, whole."""
    return (
        sequence,
        task.id,
        ENVIRONMENT_RANK[task.queue.environment],
        queue_id,
        RANK[task.status],
        task.version,
        task.priority,
        task.due_at,
        str(parse_target(task.webhook_url).destination),
        None,
        task.webhook_url,
        task.delay,
        task.created_at,
        task.max_retries,
        task.timeout,
        task.traceparent,
        task.attempt,
        task.failures,
        task.unknowns,
        task.started_at,
        task.finished_at,
        task.failure_reason,
    )


def updated_row(sequence: int, task: Task) -> tuple[Any, ...]:
    """The columns of ``tasks`` that an Update may change (rule 6)."""
    return (
        sequence,
        RANK[task.status],
        task.version,
        task.priority,
        task.due_at,
        task.max_retries,
        task.timeout,
        task.attempt,
        task.failures,
        task.unknowns,
        task.started_at,
        task.finished_at,
        task.failure_reason,
    )


def task_of(columns: Sequence[Any]) -> Task:
    """From the columns `aq.storage.sqlite.statements.TASK`, which stand in the order of the fields."""
    task_id, environment, name, *rest = columns
    rest[_STATUS] = STATUSES[rest[_STATUS]]
    if rest[-1] is not None:
        rest[-1] = FailureReason(rest[-1])
    return Task(task_id, QueueKey(ENVIRONMENTS[environment], name), *rest)


def attempt_row(sequence: int, attempt: Attempt) -> tuple[Any, ...]:
    """A row of ``attempts``."""
    timing = attempt.timing
    return (
        sequence,
        attempt.number,
        attempt.status.value,
        attempt.executed_at,
        attempt.duration_us,
        attempt.lateness_us,
        attempt.response_code,
        attempt.error_type,
        attempt.error,
        attempt.response_body,
        None if timing is None else msgspec.json.encode(astuple(timing)).decode(),
    )


def attempt_of(row: Sequence[Any]) -> Attempt:
    """From a row of ``attempts`` without the sequence."""
    number, status, executed_at, duration, lateness, code, error_type, error, body, timing = row
    return Attempt(
        number=number,
        status=AttemptStatus(status),
        executed_at=executed_at,
        duration_us=duration,
        lateness_us=lateness,
        response_code=code,
        error_type=None if error_type is None else ErrorType(error_type),
        error=error,
        response_body=body,
        timing=None if timing is None else Timing(*msgspec.json.decode(timing)),
    )


def policy_text(policy: QueuePolicy) -> str:
    return msgspec.json.encode(unstructure(policy)).decode()


def queue_of(columns: Sequence[Any]) -> Queue:
    """From the columns `aq.storage.sqlite.statements.QUEUE`."""
    environment, name, policy, created_at, version, *counts = columns
    return Queue(
        key=QueueKey(ENVIRONMENTS[environment], name),
        policy=structure(msgspec.json.decode(policy), QueuePolicy),
        created_at=created_at,
        version=version,
        counts=Counts(*counts),
    )
