"""What callers may give, by the names of the API, and how it is written as JSON.

What is left out is the service's default; in a change it stays as it is. None is JSON's null. Spans are in
seconds, or a ``timedelta``; instants are aware datetimes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Required, TypeAlias, TypedDict
from urllib.parse import quote, urlencode

from aq.instants import from_datetime, to_rfc3339

Payload: TypeAlias = Mapping[str, Any] | bytes
"""An object, or the JSON text of one, which is sent as it is."""
Span: TypeAlias = float | timedelta


class TaskFields(TypedDict, total=False):
    """A task as asked for (docs/api/tasks.md)."""

    queue: Required[str]
    webhook_url: Required[str]
    payload: Payload
    delay: int | timedelta
    run_at: datetime
    priority: int
    max_retries: int | None
    timeout: int | timedelta | None
    method: str
    headers: Mapping[str, str]
    expires_in: int | timedelta | None
    ordering_key: str | None
    tags: Sequence[str]
    callback_url: str | None
    idempotency_key: str | None


class TaskFilter(TypedDict, total=False):
    """Which tasks a list is of."""

    queue: str
    status: str
    tag: str
    error_type: str
    destination: str
    created_after: datetime
    created_before: datetime


class Rate(TypedDict, total=False):
    """Starts per second, and how many may come at once."""

    per_second: Required[float]
    burst: int | None


class PolicyFields(TypedDict, total=False):
    """A queue's policy, or what is to change of it (docs/api/queues.md)."""

    max_retries: int
    retry_backoff: str
    retry_delay: Span
    retry_delay_max: Span
    retry_jitter: float
    timeout: Span
    concurrency: int
    destination_concurrency: int | None
    rate_limit: Rate | None
    paused: bool
    retention_completed: Span
    retention_failed: Span
    retention_max_tasks: int
    signing_secrets: Sequence[str] | None


class FailedFilter(TypedDict, total=False):
    """Which failed tasks of a queue are to be retried; ``limit`` is at most how many, the oldest first."""

    tag: str
    error_type: str
    destination: str
    failed_after: datetime
    failed_before: datetime
    limit: int


class ScheduleFields(TypedDict, total=False):
    """A schedule, or what is to change of it (docs/api/schedules.md); its task has no times of its own."""

    cron: str | None
    every: int | timedelta | None
    timezone: str
    task: TaskFields
    overlap: str
    catch_up: str


class KeyFields(TypedDict, total=False):
    """An API key as asked for (docs/api/keys.md)."""

    name: Required[str]
    environment: str
    scopes: Sequence[str]
    queues: Sequence[str] | None
    rate_limit_per_minute: int | None


def encode(fields: Mapping[str, Any]) -> bytes:
    """Fields as a JSON object. Raises ValueError or TypeError for what has no JSON."""
    return _object(fields).encode()


def encode_all(name: str, items: Iterable[Mapping[str, Any]]) -> bytes:
    """``{name: [item, …]}``."""
    return f"{{{json.dumps(name)}:[{','.join(map(_object, items))}]}}".encode()


def encode_query(fields: Mapping[str, Any]) -> str:
    """Fields as query parameters, those that are None left out; ``?…``, or nothing where there are none."""
    given = {name: _plain(value) for name, value in fields.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def path(*segments: str) -> str:
    """``/v1/…`` of these segments, each of which stays one, whatever is in it.

    Raises ValueError for an empty one, which would name something else.
    """
    if not all(segments):
        raise ValueError("an id or a name must not be empty")
    return "/v1/" + "/".join(_segment(it) for it in segments)


def _segment(text: str) -> str:
    """A queue may be called ``..``, which is no way up."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _object(fields: Mapping[str, Any]) -> str:
    return f"{{{','.join(f'{json.dumps(name)}:{_text(name, it)}' for name, it in fields.items())}}}"


def _text(name: str, value: Any) -> str:
    """A member's JSON; that of a payload which is JSON already is the very same."""
    if name == "payload" and isinstance(value, bytes):
        if not isinstance(json.loads(value), dict):
            raise ValueError("a payload in bytes must be the JSON text of an object")
        return value.decode()
    if name == "task" and isinstance(value, Mapping):
        return _object(value)
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Times as the API has them."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, datetime):
        return to_rfc3339(from_datetime(value))
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple | set | frozenset) else value
