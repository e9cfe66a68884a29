"""A small world with something of everything, and the pages to be looked at in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from tests.dashboard.receiver import Target
from tests.dashboard.served import Served


@frozen
class Scenes:
    """Paths of pages by the names that their screenshots have, and of pages that have none."""

    paths: Mapping[str, str]
    others: Sequence[str]


def play(server: Served, target: Target) -> Scenes:
    """What a shop might do: mail that arrives, exports that fail, a partner who has left, reports."""
    server.post("/queues", {"name": "mail", "concurrency": 20})
    server.post("/queues", {"name": "exports", "concurrency": 4, "retry_backoff": "linear", "retry_delay": 1})
    server.post("/queues", {"name": "partner", "rate_limit": {"per_second": 5}, "retry_delay": 0.2})
    page = "<html><script>alert('not run')</script><h1>Internal Server Error</h1></html>"
    good = [
        server.task(
            "mail",
            target.url(200, "queued as 4821"),
            payload={"to": f"ada{number}@example.com", "template": "welcome", "order": 2**60 + number},
            tags=["welcome", f"shop-{number % 3}"],
        )
        for number in range(28)
    ]
    bad = [server.task("exports", target.url(500, page), max_retries=0, tags=["nightly"]) for _ in range(7)]
    gone = server.task("partner", target.url(410, "this customer has left"), tags=["sync"])
    refused = [server.task("partner", "http://127.0.0.1:9/hook", max_retries=0) for _ in range(3)]
    retried = server.task(
        "exports",
        target.url(503, '{"error": "the warehouse is being rebuilt"}'),
        payload={"export": 17, "format": "csv", "rows": 123456789012345678901234567890},
        max_retries=2,
        tags=["nightly", "big"],
        priority=8,
    )
    later = server.task(
        "mail",
        target.url(200),
        delay=5400,
        payload={"to": "grace@example.com", "template": "reminder"},
        callback_url=target.url(200),
        tags=["reminder"],
    )
    waiting = server.task("exports", target.url(500), max_retries=14, payload={"export": 18})
    for task in (*good, *bad, gone, *refused, retried):
        server.ended(task)
    nightly = server.post(
        "/schedules",
        {
            "cron": "30 2 * * MON-FRI",
            "timezone": "Europe/Berlin",
            "overlap": "skip",
            "task": {"queue": "exports", "webhook_url": target.url(200), "payload": {"report": "daily"}},
        },
    )["id"]
    server.post("/schedules", {"every": 900, "task": {"queue": "mail", "webhook_url": target.url(200)}})
    paused = server.post(
        "/schedules", {"cron": "0 9 1 * *", "task": {"queue": "partner", "webhook_url": target.url(200)}}
    )["id"]
    server.post(f"/schedules/{paused}/pause")
    server.post(f"/schedules/{nightly}/run")
    shop = server.post("/apikeys", {"name": "the shop", "scopes": ["read", "write"], "queues": ["mail"]})[
        "id"
    ]
    server.post("/apikeys", {"name": "nightly reports", "scopes": ["write"], "rate_limit_per_minute": 600})
    gone = server.post("/apikeys", {"name": "a contractor, until July", "scopes": ["read"]})["id"]
    server.api.delete(f"/v1/apikeys/{gone}")
    return Scenes(
        {
            "overview": "/",
            "queues": "/queues",
            "queue": "/queues/exports",
            "queue-policy": "/queues/exports/policy",
            "queue-purge": "/queues/mail/purge",
            "tasks": "/tasks",
            "tasks-filtered": "/tasks?status=failed&error_type=http_5xx",
            "tasks-none": "/tasks?queue=mail&tag=unheard",
            "task-failed": f"/tasks/{retried}",
            "task-completed": f"/tasks/{good[0]}",
            "task-delayed": f"/tasks/{later}",
            "task-retrying": f"/tasks/{waiting}",
            "task-again": f"/tasks/{retried}/again",
            "failures": "/failures",
            "failures-retry": "/failures/retry?queue=exports&error_type=http_5xx",
            "schedules": "/schedules",
            "schedule": f"/schedules/{nightly}",
            "schedule-edit": f"/schedules/{nightly}/edit",
            "keys": "/keys",
            "key-new": "/keys/new",
        },
        [
            *("/?window=3600", "/new-queue", "/queues/exports/delete", f"/tasks/{later}/delete"),
            *("/tasks?q=a+word", "/schedules/new", f"/schedules/{nightly}/delete", f"/keys/{shop}/revoke"),
        ],
    )
