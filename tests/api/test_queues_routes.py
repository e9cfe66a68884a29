"""Queues over HTTP."""

from __future__ import annotations

from tests.api.api_world import check_problem, open_api

DEFAULTS = {
    "max_retries": 3,
    "retry_backoff": "exponential",
    "retry_delay": 1,
    "retry_delay_max": 3600,
    "retry_jitter": 0.1,
    "timeout": 30,
    "concurrency": 50,
    "paused": False,
}


async def test_a_queue_is_created_with_defaults() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/queues", {"name": "emails"})
        assert reply.status == 201
        assert reply.headers["Location"] == "/v1/queues/emails"
        queue = reply.json
        assert queue.pop("created_at").endswith("Z")
        counts = {"pending": 0, "active": 0, "completed": 0, "failed": 0}
        assert queue == {"name": "emails", **DEFAULTS, "counts": counts}
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
            "paused": True,
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
        check_problem(await api.post("/v1/queues/q/pause", {"for": 3}), 400)


async def test_a_queue_is_deleted_once_it_holds_nothing_to_do() -> None:
    async with open_api() as api:
        task = await api.task()
        check_problem(await api.call("DELETE", "/v1/queues/q"), 409)
        await api.call("DELETE", f"/v1/tasks/{task['id']}")
        reply = await api.call("DELETE", "/v1/queues/q")
        assert (reply.status, reply.body) == (204, b"")
        check_problem(await api.get("/v1/queues/q"), 404)
        check_problem(await api.call("DELETE", "/v1/queues/q"), 404)
