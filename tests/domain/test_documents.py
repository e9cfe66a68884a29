"""What people see of tasks, queues and ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aq.documents import (
    Callback,
    attempt_document,
    callback_body,
    event_of,
    joined,
    queue_document,
    snapshot,
    task_document,
    whole_task_document,
)
from aq.instants import SECOND, from_datetime
from aq.outcome import AttemptStatus, ErrorType, Timing
from aq.policy import QueuePolicy, RateLimit
from aq.task import (
    Attempt,
    Counts,
    Environment,
    FailureReason,
    Method,
    Options,
    Queue,
    QueueKey,
    Status,
    Task,
)

T0 = from_datetime(datetime(2026, 1, 31, 9, 30, tzinfo=UTC))
TASK = Task(
    id="task_1",
    queue=QueueKey(Environment.LIVE, "mails"),
    webhook_url="https://example.com/hook",
    priority=7,
    delay=90,
    created_at=T0,
    due_at=T0 + 90 * SECOND,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
ATTEMPT = Attempt(
    number=1,
    status=AttemptStatus.FAILURE,
    executed_at=T0,
    duration_us=1_234_567,
    lateness_us=2_500,
    response_code=503,
    error_type=ErrorType.HTTP_5XX,
    error="answered 503 Service Unavailable",
    response_body=b"so\xff",
    timing=Timing(connect=1, ttfb=2, total=3),
)


@frozen
class Standing:
    scheduled: int = 0
    oldest_due_at: int | None = None


def shown(document: Any) -> Any:
    """As a reader of the JSON sees it."""
    return json.loads(msgspec.json.encode(document))


def task(task: Task = TASK, callback: Callback | None = None) -> dict[str, Any]:
    found: dict[str, Any] = shown(task_document(task, 3, 30, callback))
    return found


# -- tasks --------------------------------------------------------------------------------------------------
def test_a_plain_task() -> None:
    assert task() == {
        "id": "task_1",
        "queue": "mails",
        "status": "pending",
        "priority": 7,
        "delay": 90,
        "created_at": "2026-01-31T09:30:00.000000Z",
        "run_at": "2026-01-31T09:31:30.000000Z",
        "due_at": "2026-01-31T09:31:30.000000Z",
        "expires_in": None,
        "expires_at": None,
        "webhook_url": "https://example.com/hook",
        "method": "POST",
        "headers": {},
        "max_retries": 3,
        "timeout": 30,
        "ordering_key": None,
        "tags": [],
        "callback_url": None,
        "callback": None,
        "schedule_id": None,
        "attempt": None,
        "started_at": None,
        "completed_at": None,
        "failed_at": None,
        "failure_reason": None,
        "error_type": None,
    }


def test_a_task_with_everything() -> None:
    options = Options(
        method=Method.PUT,
        headers=(("x-b", "Bearer xyz"), ("x-a", "")),
        run_at=T0 + 5 * SECOND,
        expires_in=60,
        callback_url="https://example.com/told",
        tags=("b", "a"),
        schedule_id="sched_1",
        slot=T0,
    )
    full = replace(
        TASK, options=options, ordering_key="user 5", expires_at=T0 + 60 * SECOND, error_type=ErrorType.DNS
    )
    document = task(full)
    changed = {name: value for name, value in document.items() if task()[name] != value}
    assert changed == {
        "run_at": "2026-01-31T09:30:05.000000Z",
        "expires_in": 60,
        "expires_at": "2026-01-31T09:31:00.000000Z",
        "method": "PUT",
        "headers": {"x-b": "***", "x-a": "***"},
        "ordering_key": "user 5",
        "tags": ["b", "a"],
        "callback_url": "https://example.com/told",
        "schedule_id": "sched_1",
        "error_type": "dns",
    }
    assert list(document["headers"]) == ["x-b", "x-a"]
    assert "xyz" not in json.dumps(document)
    assert TASK.traceparent is not None
    assert TASK.traceparent not in json.dumps(document)


def test_what_each_status_shows() -> None:
    active = replace(TASK, status=Status.ACTIVE, attempt=2, started_at=T0 + SECOND)
    completed = replace(active, status=Status.COMPLETED, finished_at=T0 + 2 * SECOND, started_at=None)
    failed = replace(completed, status=Status.FAILED, failure_reason=FailureReason.EXPIRED)
    names = ("status", "due_at", "attempt", "started_at", "completed_at", "failed_at", "failure_reason")
    first, second = "2026-01-31T09:30:01.000000Z", "2026-01-31T09:30:02.000000Z"
    assert [[task(it)[name] for name in names] for it in (TASK, active, completed, failed)] == [
        ["pending", "2026-01-31T09:31:30.000000Z", None, None, None, None, None],
        ["active", None, 2, first, None, None, None],
        ["completed", None, None, None, second, None, None],
        ["failed", None, None, None, None, second, "expired"],
    ]


@pytest.mark.parametrize("status", Status)
def test_how_its_callback_stands(status: Status) -> None:
    kept = replace(
        TASK,
        id="cb_1",
        queue=QueueKey(Environment.CALLBACK, "mails"),
        options=Options(tells_of="task_1"),
        status=status,
        attempt=2,
    )
    document = task(callback=Callback.of(kept))
    assert document["callback"] == {"id": "cb_1", "status": str(status), "attempts": 2}


@pytest.mark.parametrize(
    "payload", [b'{"n":1.00,  "big":1e400, "\xc3\xa9":"\\u00e9"}', b"{}", b'{"a":{"a":1,"a":2}}']
)
def test_a_payload_keeps_its_bytes(payload: bytes) -> None:
    text = msgspec.json.encode(whole_task_document(task_document(TASK, 3, 30), payload, [ATTEMPT]))
    assert b'"payload":%b,"attempts":[' % payload in text
    found = json.loads(text)
    assert found["attempts"] == [shown(attempt_document(ATTEMPT))]
    assert {**task(), "payload": found["payload"], "attempts": found["attempts"]} == found
    assert list(found)[-2:] == ["payload", "attempts"]


def test_an_attempt() -> None:
    assert shown(attempt_document(ATTEMPT)) == {
        "number": 1,
        "status": "failure",
        "response_code": 503,
        "executed_at": "2026-01-31T09:30:00.000000Z",
        "error_type": "http_5xx",
        "error": "answered 503 Service Unavailable",
        "duration_ms": 1_234,
        "lateness_ms": 2,
        "timing_ms": {"dns": None, "connect": 1, "tls": None, "ttfb": 2, "total": 3},
        "response_body": "so\N{REPLACEMENT CHARACTER}",
    }
    bare = shown(attempt_document(Attempt(2, AttemptStatus.UNKNOWN, T0, 0, 0)))
    assert [bare["timing_ms"], bare["response_body"], bare["response_code"]] == [None, None, None]


# -- queues -------------------------------------------------------------------------------------------------
RATES = {"created": 1.5, "started": 0.0, "completed": 2.0, "failed": 0.1}


def queue(policy: QueuePolicy, standing: Standing, now: int = T0) -> dict[str, Any]:
    kept = Queue(QueueKey(Environment.LIVE, "mails"), policy, T0, counts=Counts(5, 1, 20, 3))
    found: dict[str, Any] = shown(queue_document(kept, standing, RATES, now))
    return found


def test_a_queue() -> None:
    document = queue(QueuePolicy(), Standing(scheduled=2, oldest_due_at=T0 - 2_500_000))
    assert document == {
        "name": "mails",
        "max_retries": 3,
        "retry_backoff": "exponential",
        "retry_delay": 1,
        "retry_delay_max": 3_600,
        "retry_jitter": 0.1,
        "timeout": 30,
        "concurrency": 50,
        "destination_concurrency": None,
        "rate_limit": None,
        "paused": False,
        "retention_completed": 86_400,
        "retention_failed": 1_209_600,
        "retention_max_tasks": 1_000_000,
        "signing_secrets": None,
        "created_at": "2026-01-31T09:30:00.000000Z",
        "counts": {"pending": 5, "scheduled": 2, "active": 1, "completed": 20, "failed": 3},
        "lateness": 2.5,
        "rates": RATES,
    }


def test_a_queues_rate_limit_is_shown_whole() -> None:
    document = queue(QueuePolicy(rate_limit=RateLimit(2.5)), Standing())
    assert document["rate_limit"] == {"per_second": 2.5, "burst": 3}


@pytest.mark.parametrize("number", [1, 2])
def test_a_queues_secrets_can_be_written_not_read(number: int) -> None:
    secrets = ["whsec_" + letter * 32 for letter in "AB"][:number]
    document = queue(QueuePolicy(signing_secrets=secrets), Standing())
    assert document["signing_secrets"] == ["***"] * number
    assert "whsec" not in json.dumps(document)


@pytest.mark.parametrize(
    ("oldest_due_at", "lateness"),
    [(None, 0.0), (T0, 0.0), (T0 + 1, 0.0), (T0 + SECOND, 0.0), (T0 - 1, 0.000001), (T0 - SECOND, 1.0)],
)
def test_how_late_a_queue_is(oldest_due_at: int | None, lateness: float) -> None:
    found = queue(QueuePolicy(), Standing(oldest_due_at=oldest_due_at))["lateness"]
    assert (found, type(found)) == (lateness, float)


def test_no_more_are_scheduled_than_are_pending() -> None:
    """Counts and backlog may be of two moments."""
    assert queue(QueuePolicy(), Standing(scheduled=9))["counts"]["scheduled"] == 5


# -- callbacks ----------------------------------------------------------------------------------------------
ENDED = replace(TASK, status=Status.COMPLETED, finished_at=T0, attempt=2)


def attempts(*numbers: int) -> list[Attempt]:
    return [replace(ATTEMPT, number=number) for number in numbers]


def test_an_end_is_called_by_its_status() -> None:
    assert event_of(ENDED) == "task.completed"
    assert event_of(replace(ENDED, status=Status.FAILED)) == "task.failed"


def test_the_body_of_a_callback() -> None:
    assert callback_body("task.failed", {"id": "task_1"}) == b'{"event":"task.failed","task":{"id":"task_1"}}'
    text = b'{"id": "task_1",  "payload": 1e400}'
    assert callback_body("task.completed", text) == b'{"event":"task.completed","task":%b}' % text


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps({"é": value}, ensure_ascii=True, indent=1).encode())


@given(json_texts, st.lists(st.integers(1, 6), unique=True).map(sorted), st.integers(0, 6))
def test_a_callback_is_told_what_a_get_would_have_told_at_the_end(
    payload: bytes, numbers: list[int], last: int
) -> None:
    """Whatever became of the task since: a retry makes attempts that the end had not seen."""
    options = Options(callback_url="http://h/", headers=(("a", "xyz"),), tags=("é",))
    ended = replace(ENDED, attempt=last, options=options)
    document = task_document(ended, 3, 30, Callback("cb_1", Status.PENDING))
    kept = snapshot(ended, document)
    assert len(kept) < 2_000
    assert b"xyz" not in kept
    seen = attempts(*(number for number in numbers if number <= last))
    whole = msgspec.json.encode(whole_task_document(document, payload, seen))
    assert joined(kept, payload, attempts(*numbers)) == b'{"event":"task.completed","task":%b}' % whole


def test_a_callback_of_a_task_that_is_gone() -> None:
    kept = snapshot(ENDED, task_document(ENDED, 3, 30))
    body = json.loads(joined(kept, None, ()))
    assert body == {"event": "task.completed", "task": {**task(ENDED), "payload": None, "attempts": []}}


def test_a_snapshot_is_an_object_without_payload_and_attempts() -> None:
    """It is stored as the payload of the callback's own task."""
    kept = json.loads(snapshot(ENDED, task_document(ENDED, 3, 30)))
    assert kept == {"event": "task.completed", "task": {**task(ENDED), "payload": None, "attempts": 2}}
