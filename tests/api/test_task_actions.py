"""What can be asked of one task over HTTP: to wait for its end, to retry it, to explain it; its callback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from aq.api.front import open_front, open_listeners
from aq.outcome import AttemptStatus, ErrorType, Outcome
from tests.api.api_world import KEY, URL, Api, Reply, SteeredRunner, check_problem, open_api
from tests.server.serve_world import client, running

FAILED = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.HTTP_5XX, error="500", response_code=500)
GONE = Outcome(status=AttemptStatus.FAILURE, error_type=ErrorType.GONE, error="410", response_code=410)


def ready(*outcomes: Outcome) -> SteeredRunner:
    """Ends each attempt at once."""
    runner = SteeredRunner(list(outcomes))
    runner.go.set()
    return runner


async def failed_task(api: Api, **fields: Any) -> dict[str, Any]:
    task = await api.task(delay=0, max_retries=0, **fields)
    await api.engine.wait(task["id"])
    return await shown(api, task["id"])


async def shown(api: Api, task_id: str) -> dict[str, Any]:
    reply = await api.get(f"/v1/tasks/{task_id}")
    assert reply.status == 200
    return dict(reply.json)


# -- wait ---------------------------------------------------------------------------------------------------
class Waiting:
    """One request that waits, sent beside what a test does meanwhile."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.at = 0.0
        """When it was answered, in Trio's time."""
        self.answered = trio.Event()

    async def send(self, ask: Callable[[], Awaitable[Reply]]) -> None:
        self.reply = await ask()
        self.at = trio.current_time()
        self.answered.set()


def begin(nursery: trio.Nursery, api: Api, task_id: str, wait: str) -> Waiting:
    waiting = Waiting()
    nursery.start_soon(waiting.send, lambda: api.get(f"/v1/tasks/{task_id}?wait={wait}"))
    return waiting


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [([Outcome.success()], "completed"), ([GONE], "failed"), ([FAILED, FAILED], "failed")],
)
async def test_a_wait_is_answered_as_soon_as_the_task_has_ended(
    outcomes: list[Outcome], status: str, autojump_clock: trio.testing.MockClock
) -> None:
    runner, retries = SteeredRunner(list(outcomes)), len(outcomes) - 1
    async with open_api(runner) as api, trio.open_nursery() as nursery:
        await api.post("/v1/queues", {"name": "q", "retry_jitter": 0})
        task = await api.task(delay=10, max_retries=1)
        begun = trio.current_time()
        waiting = begin(nursery, api, task["id"], "60")
        await trio.sleep(15)
        assert not waiting.answered.is_set()
        runner.go.set()
        await waiting.answered.wait()
        assert waiting.reply is not None
        assert (waiting.reply.status, waiting.reply.json["status"]) == (200, status)
        assert waiting.reply.json == await shown(api, task["id"])
        assert waiting.at - begun == 15 + retries


