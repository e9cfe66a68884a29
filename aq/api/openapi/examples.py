"""One example of each document that is worth one, by the name of its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TASK_ID: Final = "task_01JDE3G5P00007CMS8H5KDRDQG"
_URL: Final = "https://example.com/hooks/email"
_PAYLOAD: Final = {"to": "user@example.com", "template": "welcome"}
_NEW_TASK: Final[Mapping[str, Any]] = {
    "queue": "emails",
    "webhook_url": _URL,
    "payload": _PAYLOAD,
    "delay": 300,
    "priority": 8,
    "max_retries": 3,
}
_TASK: Final[Mapping[str, Any]] = {
    "id": _TASK_ID,
    "queue": "emails",
    "status": "pending",
    "priority": 8,
    "delay": 300,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "run_at": "2026-01-31T09:35:00.000000Z",
    "due_at": "2026-01-31T09:35:00.000000Z",
    "expires_in": None,
    "expires_at": None,
    "webhook_url": _URL,
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
_ATTEMPT: Final[Mapping[str, Any]] = {
    "number": 1,
    "status": "success",
    "response_code": 200,
    "executed_at": "2026-01-31T09:35:00.001200Z",
    "error_type": None,
    "error": None,
    "duration_ms": 41,
    "lateness_ms": 1,
    "timing_ms": {"dns": 2, "connect": 5, "tls": 11, "ttfb": 22, "total": 41},
    "response_body": "ok",
}
_WHOLE_TASK: Final[Mapping[str, Any]] = {
    **_TASK,
    "status": "completed",
    "due_at": None,
    "completed_at": "2026-01-31T09:35:00.042300Z",
    "payload": _PAYLOAD,
    "attempts": [_ATTEMPT],
}
_PACE: Final = {"created": 4.2, "started": 4.0, "completed": 3.9, "failed": 0, "retried": 0.1}
_QUEUE: Final[Mapping[str, Any]] = {
    "name": "reports",
    "max_retries": 3,
    "retry_backoff": "linear",
    "retry_delay": 30,
    "retry_delay_max": 3600,
    "retry_jitter": 0.1,
    "timeout": 30,
    "concurrency": 4,
    "destination_concurrency": None,
    "rate_limit": {"per_second": 5, "burst": 10},
    "paused": False,
    "retention_completed": 86400,
    "retention_failed": 1209600,
    "retention_max_tasks": 1000000,
    "signing_secrets": None,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "counts": {"pending": 12, "scheduled": 3, "active": 4, "completed": 870, "failed": 2},
    "lateness": 0.8,
    "rates": _PACE,
}
_SCHEDULED: Final = {"queue": "reports", "webhook_url": "https://example.com/hooks/report", "tags": ["daily"]}
_SCHEDULE: Final[Mapping[str, Any]] = {
    "id": "sch_01JDE3G5P00007CMS8H5KDRDQG",
    "cron": "30 9 * * MON-FRI",
    "every": None,
    "timezone": "Europe/Berlin",
    "task": _SCHEDULED,
    "overlap": "skip",
    "catch_up": "last",
    "paused": False,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "last_run_at": None,
    "last_task_id": None,
    "next_runs": ["2026-02-02T08:30:00.000000Z", "2026-02-03T08:30:00.000000Z"],
}
_API_KEY: Final[Mapping[str, Any]] = {
    "id": "key_01JDE3G5P00007CMS8H5KDRDQG",
    "name": "ci",
    "environment": "live",
    "scopes": ["read", "write"],
    "queues": ["emails"],
    "rate_limit_per_minute": 600,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "revoked_at": None,
}

EXAMPLES: Final[Mapping[str, Any]] = {
    "NewTask": _NEW_TASK,
    "NewTasks": {"tasks": [_NEW_TASK, {**_NEW_TASK, "delay": 0, "priority": 5}]},
    "NewQueue": {"name": "reports", "concurrency": 4, "retry_backoff": "linear", "retry_delay": 30},
    "QueueChange": {"concurrency": 8},
    "Purge": {"dry_run": True},
    "RetryFailed": {"error_type": "timeout", "limit": 1000},
    "NewSchedule": {
        "task": _SCHEDULED,
        "cron": "30 9 * * MON-FRI",
        "timezone": "Europe/Berlin",
        "overlap": "skip",
        "catch_up": "last",
    },
    "ScheduleChange": {"cron": "0 8 * * *"},
    "NewApiKey": {"name": "ci", "queues": ["emails"], "rate_limit_per_minute": 600},
    "Task": _TASK,
    "Tasks": {"tasks": [_TASK]},
    "WholeTask": _WHOLE_TASK,
    "TaskPage": {
        "tasks": [_TASK],
        "pagination": {"total": 1, "limit": 20, "offset": 0, "has_more": False, "next_cursor": None},
    },
    "Explanation": {
        "task_id": _TASK_ID,
        "status": "pending",
        "reasons": [
            {
                "reason": "scheduled",
                "detail": "it is due at 2026-01-31T09:35:00.000000Z",
                "until": "2026-01-31T09:35:00.000000Z",
            }
        ],
        "tasks_ahead": 0,
        "tasks_ahead_exact": True,
        "retries": [{"attempt": 2, "wait": 1, "at": "2026-01-31T09:35:01.000000Z"}],
    },
    "Queue": _QUEUE,
    "Queues": {"queues": [_QUEUE]},
    "Count": {"count": 12},
    "Schedule": _SCHEDULE,
    "Schedules": {"schedules": [_SCHEDULE]},
    "ApiKey": _API_KEY,
    "ApiKeyWithText": {**_API_KEY, "key": "aq_live_…"},
    "ApiKeys": {"apikeys": [_API_KEY]},
    "Stats": {
        "window": 900,
        "step": 10,
        "queue": None,
        "series": [
            {
                "at": "2026-01-31T09:30:00.000000Z",
                "created": 42,
                "started": 40,
                "completed": 39,
                "failed": 0,
                "retried": 1,
                "lateness_ms": {"p50": 0.9, "p95": 2.3, "p99": 4.1},
            }
        ],
    },
    "Health": {"status": "ok"},
    "Readiness": {"status": "ready", "problems": []},
    "Delivery": {"task_id": _TASK_ID, "queue": "emails", "payload": _PAYLOAD, "attempt": 1},
    "CallbackDelivery": {"event": "task.completed", "task": _WHOLE_TASK},
}

STREAM: Final = """\
: open
id: k3v9-41

event: queue.paused
id: k3v9-42
data: {"queue":"emails","at":"2026-01-31T09:35:00.001200Z"}

"""
"""What ``GET /v1/events`` sends."""
