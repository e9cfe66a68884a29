"""Queues over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from aq.outcome import AttemptStatus, ErrorType, Outcome
from aq.policy import QueuePolicy
from aq.storage.changes import PutQueue
from aq.storage.memory import MemoryStorage
from aq.task import Environment, Queue, QueueKey
from tests.api.api_world import SECRET, URL, Api, Reply, SteeredRunner, check_problem, open_api

DEFAULTS = {
    "max_retries": 3,
    "retry_backoff": "exponential",
    "retry_delay": 1,
    "retry_delay_max": 3600,
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
}


async def test_a_queue_is_created_with_defaults() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/queues", {"name": "emails"})
        assert reply.status == 201
        assert reply.headers["Location"] == "/v1/queues/emails"
        queue = reply.json
        assert queue.pop("created_at").endswith("Z")
        counts = {"pending": 0, "scheduled": 0, "active": 0, "completed": 0, "failed": 0}
        rates = {"created": 0, "started": 0, "completed": 0, "failed": 0, "retried": 0}
        assert queue == {"name": "emails", **DEFAULTS, "counts": counts, "lateness": 0, "rates": rates}
        assert (await api.get("/v1/queues/emails")).json == reply.json


async def test_a_queue_is_created_with_every_field() -> None:
    async with open_api() as api:
        fields = {
            "max_retries": 0,
            "retry_backoff": "linear",
            "retry_delay": 0.5,
            "retry_delay_max": 60,
            "retry_jitter": 0,
            "timeout": 1,
            "concurrency": 1,
            "destination_concurrency": 2,
            "rate_limit": {"per_second": 2.5, "burst": 7},
            "paused": True,
            "retention_completed": 0,
            "retention_failed": 60,
            "retention_max_tasks": 9,
        }
        queue = (await api.post("/v1/queues", {"name": "q", **fields})).json
        assert {name: queue[name] for name in fields} == fields


async def test_every_wrong_field_is_named() -> None:
    async with open_api() as api:
        wrong = {
            "name": "a b",
            "max_retries": "3",
            "retry_backoff": "never",
            "timeout": 0,
            "concurrency": 0,
            "paused": 1,
            "environment": "test",
            "pause": True,
        }
        assert (await api.post("/v1/queues", wrong)).fields == set(wrong)
        assert (await api.post("/v1/queues", {})).fields == {"name"}
        await api.post("/v1/queues", {"name": "q"})
        assert (await api.call("PATCH", "/v1/queues/q", wrong)).fields == set(wrong)


async def test_a_name_is_taken_once() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        check_problem(await api.post("/v1/queues", {"name": "q"}), 409)


async def test_queues_are_listed_by_name_with_their_counts() -> None:
    async with open_api() as api:
        for name in ("b", "a"):
            await api.task(queue=name)
        await api.task(queue="a")
        queues = (await api.get("/v1/queues")).json["queues"]
        assert [(queue["name"], queue["counts"]["pending"]) for queue in queues] == [("a", 2), ("b", 1)]


async def test_a_long_list_lets_others_take_their_turns() -> None:
    storage = MemoryStorage()
    async with open_api(storage=storage) as api:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async def turns_of_a_list() -> int:
            before = turns
            assert (await api.get("/v1/queues")).status == 200
            return turns - before

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            short = await turns_of_a_list()
            queues = [
                Queue(QueueKey(Environment.LIVE, f"q{number}"), QueuePolicy(), 0) for number in range(5_000)
            ]
            await storage.commit([[PutQueue(queue) for queue in queues]], 0)
            assert await turns_of_a_list() - short >= 90
            nursery.cancel_scope.cancel()


async def test_a_patch_changes_what_it_names() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "timeout": 9})
        reply = await api.call("PATCH", "/v1/queues/q", {"concurrency": 2})
        assert (reply.status, reply.json["concurrency"], reply.json["timeout"]) == (200, 2, 9)
        assert (await api.call("PATCH", "/v1/queues/q", {})).json["concurrency"] == 2
        check_problem(await api.call("PATCH", "/v1/queues/none", {}), 404)


async def test_a_paused_queue_starts_nothing_until_it_is_resumed() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        assert (await api.post("/v1/queues/q/pause")).json["paused"] is True
        task = await api.task(delay=0)
        assert (await api.get(f"/v1/tasks/{task['id']}")).json["status"] == "pending"
        assert api.runner.deliveries == []
        assert (await api.post("/v1/queues/q/resume", {})).json["paused"] is False
        await api.runner.begun.wait()


async def test_pause_takes_no_body_and_needs_a_queue() -> None:
    async with open_api() as api:
        check_problem(await api.post("/v1/queues/none/pause"), 404)
        check_problem(await api.post("/v1/queues/none/resume"), 404)
        await api.post("/v1/queues", {"name": "q"})
        assert (await api.post("/v1/queues/q/pause", {"for": 3})).fields == {"for"}


async def test_a_queue_is_deleted_once_it_holds_nothing_to_do() -> None:
    async with open_api() as api:
        task = await api.task()
        check_problem(await api.call("DELETE", "/v1/queues/q"), 409)
        await api.call("DELETE", f"/v1/tasks/{task['id']}")
        reply = await api.call("DELETE", "/v1/queues/q")
        assert (reply.status, reply.body) == (204, b"")
        check_problem(await api.get("/v1/queues/q"), 404)
        check_problem(await api.call("DELETE", "/v1/queues/q"), 404)


# -- fields -------------------------------------------------------------------------------------------------
BOUNDS: list[tuple[str, list[Any], list[Any]]] = [
    ("max_retries", [0, 100], [-1, 101, 1.0, "3", None]),
    ("retry_backoff", ["fixed", "linear", "exponential"], ["", "Fixed", None]),
    ("retry_delay", [0, 0.5, 86_400], [-0.1, 86_400.1, "1", None]),
    ("retry_delay_max", [0, 31_536_000], [-1, 31_536_001, None]),
    ("retry_jitter", [0, 0.5, 1], [-0.1, 1.1, True, None]),
    ("timeout", [1, 7.5, 900], [0.9, 901, "30", None]),
    ("concurrency", [1, 10_000], [0, 10_001, 1.0, None]),
    ("destination_concurrency", [1, 10_000, None], [0, 10_001, 1.5]),
    ("paused", [True, False], [1, "true", None]),
    ("retention_completed", [0, 31_536_000], [-1, 31_536_001, None]),
    ("retention_failed", [0, 31_536_000], [-1, 31_536_001, None]),
    ("retention_max_tasks", [0, 1_000_000_000], [-1, 1_000_000_001, 0.5, None]),
    (
        "rate_limit",
        [{"per_second": 0.001, "burst": 1}, {"per_second": 100_000, "burst": 100_000}, None],
        [
            5,
            {},
            {"burst": 1},
            {"per_second": 0, "burst": 1},
            {"per_second": 1, "burst": 0},
            {"per_second": 1, "burst": 1.5},
            {"per_second": 100_001},
            {"per_second": 1, "per_minute": 60},
        ],
    ),
    (
        "signing_secrets",
        [None],
        [
            [],
            SECRET,
            ["x"],
            ["whsec_"],
            [SECRET, "whsec_c2hvcnQ="],
            [f"{SECRET[:-8]}{i:08}" for i in range(3)],
        ],
    ),
]


@pytest.mark.parametrize(("field", "good", "bad"), BOUNDS, ids=[field for field, _, _ in BOUNDS])
async def test_each_field_has_its_bounds_on_post_and_patch(
    field: str, good: list[Any], bad: list[Any]
) -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        for number, value in enumerate(good):
            made = await api.post("/v1/queues", {"name": f"q{number}", field: value})
            changed = await api.call("PATCH", "/v1/queues/q", {field: value})
            assert (made.status, changed.status) == (201, 200), value
            assert made.json[field] == changed.json[field] == value
            assert (await api.get("/v1/queues/q")).json[field] == value
        for value in bad:
            made = await api.post("/v1/queues", {"name": "n", field: value})
            changed = await api.call("PATCH", "/v1/queues/q", {field: value})
            assert made.fields == changed.fields, value
            assert {name.partition(".")[0] for name in made.fields} == {field}, value
        check_problem(await api.get("/v1/queues/n"), 404)


def test_the_bounds_are_those_of_every_field() -> None:
    assert {field for field, _, _ in BOUNDS} == DEFAULTS.keys()


async def test_a_burst_is_one_seconds_worth_unless_it_is_given() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/queues", {"name": "q", "rate_limit": {"per_second": 2.5}})
        assert reply.json["rate_limit"] == {"per_second": 2.5, "burst": 3}


async def test_signing_secrets_are_in_no_answer() -> None:
    old, new = SECRET, "whsec_" + "bmV3IHNlY3JldA==".rstrip("=").ljust(40, "A")
    async with open_api() as api:
        replies: list[Reply] = [
            await api.post("/v1/queues", {"name": "q", "signing_secrets": [old]}),
            await api.call("PATCH", "/v1/queues/q", {"signing_secrets": [new, old]}),
            await api.get("/v1/queues/q"),
            await api.get("/v1/queues"),
            await api.post("/v1/queues/q/pause"),
            await api.post("/v1/queues/q/resume"),
            await api.post("/v1/queues", {"name": "q", "signing_secrets": [old]}),
            await api.post("/v1/queues", {"name": "r", "signing_secrets": [new, old[:-1]]}),
            await api.call("PATCH", "/v1/queues/q", {"signing_secrets": f"{old},{new}"}),
        ]
        assert [reply.status for reply in replies] == [201, 200, 200, 200, 200, 200, 409, 422, 422]
        for reply in replies:
            for secret in (old, new):
                assert secret.removeprefix("whsec_")[:8] not in reply.body.decode()
        assert [reply.json["signing_secrets"] for reply in replies[:3]] == [["***"], ["***"] * 2, ["***"] * 2]
        await api.task(delay=0)
        await api.runner.begun.wait()
        assert api.runner.deliveries[0].signing_secrets == (new, old)
        reply = await api.call("PATCH", "/v1/queues/q", {"signing_secrets": None})
        assert reply.json["signing_secrets"] is None


# -- counts and pace ----------------------------------------------------------------------------------------
async def queue(api: Api, name: str = "q") -> dict[str, Any]:
    reply = await api.get(f"/v1/queues/{name}")
    assert reply.status == 200
    return dict(reply.json)


def ready(*outcomes: Outcome) -> SteeredRunner:
    """Ends each attempt at once."""
    runner = SteeredRunner(list(outcomes))
    runner.go.set()
    return runner


FAILED = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.HTTP_5XX, error="500", response_code=500)


async def test_counts_tell_what_is_scheduled_of_what_is_pending(mock_clock: trio.testing.MockClock) -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "paused": True})
        await api.task(delay=0)
        for _ in range(3):
            await api.task(delay=600)
        expected = {"pending": 4, "scheduled": 3, "active": 0, "completed": 0, "failed": 0}
        assert (await queue(api))["counts"] == expected
        mock_clock.jump(540)
        assert (await queue(api))["counts"]["scheduled"] == 3
        mock_clock.jump(120)
        assert (await queue(api))["counts"] == {**expected, "scheduled": 0}
        listed = (await api.get("/v1/queues")).json["queues"]
        assert listed == [await queue(api)]


async def test_counts_follow_each_task_through_its_states() -> None:
    runner = SteeredRunner([FAILED])
    async with open_api(runner) as api:
        tasks = [await api.task(delay=0, max_retries=0) for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        assert (await queue(api))["counts"]["active"] == 2
        runner.go.set()
        for task in tasks:
            await api.engine.wait(task["id"])
        counts = (await queue(api))["counts"]
        assert counts == {"pending": 0, "scheduled": 0, "active": 0, "completed": 1, "failed": 1}
        assert (await api.get("/v1/tasks?queue=q&status=failed")).json["pagination"]["total"] == 1


async def test_lateness_is_how_long_the_oldest_due_task_has_waited(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "paused": True})
        assert (await queue(api))["lateness"] == 0
        await api.task(delay=5, priority=1)
        await api.task(delay=60, priority=9)
        assert (await queue(api))["lateness"] == 0
        mock_clock.jump(65)
        assert (await queue(api))["lateness"] == pytest.approx(60)


async def test_rates_are_those_of_the_last_minute(mock_clock: trio.testing.MockClock) -> None:
    async with open_api(ready(FAILED)) as api:
        mock_clock.jump(60)
        for retries in (0, 0):
            await api.engine.wait((await api.task(delay=0, max_retries=retries))["id"])
        mock_clock.jump(30)
        rates = (await queue(api))["rates"]
        assert set(rates) == {"created", "started", "completed", "failed", "retried"}
        assert rates["created"] == rates["started"] == pytest.approx(2 / 60, rel=0.35)
        assert rates["completed"] == rates["failed"] == pytest.approx(1 / 60, rel=0.35)
        mock_clock.jump(90)
        assert set((await queue(api))["rates"].values()) == {0}


# -- pause --------------------------------------------------------------------------------------------------
async def test_while_a_queue_is_paused_running_attempts_finish() -> None:
    runner = SteeredRunner()
    async with open_api(runner) as api:
        task = await api.task(delay=0)
        await runner.begun.wait()
        await api.post("/v1/queues/q/pause")
        runner.go.set()
        await api.engine.wait(task["id"])
        assert (await api.get(f"/v1/tasks/{task['id']}")).json["status"] == "completed"
        assert (await queue(api))["paused"] is True


async def test_pause_and_resume_may_be_repeated_and_are_a_field_too() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q"})
        for action, paused in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
            reply = await api.post(f"/v1/queues/q/{action}")
            assert (reply.status, reply.json["paused"]) == (200, paused)
        assert (await api.call("PATCH", "/v1/queues/q", {"paused": True})).json["paused"] is True


# -- purge --------------------------------------------------------------------------------------------------
async def test_a_purge_takes_every_pending_task_and_nothing_else() -> None:
    runner = SteeredRunner()
    async with open_api(runner) as api:
        active = await api.task(delay=0)
        await runner.begun.wait()
        for _ in range(5):
            await api.task()
        other = await api.task(queue="other")
        reply = await api.post("/v1/queues/q/purge")
        assert (reply.status, reply.json) == (200, {"count": 5})
        await trio.testing.wait_all_tasks_blocked()
        listed = (await api.get("/v1/tasks")).json
        assert [task["id"] for task in listed["tasks"]] == [other["id"], active["id"]]
        assert (await api.post("/v1/queues/q/purge", {})).json == {"count": 0}
        runner.go.set()
        await api.engine.wait(active["id"])


async def test_a_purge_that_is_a_dry_run_only_counts() -> None:
    async with open_api() as api:
        for _ in range(3):
            await api.task()
        assert (await api.post("/v1/queues/q/purge", {"dry_run": True})).json == {"count": 3}
        assert (await queue(api))["counts"]["pending"] == 3
        assert (await api.post("/v1/queues/q/purge", {"dry_run": False})).json == {"count": 3}
        assert (await queue(api))["counts"]["pending"] == 0


async def test_a_purge_knows_one_field_and_needs_a_queue() -> None:
    async with open_api() as api:
        await api.task()
        assert (await api.post("/v1/queues/q/purge", {"dry_run": 1})).fields == {"dry_run"}
        assert (await api.post("/v1/queues/q/purge", {"dryrun": True, "tag": "t"})).fields == {
            "dryrun",
            "tag",
        }
        check_problem(await api.post("/v1/queues/q/purge", ["x"]), 400)
        check_problem(await api.post("/v1/queues/none/purge"), 404)
        assert (await queue(api))["counts"]["pending"] == 1


# -- retry --------------------------------------------------------------------------------------------------
async def fail(api: Api, **fields: Any) -> dict[str, Any]:
    task = await api.task(delay=0, max_retries=0, **fields)
    await api.engine.wait(task["id"])
    return task


async def test_failed_tasks_are_pending_again_all_at_once() -> None:
    async with open_api(ready(*[FAILED] * 3)) as api:
        for _ in range(3):
            task = await fail(api)
        completed = await api.task(delay=0)
        await api.engine.wait(completed["id"])
        reply = await api.post("/v1/queues/q/retry")
        assert (reply.status, reply.json) == (200, {"count": 3})
        await trio.testing.wait_all_tasks_blocked()
        counts = (await queue(api))["counts"]
        assert (counts["completed"], counts["failed"]) == (4, 0)
        assert len((await api.get(f"/v1/tasks/{task['id']}")).json["attempts"]) == 2
        assert len((await api.get(f"/v1/tasks/{completed['id']}")).json["attempts"]) == 1
        assert (await api.post("/v1/queues/q/retry", {})).json == {"count": 0}


TIMEOUT = Outcome(status=AttemptStatus.TIMEOUT, error_type=ErrorType.TIMEOUT, error="too slow")


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ({}, 4),
        ({"tag": "b"}, 2),
        ({"tag": "none"}, 0),
        ({"error_type": "http_5xx"}, 3),
        ({"error_type": "timeout"}, 1),
        ({"destination": "http://127.0.0.1:9"}, 3),
        ({"destination": "https://example.com"}, 1),
        ({"destination": "HTTPS://Example.com:443/"}, 1),
        ({"limit": 2}, 2),
        ({"limit": 9}, 4),
        ({"tag": "b", "limit": 1}, 1),
        ({"failed_after": "2020-01-01T00:00:00Z"}, 4),
        ({"failed_before": "2020-01-01T00:00:00Z"}, 0),
        ({"failed_after": "2020-01-01T00:00:00Z", "failed_before": "2100-01-01T00:00:00Z", "tag": "a"}, 2),
        ({"tag": None, "error_type": None, "destination": None, "limit": None, "failed_after": None}, 4),
    ],
)
async def test_a_retry_covers_what_its_filter_says_and_a_dry_run_counts_the_same(
    which: dict[str, Any], count: int
) -> None:
    async with open_api(ready(FAILED, FAILED, FAILED, TIMEOUT)) as api:
        for tag, url in (("a", URL), ("a", "https://example.com/x"), ("b", URL), ("b", URL)):
            await fail(api, tags=[tag], webhook_url=url)
        assert (await api.post("/v1/queues/q/retry", {**which, "dry_run": True})).json == {"count": count}
        assert (await queue(api))["counts"]["failed"] == 4
        assert (await api.post("/v1/queues/q/retry", which)).json == {"count": count}
        await trio.testing.wait_all_tasks_blocked()
        counts = (await queue(api))["counts"]
        assert (counts["failed"], counts["completed"]) == (4 - count, count)


async def test_a_limit_takes_those_that_were_created_first() -> None:
    async with open_api(ready(FAILED, FAILED)) as api:
        first, second = await fail(api), await fail(api)
        assert (await api.post("/v1/queues/q/retry", {"limit": 1})).json == {"count": 1}
        await trio.testing.wait_all_tasks_blocked()
        assert (await api.get(f"/v1/tasks/{first['id']}")).json["status"] == "completed"
        assert (await api.get(f"/v1/tasks/{second['id']}")).json["status"] == "failed"


async def test_every_wrong_field_of_a_retry_is_named() -> None:
    async with open_api() as api:
        await api.task()
        wrong = {
            "tag": "",
            "error_type": "http_500",
            "destination": "example.com",
            "failed_after": "yesterday",
            "failed_before": 5,
            "limit": 0,
            "dry_run": "yes",
            "status": "failed",
        }
        assert (await api.post("/v1/queues/q/retry", wrong)).fields == set(wrong)
        check_problem(await api.post("/v1/queues/none/retry"), 404)


# -- deletion -----------------------------------------------------------------------------------------------
async def test_a_queue_with_an_active_task_is_not_deleted_and_its_finished_ones_go_along() -> None:
    runner = SteeredRunner()
    async with open_api(runner) as api:
        task = await api.task(delay=0)
        await runner.begun.wait()
        check_problem(await api.call("DELETE", "/v1/queues/q"), 409)
        runner.go.set()
        await api.engine.wait(task["id"])
        assert (await api.call("DELETE", "/v1/queues/q")).status == 204
        check_problem(await api.get(f"/v1/tasks/{task['id']}"), 404)
        assert (await api.get("/v1/queues")).json == {"queues": []}


async def test_a_queue_that_was_deleted_begins_anew_with_the_default_policy() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "timeout": 9})
        await api.call("DELETE", "/v1/queues/q")
        assert (await api.task())["timeout"] == 30