@pytest.mark.parametrize(("wait", "seconds"), [("5", 5), ("60", 60), ("0.5", 0.5)])
async def test_a_wait_that_runs_out_is_answered_with_the_present_state(
    wait: str, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_api() as api, trio.open_nursery() as nursery:
        task = await api.task()
        begun = trio.current_time()
        waiting = begin(nursery, api, task["id"], wait)
        await waiting.answered.wait()
        assert waiting.reply is not None
        assert (waiting.reply.status, waiting.reply.json["status"]) == (200, "pending")
        assert waiting.at - begun == pytest.approx(seconds)


async def test_a_wait_shows_what_became_of_the_task_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api() as api, trio.open_nursery() as nursery:
        task = await api.task(delay=3)
        waiting = begin(nursery, api, task["id"], "10")
        await waiting.answered.wait()
        assert waiting.reply is not None
        assert (waiting.reply.json["status"], waiting.reply.json["attempt"]) == ("active", 1)


async def test_a_wait_ends_when_its_key_is_revoked(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api() as api, trio.open_nursery() as nursery:
        task = await api.task()
        key, text = await api.engine.keys.create("k")
        waiting, begun = Waiting(), trio.current_time()
        path = f"/v1/tasks/{task['id']}?wait=60"
        nursery.start_soon(waiting.send, lambda: api.get(path, key=text))
        other = begin(nursery, api, task["id"], "20")
        await trio.sleep(10)
        await api.engine.keys.revoke(key.id)
        await waiting.answered.wait()
        assert waiting.reply is not None
        check_problem(waiting.reply, 401)
        assert waiting.at - begun == 10
        await other.answered.wait()
        assert other.reply is not None
        assert other.reply.status == 200


@pytest.mark.parametrize("query", ["", "?wait=0", "?wait=0.0"])
async def test_without_a_wait_the_answer_comes_at_once(
    query: str, mock_clock: trio.testing.MockClock
) -> None:
    async with open_api() as api:
        task = await api.task()
        assert (await api.get(f"/v1/tasks/{task['id']}{query}")).json["status"] == "pending"


async def test_of_a_task_that_has_ended_it_comes_at_once(mock_clock: trio.testing.MockClock) -> None:
    async with open_api(ready()) as api:
        task = await api.task(delay=0)
        await api.engine.wait(task["id"])
        assert (await api.get(f"/v1/tasks/{task['id']}?wait=60")).json["status"] == "completed"


@pytest.mark.parametrize("wait", ["-1", "61", "60.1", "x", "", "1e1", "nan", "inf", "5&wait=6"])
async def test_422_for_a_wait_that_is_none(wait: str) -> None:
    async with open_api() as api:
        task = await api.task()
        assert (await api.get(f"/v1/tasks/{task['id']}?wait={wait}")).fields == {"wait"}


async def test_a_wait_for_a_task_that_is_deleted_meanwhile_is_a_404(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api, trio.open_nursery() as nursery:
        task = await api.task()
        waiting = begin(nursery, api, task["id"], "60")
        await trio.testing.wait_all_tasks_blocked()
        assert (await api.call("DELETE", f"/v1/tasks/{task['id']}")).status == 204
        await waiting.answered.wait()
        assert waiting.reply is not None
        check_problem(waiting.reply, 404)
        check_problem(await api.get("/v1/tasks/task_none?wait=60"), 404)


async def test_when_the_service_ends_a_wait_is_answered_with_the_present_state() -> None:
    async with open_api() as api, trio.open_nursery() as nursery:
        task = await api.task(delay=0)
        waiting = begin(nursery, api, task["id"], "60")
        await trio.testing.wait_all_tasks_blocked()
        await api.engine.drain(0)
        api.engine.dismiss()
        await waiting.answered.wait()
        assert waiting.reply is not None
        assert (waiting.reply.status, waiting.reply.json["status"]) == (200, "active")


async def test_a_wait_is_answered_when_aq_serve_is_told_to_end(tmp_path: Path) -> None:
    async with running(tmp_path) as server, client(server.url, server.key) as sender:
        body = {"queue": "q", "webhook_url": "https://example.com/", "delay": 3600}
        task = (await sender.post("/v1/tasks", json=body)).json()
        address = httpx.URL(server.url)
        head = f"GET /v1/tasks/{task['id']}?wait=60 HTTP/1.1\r\nHost: a\r\nX-API-Key: {server.key}\r\n\r\n"
        async with await trio.open_tcp_stream(address.host, address.port or 80) as waiting:
            await waiting.send_all(head.encode())
            assert (await sender.get("/v1/tasks")).status_code == 200
            server.terminate()
            answer = b"".join([part async for part in waiting])
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"status":"pending"' in answer


async def test_a_wait_costs_no_more_than_its_connection() -> None:
    """Of a client that has gone nothing is left behind."""
    async with open_api() as api:
        task = await api.task()
        listeners = await open_listeners("127.0.0.1", 0)
        port = listeners[0].socket.getsockname()[1]
        async with open_front(api.app, listeners) as front:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            head = f"GET /v1/tasks/{task['id']}?wait=60 HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n"
            await stream.send_all(head.encode())
            watched = api.engine._services.waiters._events
            while not watched:
                await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
            await front.wait_empty()
            assert not watched


# -- retry --------------------------------------------------------------------------------------------------
async def test_a_failed_task_is_pending_again_with_its_history(mock_clock: trio.testing.MockClock) -> None:
    runner = ready(FAILED, FAILED)
    async with open_api(runner) as api:
        before = await failed_task(api)
        assert (before["status"], before["failure_reason"], before["error_type"]) == (
            "failed",
            "exhausted",
            "http_5xx",
        )
        mock_clock.jump(100)
        runner.go = trio.Event()
        reply = await api.post(f"/v1/tasks/{before['id']}/retry")
        assert reply.status == 200
        answer = reply.json
        assert (answer["id"], answer["status"], answer["attempt"]) == (before["id"], "pending", None)
        assert (answer["failed_at"], answer["failure_reason"]) == (None, None)
        assert answer["due_at"] > before["failed_at"]
        assert answer["created_at"] == before["created_at"]
        await trio.testing.wait_all_tasks_blocked()
        running = await shown(api, before["id"])
        assert (running["status"], running["attempt"]) == ("active", 2)
        assert [attempt["number"] for attempt in running["attempts"]] == [1]
        runner.go.set()
        await api.engine.wait(before["id"])
        after = await shown(api, before["id"])
        assert [attempt["number"] for attempt in after["attempts"]] == [1, 2]
        assert after["attempts"][0] == before["attempts"][0]


async def test_a_retry_has_a_fresh_allowance_of_retries(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api(ready(*[FAILED] * 6)) as api:
        task = await api.task(delay=0, max_retries=2)
        await api.engine.wait(task["id"])
        for attempts in (3, 6):
            after = await shown(api, task["id"])
            assert (after["status"], len(after["attempts"])) == ("failed", attempts)
            await api.post(f"/v1/tasks/{task['id']}/retry")
            await api.engine.wait(task["id"])
        after = await shown(api, task["id"])
        assert (after["status"], len(after["attempts"])) == ("completed", 7)


async def test_a_task_that_is_gone_for_its_receiver_can_be_retried_too() -> None:
    async with open_api(ready(GONE)) as api:
        before = await failed_task(api)
        assert before["failure_reason"] == "gone"
        assert (await api.post(f"/v1/tasks/{before['id']}/retry", {})).status == 200
        await api.engine.wait(before["id"])
        assert (await shown(api, before["id"]))["status"] == "completed"


async def test_409_for_a_retry_of_what_has_not_failed() -> None:
    runner = SteeredRunner()
    async with open_api(runner) as api:
        pending, active = await api.task(), await api.task(delay=0)
        await runner.begun.wait()
        for task in (pending, active):
            check_problem(await api.post(f"/v1/tasks/{task['id']}/retry"), 409)
        runner.go.set()
        await api.engine.wait(active["id"])
        check_problem(await api.post(f"/v1/tasks/{active['id']}/retry"), 409)


async def test_a_retry_takes_no_body_and_needs_a_task() -> None:
    async with open_api(ready(FAILED)) as api:
        task = await failed_task(api)
        assert (await api.post(f"/v1/tasks/{task['id']}/retry", {"delay": 3})).fields == {"delay"}
        check_problem(await api.post("/v1/tasks/task_none/retry"), 404)
        assert (await shown(api, task["id"]))["status"] == "failed"


# -- explain ------------------------------------------------------------------------------------------------
async def explained(api: Api, task_id: str, **kwargs: Any) -> dict[str, Any]:
    reply = await api.get(f"/v1/tasks/{task_id}/explain", **kwargs)
    assert reply.status == 200, reply.body
    assert set(reply.json) == {"task_id", "status", "reasons", "tasks_ahead", "tasks_ahead_exact", "retries"}
    for reason in reply.json["reasons"]:
        assert set(reason) == {"reason", "detail", "until"}
        assert reason["detail"]
    assert reply.json["task_id"] == task_id
    return dict(reply.json)


def reasons(told: dict[str, Any]) -> list[str]:
    return [reason["reason"] for reason in told["reasons"]]


async def test_explain_tells_when_a_task_is_due_and_its_retries_to_come() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "retry_delay": 10, "retry_delay_max": 30})
        task = await api.task(delay=3600, max_retries=4)
        told = await explained(api, task["id"])
        assert (told["status"], told["tasks_ahead"], told["tasks_ahead_exact"]) == ("pending", 0, True)
        assert reasons(told) == ["scheduled"]
        assert told["reasons"][0]["until"] == task["due_at"]
        assert [(retry["attempt"], retry["wait"]) for retry in told["retries"]] == [
            (2, 10),
            (3, 20),
            (4, 30),
            (5, 30),
        ]
        assert told["retries"][0]["at"] > task["due_at"]


async def test_explain_tells_of_a_pause_and_of_tasks_ahead() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "q", "paused": True})
        for _ in range(3):
            await api.task(delay=0)
        task = await api.task(delay=0, priority=1)
        told = await explained(api, task["id"])
        assert reasons(told) == ["paused", "tasks_ahead"]
        assert told["tasks_ahead"] == 3


