"""``aq queues``, ``schedules`` and ``keys`` against a real server."""

from __future__ import annotations

import pytest

from tests.cli.cli_world import aq
from tests.cli.conftest import Command
from tests.dashboard.served import Served


def test_a_queue_is_made_shown_changed_and_deleted(call: Command) -> None:
    secret = "whsec_" + "c2VjcmV0" * 4
    made = call(
        *(
            "queues",
            "create",
            "reports",
            "--rate-limit",
            "5,10",
            "--concurrency",
            "4",
            "--retry-backoff",
            "linear",
        ),
        *(
            "--retry-delay",
            "30s",
            "--destination-concurrency",
            "2",
            "--signing-secret",
            secret,
            "--paused",
            "--json",
        ),
    ).json
    assert made["rate_limit"] == {"per_second": 5.0, "burst": 10}
    names = (
        "concurrency",
        "retry_backoff",
        "retry_delay",
        "destination_concurrency",
        "paused",
        "signing_secrets",
    )
    assert [made[name] for name in names] == [4, "linear", 30.0, 2, True, ["***"]]
    changed = call(
        *("queues", "set", "reports", "--rate-limit", "none", "--destination-concurrency", "none"),
        *("--signing-secret", "none", "--timeout", "2m", "--json"),
    ).json
    assert [
        changed[name] for name in ("rate_limit", "destination_concurrency", "signing_secrets", "timeout")
    ] == [
        None,
        None,
        None,
        120.0,
    ]
    assert "linear, 30 s to 3600 s" in call("queues", "get", "reports").out
    assert call("queues", "resume", "reports", "--json").json["paused"] is False
    assert "paused" in call("queues", "pause", "reports").out
    assert call("queues", "set", "reports").code == 2
    assert call("queues", "create", "reports").code == 1
    assert call("queues", "delete", "reports").code == 2
    assert call("queues", "delete", "reports", "--yes", "--json").json == {"deleted": "reports"}
    assert call("queues", "get", "reports").code == 3


def test_queues_are_listed_with_what_they_hold(call: Command, hook: str) -> None:
    call("send", hook, "--queue", "held", "--delay", "1h")
    call("send", hook, "--queue", "held", "--delay", "1h")
    head, *rows = call("queues", "list").out.splitlines()
    assert head.split()[:4] == ["QUEUE", "LATE", "PENDING", "LATER"]
    (row,) = [row for row in rows if row.startswith("held ")]
    assert row.split()[:3] == ["held", "0", "2"]
    (listed,) = [queue for queue in call("queues", "list", "--json").json if queue["name"] == "held"]
    assert listed["counts"]["scheduled"] == 2


def test_a_purge_counts_first_and_needs_a_yes(call: Command, hook: str) -> None:
    for _ in range(3):
        call("send", hook, "--queue", "purged", "--delay", "1h")
    ended = call("queues", "purge", "purged")
    assert (ended.code, ended.out) == (2, "")
    assert "Delete 3 pending tasks of queue purged?" in ended.err
    assert "--yes" in ended.err
    assert call("queues", "purge", "purged", "--dry-run", "--json").json == {"count": 3}
    assert call("queues", "purge", "purged", "--yes", "--json").json == {"count": 3}
    assert call("queues", "purge", "purged", "--json").json == {"count": 0}


def test_a_bulk_retry_counts_first_and_needs_a_yes(call: Command, hook: str, server: Served) -> None:
    for tag in ("a", "a", "b"):
        ended = call(
            "send", f"{hook}?status=500", "--queue", "retried", "--max-retries", "0", "--tag", tag, "--wait"
        )
        assert ended.code == 5
    ended = call("queues", "retry", "retried", "--tag", "a")
    assert ended.code == 2
    assert "Retry 2 failed tasks of queue retried?" in ended.err
    only = (
        "--tag",
        "a",
        "--error-type",
        "http_5xx",
        "--destination",
        server.url,
        "--failed-after",
        "2020-01-01",
    )
    assert call("queues", "retry", "retried", *only, "--dry-run", "--json").json == {"count": 2}
    assert call("queues", "retry", "retried", *only, "--limit", "1", "--yes", "--json").json == {"count": 1}
    assert (
        call("queues", "retry", "retried", "--tag", "none", "--dry-run").out == "0 tasks would be retried\n"
    )


