"""Domain values as rows, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from attrs import asdict

from aq.apikey import ApiKey, Scope
from aq.instants import Instant
from aq.outcome import AttemptStatus, ErrorType, Timing
from aq.policy import QueuePolicy
from aq.rules import structure, unstructure
from aq.schedule import Schedule
from aq.storage.answers import Entry
from aq.storage.before import RANK, STATUSES, Contender
from aq.storage.changes import Claim
from aq.task import (
    NO_OPTIONS,
    Attempt,
    Clearing,
    Counts,
    Environment,
    FailureReason,
    Options,
    Queue,
    QueueKey,
    Revival,
    Status,
    Task,
)

ENVIRONMENTS: Final = tuple(Environment)
ENVIRONMENT_RANK: Final[Mapping[Environment, int]] = {name: rank for rank, name in enumerate(ENVIRONMENTS)}

_FIELDS: Final = Task.__struct_fields__
_OPTIONS: Final = _FIELDS.index("options") - 2
"""The place in a task's columns, after id and queue."""
_STATUS: Final = _FIELDS.index("status") - 2
_REASON: Final = _FIELDS.index("failure_reason") - 2
_ERROR: Final = _FIELDS.index("error_type") - 2
_DEFAULTS: Final = asdict(NO_OPTIONS, recurse=False)
NOTHING_RARE: Final = (None, None, None, False, None)


class StoredHead(NamedTuple):
    """A `aq.storage.before.Head` read from a row."""

    id: str
    queue: QueueKey
    status: Status
    version: int
    due_at: Instant
    ordering_key: str | None


@lru_cache(maxsize=4_096)
def queue_key(environment: int, name: str) -> QueueKey:
    return QueueKey(ENVIRONMENTS[environment], name)


def head_of(key: QueueKey, columns: Sequence[Any]) -> StoredHead:
    """From id, status, version, due_at and ordering_key."""
    task_id, status, version, due_at, ordering_key = columns
    return StoredHead(task_id, key, STATUSES[status], version, due_at, ordering_key)


def contender_of(columns: Sequence[Any]) -> Contender:
    """From the columns of `aq.storage.sqlite.statements.CONTENDERS`."""
    sequence, status, held, *entry = columns
    return Contender(sequence, STATUSES[status], bool(held), Entry(*entry))


def inserted_row(sequence: int, task: Task, queue_id: int) -> tuple[Any, ...]:
    """A row of ``tasks`` without options and the rare columns."""
    return (
        sequence,
        task.id,
        ENVIRONMENT_RANK[task.queue.environment],
        queue_id,
        RANK[task.status],
        task.version,
        task.priority,
        task.due_at,
        task.destination,
        task.ordering_key,
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


def ended_row(sequence: int, task: Task) -> tuple[Any, ...]:
    """The columns of ``tasks`` that the end of an attempt changes."""
    return (
        sequence,
        RANK[task.status],
        task.version,
        task.failures,
        task.unknowns,
        task.started_at,
        task.finished_at,
        task.failure_reason,
    )


def kept_columns(task: Task) -> tuple[Any, ...]:
    """The columns that an Update may change as well (rule 6), and mostly keeps."""
    return task.priority, task.due_at, task.max_retries, task.timeout, task.attempt


def started_row(sequence: int, task: Task) -> tuple[Any, ...]:
    """The columns of ``tasks`` that a Start changes."""
    return sequence, RANK[task.status], task.version, task.attempt, task.started_at


def rare_columns(task: Task, held: bool, lane: str | None) -> tuple[Any, ...]:
    """The columns that few tasks have; `NOTHING_RARE` itself for one that has none of them."""
    found = task.error_type, task.expires_at, task.callback_id, held, lane
    return NOTHING_RARE if found == NOTHING_RARE else found


def task_of(columns: Sequence[Any]) -> Task:
    """From the columns `aq.storage.sqlite.statements.TASK`, which stand in the order of the fields."""
    task_id, environment, name, *rest = columns
    options, rest[_STATUS] = rest[_OPTIONS], STATUSES[rest[_STATUS]]
    rest[_OPTIONS] = NO_OPTIONS if options is None else msgspec.json.decode(options, type=Options)
    if rest[_REASON] is not None:
        rest[_REASON] = FailureReason(rest[_REASON])
    if rest[_ERROR] is not None:
        rest[_ERROR] = ErrorType(rest[_ERROR])
    return Task(task_id, queue_key(environment, name), *rest)


def options_text(options: Options) -> str | None:
    """JSON of what is not the default; None where nothing is."""
    if options is NO_OPTIONS:
        return None
    plain = asdict(options, recurse=False)
    told = {name: value for name, value in plain.items() if value != _DEFAULTS[name]}
    return _text(told) if told else None


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
        None if timing is None else _text(timing.spans),
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


def queue_row(queue: Queue) -> tuple[Any, ...]:
    """The columns of ``queues`` that PutQueue sets."""
    clearing, revival = queue.clearing, queue.revival
    return (
        _text(unstructure(queue.policy)),
        queue.version,
        queue.created_at,
        None if clearing is None else _text(clearing),
        None if revival is None else _text(revival),
    )


def queue_of(columns: Sequence[Any]) -> Queue:
    """From the columns of `aq.storage.sqlite.statements.ONE_QUEUE`."""
    environment, name, policy, created_at, version, *counts, clearing, revival = columns
    return Queue(
        key=queue_key(environment, name),
        policy=policy_of(policy),
        created_at=created_at,
        version=version,
        counts=Counts(*counts),
        clearing=None if clearing is None else msgspec.json.decode(clearing, type=Clearing),
        revival=None if revival is None else msgspec.json.decode(revival, type=Revival),
    )


@lru_cache(maxsize=1_024)
def policy_of(column: str) -> QueuePolicy:
    """From ``queues.policy``; most queues share theirs."""
    return structure(msgspec.json.decode(column), QueuePolicy)


def claim_row(claim: Claim) -> tuple[Any, ...]:
    """A row of ``claims``."""
    rank = ENVIRONMENT_RANK[claim.environment]
    return rank, claim.name, claim.fingerprint, claim.answer, claim.expires_at


def key_row(key: ApiKey) -> tuple[Any, ...]:
    """A row of ``api_keys``."""
    return (
        key.id,
        key.name,
        ENVIRONMENT_RANK[key.environment],
        key.hash,
        _text(key.scopes),
        None if key.queues is None else _text(key.queues),
        key.rate_limit_per_minute,
        key.created_at,
        key.revoked_at,
    )


def key_of(row: Sequence[Any]) -> ApiKey:
    """From a row of ``api_keys``."""
    key_id, name, environment, digest, scopes, queues, rate_limit_per_minute, created_at, revoked_at = row
    return ApiKey(
        id=key_id,
        name=name,
        environment=ENVIRONMENTS[environment],
        hash=digest,
        scopes=msgspec.json.decode(scopes, type=tuple[Scope, ...]),
        queues=None if queues is None else msgspec.json.decode(queues, type=tuple[str, ...]),
        rate_limit_per_minute=rate_limit_per_minute,
        created_at=created_at,
        revoked_at=revoked_at,
    )


def schedule_row(schedule: Schedule) -> tuple[Any, ...]:
    """A row of ``schedules``."""
    return schedule.id, ENVIRONMENT_RANK[schedule.environment], schedule.version, _text(schedule)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
