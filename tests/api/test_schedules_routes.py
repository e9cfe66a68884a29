"""Schedules over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import trio

from aq.api.app import create_app
from aq.apikey import Scope
from aq.opening import open_engine
from aq.task import Environment
from tests.api.api_world import KEY, SECRET, URL, Api, SteeredRunner, check_problem, open_api

TASK = {"queue": "q", "webhook_url": URL}
HOURLY = {"cron": "0 * * * *", "task": TASK}


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    reply = await api.post("/v1/schedules", {**HOURLY, **fields})
    assert reply.status == 201, reply.body
    return dict(reply.json)


async def key_for(api: Api, *queues: str, environment: Environment = Environment.LIVE) -> str:
    """The text of a new key, for some queues or for all."""
    _, text = await api.engine.keys.create(
        "k", environment=environment, scopes=(Scope.READ, Scope.WRITE), queues=queues or None
    )
    return text


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


# -- made and read ------------------------------------------------------------------------------------------
async def test_a_schedule_is_created_with_defaults() -> None:
    async with open_api() as api:
        reply = await api.post("/v1/schedules", HOURLY)
        assert reply.status == 201
        schedule = dict(reply.json)
        assert reply.headers["Location"] == f"/v1/schedules/{schedule['id']}"
        assert (await api.get(f"/v1/schedules/{schedule['id']}")).json == schedule
        assert (await api.get("/v1/schedules")).json == {"schedules": [schedule]}
        created = moment(schedule.pop("created_at"))
        runs = [moment(text) for text in schedule.pop("next_runs")]
        assert schedule.pop("id").startswith("sch_")
        assert schedule == {
            "cron": "0 * * * *",
            "every": None,
            "timezone": "UTC",
            "task": TASK,
            "overlap": "allow",
            "catch_up": "none",
            "paused": False,
            "last_run_at": None,
            "last_task_id": None,
        }
        first = created.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        assert runs == [first + timedelta(hours=number) for number in range(5)]


async def test_a_schedule_is_created_with_every_field() -> None:
    async with open_api() as api:
        fields = {
            "cron": "30 9 * * MON-FRI",
            "timezone": "Europe/Berlin",
            "task": {
                **TASK,
                "payload": {"a": [1, {"b": None}]},
                "priority": 9,
                "expires_in": 60,
                "tags": ["t"],
                "method": "PUT",
                "max_retries": 0,
                "timeout": 5,
                "ordering_key": "k",
                "callback_url": URL,
                "headers": {"x-secret": "s"},
            },
            "overlap": "skip",
            "catch_up": "all",
        }
        schedule = await made(api, **fields)
        shown = {**fields, "task": {**fields["task"], "headers": {"x-secret": "***"}}}  # type: ignore[dict-item]
        assert {name: schedule[name] for name in fields} == shown
        (listed,) = (await api.get("/v1/schedules")).json["schedules"]
        assert "payload" not in listed["task"]


async def test_a_fixed_span_counts_from_the_creation() -> None:
    async with open_api() as api:
        schedule = await made(api, cron=None, every=90)
        created = moment(schedule["created_at"])
        runs = [moment(text) for text in schedule["next_runs"]]
        assert runs == [created + timedelta(seconds=90 * number) for number in range(1, 6)]


async def test_a_payload_keeps_its_bytes() -> None:
    async with open_api() as api:
        text = b'{"n": 1.0,  "s":"\\u00e4"}'
        body = b'{"every": 60, "task": {"queue":"q", "webhook_url":"%b", "payload": %b}}' % (
            URL.encode(),
            text,
        )
        reply = await api.post("/v1/schedules", raw=body)
        assert reply.status == 201
        assert text in reply.body
        task = (await api.post(f"/v1/schedules/{reply.json['id']}/run")).json
        assert text in (await api.get(f"/v1/tasks/{task['id']}")).body


async def test_a_payload_may_hold_a_number_past_every_float() -> None:
    async with open_api() as api:
        task_of = b'{"queue": "q", "webhook_url": "%b", "payload": {"n":1e309}}' % URL.encode()
        body = b'{"every": 9999, "task": %b}' % task_of
        reply = await api.post("/v1/schedules", raw=body)
        assert reply.status == 201
        one = f"/v1/schedules/{reply.json['id']}"
        assert (await api.call("PATCH", one, raw=body)).status == 200
        task = (await api.post(f"{one}/run")).json
        assert b'{"n":1e309}' in (await api.get(f"/v1/tasks/{task['id']}")).body


async def test_every_wrong_field_is_named() -> None:
    wrong = {
        "cron": "0 0 30 2 *",
        "timezone": "Mars",
        "task": {
            "queue": "a b",
            "webhook_url": "ftp://h/",
            "delay": 0,
            "run_at": None,
            "idempotency_key": "i",
        },
        "overlap": "never",
        "catch_up": True,
        "environment": "test",
        "schedule_id": "x",
        "self": 1,
    }
    names = {name for name in wrong if name != "task"} | {f"task.{name}" for name in wrong["task"]}  # type: ignore[attr-defined]
    async with open_api() as api:
        assert (await api.post("/v1/schedules", wrong)).fields == names
        assert (await api.post("/v1/schedules", {})).fields == {"cron", "task"}
        assert (await api.post("/v1/schedules", {**HOURLY, "every": 60})).fields == {"every"}
        assert (await api.post("/v1/schedules", {"task": TASK, "every": 0})).fields == {"every"}
        schedule = await made(api)
        one = f"/v1/schedules/{schedule['id']}"
        assert (await api.call("PATCH", one, wrong)).fields == names
        assert (await api.call("PATCH", one, {"cron": None})).fields == {"cron"}
        assert (await api.call("PATCH", one, {"paused": True})).fields == {"paused"}
        assert (await api.get(one)).json == schedule


async def test_a_task_that_may_not_go_there_is_refused_at_once() -> None:
    """With the runner that delivers webhooks, which has a guard."""
    async with open_engine(signing_secrets=SECRET) as engine:
        engine.keys.add_operator_key(KEY)
        api = Api(create_app(engine), engine, SteeredRunner())
        task = {**TASK, "callback_url": URL}
        wrong = {"task.webhook_url", "task.callback_url"}
        assert (await api.post("/v1/schedules", {**HOURLY, "task": task})).fields == wrong
        schedule = await made(api, task={**TASK, "webhook_url": "https://example.com/"})
        reply = await api.call("PATCH", f"/v1/schedules/{schedule['id']}", {"task": task})
        assert reply.fields == wrong


async def test_queries_bodies_and_unknown_ids() -> None:
    async with open_api() as api:
        one = f"/v1/schedules/{(await made(api))['id']}"
        assert (await api.get("/v1/schedules?limit=1")).fields == {"limit"}
        for act in ("pause", "resume", "run"):
            assert (await api.post(f"{one}/{act}", {"for": 3})).fields == {"for"}
        for path in ("/v1/schedules/none", "/v1/schedules/sch_" + "0" * 26, "/v1/schedules/%00"):
            for method in ("GET", "DELETE"):
                check_problem(await api.call(method, path), 404)
            check_problem(await api.call("PATCH", path, {}), 404)
            for act in ("pause", "resume", "run"):
                check_problem(await api.post(f"{path}/{act}"), 404)


# -- changed ------------------------------------------------------------------------------------------------
async def test_a_patch_changes_what_it_names() -> None:
    async with open_api() as api:
        schedule = await made(api, timezone="Europe/Berlin")
        one = f"/v1/schedules/{schedule['id']}"
        assert (await api.call("PATCH", one, {})).json == schedule
        changed = (await api.call("PATCH", one, {"overlap": "skip"})).json
        assert changed == {**schedule, "overlap": "skip"}
        changed = (await api.call("PATCH", one, {"every": 60, "task": {**TASK, "priority": 1}})).json
        assert (changed["cron"], changed["every"], changed["timezone"]) == (None, 60, "UTC")
        assert changed["task"] == {**TASK, "priority": 1}
        assert (await api.get(one)).json == changed


async def test_pause_and_resume() -> None:
    async with open_api() as api:
        schedule = await made(api)
        one = f"/v1/schedules/{schedule['id']}"
        paused = await api.post(f"{one}/pause")
        assert (paused.status, paused.json["paused"], paused.json["next_runs"]) == (200, True, [])
        assert (await api.post(f"{one}/pause")).json == paused.json
        assert (await api.post(f"{one}/resume", {})).json == schedule


async def test_run_makes_a_task_at_once() -> None:
    async with open_api() as api:
        one = f"/v1/schedules/{(await made(api))['id']}"
        await api.post(f"{one}/pause")
        reply = await api.post(f"{one}/run")
        assert reply.status == 201
        assert reply.headers["Location"] == f"/v1/tasks/{reply.json['id']}"
        assert (reply.json["queue"], reply.json["schedule_id"]) == ("q", one.rpartition("/")[2])
        shown = (await api.get(one)).json
        assert shown["last_task_id"] == reply.json["id"]
        assert shown["last_run_at"][:23] == reply.json["created_at"][:23]
        await api.runner.begun.wait()


async def test_a_deleted_schedule_is_gone_and_its_tasks_stay() -> None:
    async with open_api() as api:
        one = f"/v1/schedules/{(await made(api))['id']}"
        task = (await api.post(f"{one}/run")).json
        reply = await api.call("DELETE", one)
        assert (reply.status, reply.body) == (204, b"")
        check_problem(await api.get(one), 404)
        assert (await api.get(f"/v1/tasks/{task['id']}")).status == 200


async def test_a_slot_fires_and_is_told_of(autojump_clock: object) -> None:
    start = 1_790_000_000
    async with open_api(wall=lambda: start + trio.current_time()) as api:
        schedule = await made(api, cron=None, every=60, task={**TASK, "payload": {"a": 1}})
        await trio.sleep(60.5)
        await api.runner.begun.wait()
        (delivery,) = api.runner.deliveries
        shown = (await api.get(f"/v1/schedules/{schedule['id']}")).json
        assert shown["last_task_id"] == delivery.task_id
        assert moment(shown["last_run_at"]) == moment(schedule["created_at"]) + timedelta(seconds=60)
        assert shown["next_runs"][0] == schedule["next_runs"][1]
        api.runner.go.set()


# -- whose --------------------------------------------------------------------------------------------------
async def test_live_and_test_are_apart() -> None:
    async with open_api() as api:
        test = await key_for(api, environment=Environment.TEST)
        live = await made(api)
        reply = await api.post("/v1/schedules", HOURLY, key=test)
        assert reply.status == 201
        assert [one["id"] for one in (await api.get("/v1/schedules")).json["schedules"]] == [live["id"]]
        listed = (await api.get("/v1/schedules", key=test)).json["schedules"]
        assert [one["id"] for one in listed] == [reply.json["id"]]
        check_problem(await api.get(f"/v1/schedules/{live['id']}", key=test), 404)
        check_problem(await api.get(f"/v1/schedules/{reply.json['id']}"), 404)
        assert (await api.post(f"/v1/schedules/{reply.json['id']}/run", key=test)).status == 201


async def test_a_key_for_some_queues_sees_and_makes_only_their_schedules() -> None:
    async with open_api() as api:
        key = await key_for(api, "mine")
        other = await made(api)
        one = f"/v1/schedules/{other['id']}"
        check_problem(await api.get(one, key=key), 404)
        check_problem(await api.call("DELETE", one, key=key), 404)
        check_problem(await api.call("PATCH", one, {"task": {**TASK, "queue": "mine"}}, key=key), 404)
        for act in ("pause", "resume", "run"):
            check_problem(await api.post(f"{one}/{act}", key=key), 404)
        assert (await api.get("/v1/schedules", key=key)).json == {"schedules": []}
        check_problem(await api.post("/v1/schedules", HOURLY, key=key), 403)
        reply = await api.post("/v1/schedules", {**HOURLY, "task": {**TASK, "queue": "mine"}}, key=key)
        assert reply.status == 201
        mine = f"/v1/schedules/{reply.json['id']}"
        check_problem(await api.call("PATCH", mine, {"task": TASK}, key=key), 403)
        assert (await api.call("PATCH", mine, {"overlap": "skip"}, key=key)).status == 200
        assert len((await api.get("/v1/schedules", key=key)).json["schedules"]) == 1


async def test_changes_need_the_scope_to_write() -> None:
    async with open_api() as api:
        _, key = await api.engine.keys.create("k", scopes=(Scope.READ,))
        one = f"/v1/schedules/{(await made(api))['id']}"
        assert (await api.get(one, key=key)).status == 200
        check_problem(await api.post("/v1/schedules", HOURLY, key=key), 403)
        check_problem(await api.call("PATCH", one, {}, key=key), 403)
        check_problem(await api.call("DELETE", one, key=key), 403)
        for act in ("pause", "resume", "run"):
            check_problem(await api.post(f"{one}/{act}", key=key), 403)


async def test_an_idempotency_key_makes_one_schedule_and_one_run() -> None:
    once = {"Idempotency-Key": "once"}
    async with open_api() as api:
        first = await api.post("/v1/schedules", HOURLY, headers=once)
        again = await api.post("/v1/schedules", HOURLY, headers=once)
        assert (first.status, again.status) == (201, 200)
        assert again.headers["Idempotent-Replay"] == "true"
        assert again.json["id"] == first.json["id"]
        assert len((await api.get("/v1/schedules")).json["schedules"]) == 1
        other = await api.post("/v1/schedules", {**HOURLY, "overlap": "skip"}, headers=once)
        check_problem(other, 409)

        run = f"/v1/schedules/{first.json['id']}/run"
        made = await api.post(run, headers={"Idempotency-Key": "run"})
        replay = await api.post(run, headers={"Idempotency-Key": "run"})
        assert (made.status, replay.status) == (201, 200)
        assert made.json == replay.json
        assert (await api.get("/v1/tasks")).json["pagination"]["total"] == 1