async def test_explain_tells_of_a_full_queue_a_rate_and_a_destination() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "slots", "concurrency": 1})
        await api.post("/v1/queues", {"name": "rate", "rate_limit": {"per_second": 0.01, "burst": 1}})
        await api.post("/v1/queues", {"name": "destination", "destination_concurrency": 1})
        expected = {"slots": "concurrency", "rate": "rate_limit", "destination": "destination_concurrency"}
        for queue, reason in expected.items():
            await api.task(queue=queue, delay=0)
            task = await api.task(queue=queue, delay=0)
            await trio.testing.wait_all_tasks_blocked()
            told = await explained(api, task["id"])
            assert reason in reasons(told), queue
        assert told["reasons"][0]["until"] is None


async def test_explain_tells_of_an_earlier_task_of_the_ordering_key() -> None:
    async with open_api() as api:
        first = await api.task(ordering_key="ada", delay=3600)
        task = await api.task(ordering_key="ada", delay=0)
        told = await explained(api, task["id"])
        assert "ordering_key" in reasons(told)
        assert first["id"] in told["reasons"][-1]["detail"]


async def test_explain_tells_of_a_destination_that_asked_for_a_pause() -> None:
    busy = Outcome(
        status=AttemptStatus.FAILURE,
        error_type=ErrorType.HTTP_429,
        error="429",
        response_code=429,
        retry_after=30,
    )
    async with open_api(ready(busy)) as api:
        first = await api.task(delay=0)
        await trio.testing.wait_all_tasks_blocked()
        task = await api.task(queue="other", delay=0)
        await trio.testing.wait_all_tasks_blocked()
        told = await explained(api, task["id"])
        assert "destination_held" in reasons(told)
        assert told["reasons"][0]["until"]
        assert "scheduled" in reasons(await explained(api, first["id"]))


