"""What the service answers, typed. The names are those of the API (docs/api.md).

Words such as a ``status`` are plain texts, and members that this client does not know are passed over: a
newer service is no error. ``msgspec.json.encode(result)`` gives the document again.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar

import msgspec

_NOTHING = msgspec.Raw(b"null")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. What is secret or long is in no repr."""

    _hidden: ClassVar[frozenset[str]] = frozenset()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self._hidden]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={it!r}' for name, it in self.__rich_repr__())})"


# -- tasks --------------------------------------------------------------------------------------------------
class Timing(Result, frozen=True, kw_only=True):
    """Where an attempt's time went, in milliseconds; None where the step did not happen."""

    dns: int | None = None
    connect: int | None = None
    tls: int | None = None
    ttfb: int | None = None
    total: int | None = None


class Attempt(Result, frozen=True, kw_only=True):
    """One delivery that has ended."""

    number: int
    status: str
    executed_at: datetime
    response_code: int | None = None
    error_type: str | None = None
    error: str | None = None
    duration_ms: int | None = None
    lateness_ms: int | None = None
    timing_ms: Timing | None = None
    response_body: str | None = None


class Callback(Result, frozen=True, kw_only=True):
    """The delivery that tells of a task's end."""

    id: str
    status: str
    attempts: int = 0


class Task(Result, frozen=True, kw_only=True):
    """A task. ``payload`` and ``attempts`` come with `Tasks.get` and `Tasks.wait` only.

    ``payload_json`` is the payload byte for byte as it was sent, `payload` the same as Python reads it.
    """

    _hidden = frozenset({"payload_json"})

    id: str
    queue: str
    status: str
    """``pending`` (delayed and waiting for a retry too), ``active``, ``completed`` or ``failed``."""
    priority: int
    delay: int
    created_at: datetime
    run_at: datetime | None = None
    due_at: datetime | None = None
    expires_in: float | None = None
    expires_at: datetime | None = None
    webhook_url: str = ""
    method: str = "POST"
    headers: dict[str, str] = {}
    max_retries: int | None = None
    timeout: float | None = None
    ordering_key: str | None = None
    tags: tuple[str, ...] = ()
    callback_url: str | None = None
    callback: Callback | None = None
    schedule_id: str | None = None
    attempt: int | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    failure_reason: str | None = None
    error_type: str | None = None
    payload_json: msgspec.Raw = msgspec.field(name="payload", default=_NOTHING)
    attempts: tuple[Attempt, ...] = ()

    @property
    def payload(self) -> dict[str, Any] | None:
        """Integers are exact whatever their size, other numbers as exact as a float."""
        payload: dict[str, Any] | None = json.loads(bytes(self.payload_json))
        return payload

    @property
    def ended(self) -> bool:
        """Whether it is completed or has failed."""
        return self.status in ("completed", "failed")


class Pagination(Result, frozen=True, kw_only=True):
    """Where a page is. ``total`` is None where that is not counted, ``offset`` after a cursor."""

    limit: int
    has_more: bool
    total: int | None = None
    offset: int | None = None
    next_cursor: str | None = None


class TaskPage(Result, frozen=True, kw_only=True):
    """A page of a list, newest first."""

    tasks: tuple[Task, ...]
    pagination: Pagination


class Reason(Result, frozen=True, kw_only=True):
    """One thing in the way of a task; ``until`` where it is known when it will be out of it."""

    reason: str
    detail: str
    until: datetime | None = None


class ComingRetry(Result, frozen=True, kw_only=True):
    """A retry to come, should every attempt before fail at once. ``wait`` is in seconds, without jitter."""

    attempt: int
    wait: float
    at: datetime


class Explanation(Result, frozen=True, kw_only=True):
    """Why a task is not running, the first thing first. ``tasks_ahead`` start before it, or more of them."""

    task_id: str
    status: str
    reasons: tuple[Reason, ...]
    tasks_ahead: int = 0
    tasks_ahead_exact: bool = True
    retries: tuple[ComingRetry, ...] = ()


# -- queues -------------------------------------------------------------------------------------------------
class RateLimit(Result, frozen=True, kw_only=True):
    """Starts per second, and how many may come at once."""

    per_second: float
    burst: int | None = None


class Counts(Result, frozen=True, kw_only=True):
    """How many tasks a queue holds; ``scheduled`` are those of ``pending`` that are not yet due."""

    pending: int = 0
    scheduled: int = 0
    active: int = 0
    completed: int = 0
    failed: int = 0


class Rates(Result, frozen=True, kw_only=True):
    """Per second, over the last minute."""

    created: float = 0
    started: float = 0
    completed: float = 0
    failed: float = 0
    retried: float = 0


class Queue(Result, frozen=True, kw_only=True):
    """A queue: its policy, how many tasks it holds, its pace. ``lateness`` is in seconds."""

    name: str
    created_at: datetime
    paused: bool = False
    counts: Counts = Counts()
    lateness: float = 0
    rates: Rates = Rates()
    max_retries: int | None = None
    retry_backoff: str | None = None
    retry_delay: float | None = None
    retry_delay_max: float | None = None
    retry_jitter: float | None = None
    timeout: float | None = None
    concurrency: int | None = None
    destination_concurrency: int | None = None
    rate_limit: RateLimit | None = None
    retention_completed: float | None = None
    retention_failed: float | None = None
    retention_max_tasks: int | None = None
    signing_secrets: tuple[str, ...] | None = None
    """As many ``***`` as it has of its own."""


# -- schedules ----------------------------------------------------------------------------------------------
class Schedule(Result, frozen=True, kw_only=True):
    """A schedule: of ``cron`` in ``timezone``, or each ``every`` seconds."""

    id: str
    task: dict[str, Any]
    """The fields of its task as they were given; headers as ``***``, no payload in lists."""
    created_at: datetime
    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"
    overlap: str = "allow"
    catch_up: str = "none"
    paused: bool = False
    last_run_at: datetime | None = None
    last_task_id: str | None = None
    next_runs: tuple[datetime, ...] = ()


# -- keys ---------------------------------------------------------------------------------------------------
class ApiKey(Result, frozen=True, kw_only=True):
    """An API key. ``key`` is its text, told once, in the answer to its creation; it is in no repr."""

    _hidden = frozenset({"key"})

    id: str
    name: str
    environment: str
    scopes: tuple[str, ...]
    created_at: datetime
    queues: tuple[str, ...] | None = None
    rate_limit_per_minute: int | None = None
    revoked_at: datetime | None = None
    key: str | None = None


# -- the service --------------------------------------------------------------------------------------------
class Lateness(Result, frozen=True, kw_only=True):
    """Percentiles in milliseconds."""

    p50: float = 0
    p95: float = 0
    p99: float = 0


class StatsPoint(Result, frozen=True, kw_only=True):
    """What happened in one step; ``lateness_ms`` is None where nothing started."""

    at: datetime
    created: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    lateness_ms: Lateness | None = None


class Stats(Result, frozen=True, kw_only=True):
    """A series of equal steps up to now, the oldest first. ``window`` and ``step`` are in seconds."""

    window: int
    step: int
    series: tuple[StatsPoint, ...]
    queue: str | None = None


class Health(Result, frozen=True, kw_only=True):
    """``status`` is ``ok`` of a process, ``ready``, ``degraded`` or ``not ready`` of a service."""

    status: str
    problems: tuple[str, ...] = ()