def test_a_schedule_is_made_shown_changed_run_and_deleted(call: Command, hook: str) -> None:
    made = call(
        *("schedules", "create", hook, "--queue", "nightly", "-d", '{"n": 1}', "--cron", "30 9 * * MON-FRI"),
        *("--timezone", "Europe/Berlin", "--overlap", "skip", "--catch-up", "last", "--json"),
    ).json
    names = ("cron", "timezone", "overlap", "catch_up")
    assert [made[name] for name in names] == ["30 9 * * MON-FRI", "Europe/Berlin", "skip", "last"]
    assert made["task"]["payload"] == {"n": 1}
    by_id = made["id"]
    row = next(line for line in call("schedules", "list").out.splitlines() if line.startswith(by_id))
    assert "30 9 * * MON-FRI Europe/Berlin" in row
    assert "next 5" in call("schedules", "get", by_id).out
    assert call("schedules", "set", by_id, "--every", "10m", "--json").json["every"] == 600
    task = f'{{"queue": "other", "webhook_url": "{hook}"}}'
    assert call("schedules", "set", by_id, "--task", task, "--json").json["task"]["queue"] == "other"
    assert call("schedules", "set", by_id).code == 2
    assert call("schedules", "pause", by_id, "--json").json["paused"] is True
    assert "paused" in call("schedules", "list").out
    ran = call("schedules", "run", by_id, "--json").json
    assert (ran["queue"], ran["schedule_id"]) == ("other", by_id)
    assert call("schedules", "run", by_id).out.startswith("task_")
    assert call("schedules", "resume", by_id, "--json").json["paused"] is False
    assert call("schedules", "delete", by_id).code == 2
    assert call("schedules", "delete", by_id, "--yes", "--json").json == {"deleted": by_id}
    assert call("schedules", "get", by_id).code == 3
    assert call("schedules", "list", "--json").json == []


def test_a_key_is_shown_once_alone_on_stdout_and_is_good_until_revoked(call: Command, server: Served) -> None:
    made = call("keys", "create", "shop", "--scope", "read", "--queue", "orders", "--rate-limit", "1000")
    text = made.out.strip()
    assert text.startswith("aq_live_")
    (listed,) = [key for key in call("keys", "list", "--json").json if key["name"] == "shop"]
    assert (listed["scopes"], listed["queues"], listed["rate_limit_per_minute"]) == (
        ["read"],
        ["orders"],
        1_000,
    )
    assert text not in call("keys", "list").out
    assert aq("tasks", "list", "--url", server.url, "--api-key", text).code == 0
    forbidden = aq("queues", "create", "orders", "--url", server.url, "--api-key", text)
    assert forbidden.code == 1
    assert call("keys", "revoke", listed["id"]).code == 2
    assert call("keys", "revoke", listed["id"], "--yes", "--json").json == {"revoked": listed["id"]}
    refused = aq("tasks", "list", "--url", server.url, "--api-key", text, "--json")
    assert (refused.code, refused.error["status"]) == (1, 401)
    assert ".aq.env" in refused.error["hint"]
    assert "revoked" in call("keys", "list").out
    test = call("keys", "create", "sandbox", "--environment", "test", "--json").json
    assert test["key"].startswith("aq_test_")


@pytest.mark.parametrize("rate", ["fast", "1,2,3", ""])
def test_a_rate_that_is_none_is_wrong_usage(call: Command, rate: str) -> None:
    assert call("queues", "create", "r", "--rate-limit", rate).code == 2