async def test_explain_tells_of_a_task_that_runs_has_ended_or_is_in_the_sandbox() -> None:
    runner = SteeredRunner()
    async with open_api(runner) as api:
        task = await api.task(delay=0)
        await runner.begun.wait()
        told = await explained(api, task["id"])
        assert (told["status"], reasons(told), len(told["retries"])) == ("active", ["running"], 3)
        runner.go.set()
        await api.engine.wait(task["id"])
        told = await explained(api, task["id"])
        assert (told["status"], reasons(told), told["retries"]) == ("completed", ["ended"], [])
        _, key = await api.engine.keys.create("sandbox", environment="test")
        body = {"queue": "q", "webhook_url": URL}
        sandboxed = (await api.post("/v1/tasks", body, key=key)).json["id"]
        assert "sandbox" in reasons(await explained(api, sandboxed, key=key))


async def test_explain_tells_that_the_service_is_shutting_down_and_of_nobody_it_is_a_404() -> None:
    async with open_api() as api:
        task = await api.task(delay=0, queue="other")
        api.engine.begin_drain()
        assert (await explained(api, task["id"]))["status"] in ("pending", "active")
        check_problem(await api.get("/v1/tasks/task_none/explain"), 404)


# -- callbacks ----------------------------------------------------------------------------------------------
async def test_a_task_shows_its_callback_once_it_has_one() -> None:
    runner = SteeredRunner()
    async with open_api(runner) as api:
        url = "https://example.com/told"
        task = await api.task(delay=0, callback_url=url)
        assert (task["callback_url"], task["callback"]) == (url, None)
        await runner.begun.wait()
        assert (await shown(api, task["id"]))["callback"] is None
        runner.go.set()
        await api.engine.wait(task["id"])
        await trio.testing.wait_all_tasks_blocked()
        callback = (await shown(api, task["id"]))["callback"]
        assert callback.pop("id").startswith("cb_")
        assert callback == {"status": "completed", "attempts": 1}
        told = runner.deliveries[-1]
        assert (told.webhook_url, told.tells_of) == (url, task["id"])
        body = told.json()
        assert (body["event"], body["task"]["id"]) == ("task.completed", task["id"])
        assert {**body["task"], "callback": None} == {**await shown(api, task["id"]), "callback": None}


async def test_a_callback_is_in_no_list_and_no_count_and_has_no_address() -> None:
    async with open_api(ready()) as api:
        task = await api.task(delay=0, callback_url="https://example.com/told")
        await api.engine.wait(task["id"])
        await trio.testing.wait_all_tasks_blocked()
        page = (await api.get("/v1/tasks")).json
        assert ([task["id"] for task in page["tasks"]], page["pagination"]["total"]) == ([task["id"]], 1)
        (queue,) = (await api.get("/v1/queues")).json["queues"]
        assert (queue["name"], queue["counts"]["completed"]) == ("q", 1)
        callback = (await shown(api, task["id"]))["callback"]["id"]
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/explain")):
            check_problem(await api.call(method, f"/v1/tasks/{callback}{path}"), 404)
