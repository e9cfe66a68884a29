"""What a key sees and reaches over every route: its environment and its queues, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import trio.testing

from aq.outcome import Outcome
from tests.api.api_world import URL, Api, Reply, SteeredRunner, check_problem, open_api
from tests.api.test_events_routes import listening

pytestmark = pytest.mark.usefixtures("both_doors")

BODY: dict[str, Any] = {"queue": "q", "webhook_url": URL, "delay": 3600}
SCHEDULE: dict[str, Any] = {"every": 3600, "task": {"queue": "q", "webhook_url": URL}}

NAMES_A_TASK = [
    ("GET", "/v1/tasks/{task}", None),
    ("GET", "/v1/tasks/{task}?wait=60", None),
    ("GET", "/v1/tasks/{task}/explain", None),
    ("POST", "/v1/tasks/{task}/retry", None),
    ("DELETE", "/v1/tasks/{task}", None),
]
NAMES_A_QUEUE = [
    ("GET", "/v1/queues/{queue}", None),
    ("PATCH", "/v1/queues/{queue}", {"timeout": 9}),
    ("POST", "/v1/queues/{queue}/pause", None),
    ("POST", "/v1/queues/{queue}/resume", None),
    ("POST", "/v1/queues/{queue}/retry", {}),
    ("POST", "/v1/queues/{queue}/retry", {"dry_run": True}),
    ("POST", "/v1/queues/{queue}/purge", {}),
    ("POST", "/v1/queues/{queue}/purge", {"dry_run": True}),
    ("DELETE", "/v1/queues/{queue}", None),
]
NAMES_A_SCHEDULE = [
    ("GET", "/v1/schedules/{schedule}", None),
    ("PATCH", "/v1/schedules/{schedule}", {"every": 60}),
    ("POST", "/v1/schedules/{schedule}/pause", None),
    ("POST", "/v1/schedules/{schedule}/resume", None),
    ("POST", "/v1/schedules/{schedule}/run", None),
    ("DELETE", "/v1/schedules/{schedule}", None),
]
NAMES_ONE = [*NAMES_A_TASK, *NAMES_A_QUEUE, *NAMES_A_SCHEDULE]
CREATES = [
    ("/v1/tasks", BODY),
    ("/v1/tasks/batch", {"tasks": [BODY]}),
    ("/v1/queues", {"name": "q"}),
    ("/v1/schedules", SCHEDULE),
]
LISTS = ["/v1/tasks", "/v1/queues", "/v1/schedules", "/v1/stats", "/v1/events"]
OWN_TABLE = ["/v1/apikeys", "/v1/apikeys/<>"]
"""Keys of keys: see `test_apikeys_routes`."""


async def test_the_tables_have_every_route() -> None:
    """A new route has to say here how it keeps environments and queues apart."""
    named = {path.partition("?")[0] for _, path, _ in NAMES_ONE} | {path for path, _ in CREATES} | set(LISTS)
    known = {re.sub(r"{\w+}", "<>", path) for path in named} | set(OWN_TABLE)
    async with open_api() as api:
        rules = {re.sub(r"<\w+>", "<>", rule.rule) for rule in api.app.url_map.iter_rules()}
    assert known == {rule for rule in rules if rule.startswith("/v1/")}


async def made(api: Api, **fields: Any) -> str:
    """A new key's text."""
    _, text = await api.engine.keys.create("made", **fields)
    return text


async def things(api: Api, key: str, queue: str) -> Mapping[str, str]:
    """One of each kind, in a queue."""
    task = await api.post("/v1/tasks", {**BODY, "queue": queue}, key=key)
    schedule = await api.post(
        "/v1/schedules", {"every": 3600, "task": {**SCHEDULE["task"], "queue": queue}}, key=key
    )
    assert (task.status, schedule.status) == (201, 201), (task.body, schedule.body)
    return {"task": task.json["id"], "queue": queue, "schedule": schedule.json["id"]}


async def ask(api: Api, route: tuple[str, str, Any], names: Mapping[str, str], key: str) -> Reply:
    method, path, body = route
    return await api.call(method, path.format(**names), body, key=key)


async def state(api: Api, key: str, names: Mapping[str, str]) -> list[Any]:
    """All that can be known of the things, so that a change would show."""
    paths = ["/v1/tasks/{task}", "/v1/queues/{queue}", "/v1/schedules/{schedule}"]
    shown = [(await api.get(path.format(**names), key=key)).json for path in paths]
    for pace in ("rates", "lateness"):
        shown[1].pop(pace)
    shown[2].pop("next_runs")
    return shown


# -- environments -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("own", "other"), [("live", "test"), ("test", "live")])
async def test_what_is_in_the_other_environment_is_a_404_and_stays_as_it_is(own: str, other: str) -> None:
    async with open_api() as api:
        keys = {name: await made(api, environment=name) for name in ("live", "test")}
        names = await things(api, keys[other], "q")
        before = await state(api, keys[other], names)
        for route in NAMES_ONE:
            check_problem(await ask(api, route, names, keys[own]), 404)
        assert await state(api, keys[other], names) == before
        for route in NAMES_ONE[:3]:
            wait = route[1].endswith("wait=60")
            assert wait or (await ask(api, route, names, keys[other])).status == 200


@pytest.mark.parametrize("own", ["live", "test"])
async def test_lists_are_of_one_environment(own: str) -> None:
    async with open_api() as api:
        keys = {name: await made(api, environment=name) for name in ("live", "test")}
        names = {name: await things(api, key, f"{name}-queue") for name, key in keys.items()}
        mine, key = names[own], keys[own]
        tasks = (await api.get("/v1/tasks", key=key)).json
        assert [task["id"] for task in tasks["tasks"]] == [mine["task"]]
        assert tasks["pagination"]["total"] == 1
        queues = (await api.get("/v1/queues", key=key)).json["queues"]
        assert [queue["name"] for queue in queues] == [mine["queue"]]
        schedules = (await api.get("/v1/schedules", key=key)).json["schedules"]
        assert [schedule["id"] for schedule in schedules] == [mine["schedule"]]
        series = (await api.get("/v1/stats", key=key)).json["series"]
        assert sum(point["created"] for point in series) == 1


@pytest.mark.parametrize("own", ["live", "test"])
async def test_events_are_of_one_environment(own: str) -> None:
    async with open_api() as api:
        keys = {name: await made(api, environment=name) for name in ("live", "test")}
        other = "test" if own == "live" else "live"
        async with listening(api, key=keys[own]) as listener:
            await things(api, keys[other], "q")
            mine = await things(api, keys[own], "q")
            heard = [await listener.next() for _ in range(2)]
            assert [(event.event, event.data["queue"]) for event in heard] == [
                ("queue.created", "q"),
                ("task.created", "q"),
            ]
            assert heard[1].data["task_id"] == mine["task"]


async def test_a_name_in_both_environments_is_two_queues() -> None:
    async with open_api() as api:
        keys = {name: await made(api, environment=name) for name in ("live", "test")}
        for number, key in enumerate(keys.values()):
            reply = await api.post(
                "/v1/queues", {"name": "q", "timeout": 10 + number, "paused": True}, key=key
            )
            assert reply.status == 201
        await api.post("/v1/tasks", BODY, key=keys["live"])
        assert (await api.post("/v1/queues/q/purge", key=keys["test"])).json == {"count": 0}
        assert (await api.call("DELETE", "/v1/queues/q", key=keys["test"])).status == 204
        live = (await api.get("/v1/queues/q", key=keys["live"])).json
        assert (live["timeout"], live["counts"]["pending"]) == (10, 1)


async def test_sandbox_tasks_stay_pending_and_are_gone_after_7_days(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_api() as api:
        key = await made(api, environment="test")
        task = (await api.post("/v1/tasks", {**BODY, "delay": 0}, key=key)).json
        mock_clock.jump(6.9 * 86_400)
        await trio.testing.wait_all_tasks_blocked()
        shown = (await api.get(f"/v1/tasks/{task['id']}", key=key)).json
        assert (shown["status"], shown["attempts"]) == ("pending", [])
        mock_clock.jump(0.2 * 86_400)
        await trio.testing.wait_all_tasks_blocked()
        check_problem(await api.get(f"/v1/tasks/{task['id']}", key=key), 404)
        assert api.runner.deliveries == []


# -- lists of queues ----------------------------------------------------------------------------------------
async def test_what_is_in_a_queue_of_others_is_a_404_and_stays_as_it_is() -> None:
    async with open_api() as api:
        everything, restricted = await made(api), await made(api, queues=["mine"])
        names = await things(api, everything, "other")
        before = await state(api, everything, names)
        for route in NAMES_ONE:
            check_problem(await ask(api, route, names, restricted), 404)
        assert await state(api, everything, names) == before


async def test_a_404_tells_nothing_of_what_is_there_for_others() -> None:
    async with open_api() as api:
        everything, restricted = await made(api), await made(api, queues=["mine"])
        names = await things(api, everything, "other")
        missing = {
            "task": names["task"][:-4] + "0000",
            "queue": "nobody",
            "schedule": names["schedule"][:-4] + "0000",
        }
        for route in NAMES_ONE:
            there, not_there = [await ask(api, route, them, restricted) for them in (names, missing)]
            texts = []
            for reply, them in ((there, names), (not_there, missing)):
                text = reply.body.decode()
                for name in them.values():
                    text = text.replace(name, "…")
                texts.append((reply.status, text))
            assert texts[0] == texts[1], route


async def test_a_post_to_a_queue_of_others_is_a_403_and_makes_nothing() -> None:
    async with open_api() as api:
        restricted = await made(api, queues=["mine"])
        for path, body in CREATES:
            assert "q" in check_problem(await api.post(path, body, key=restricted), 403)["error"], path
        assert (await api.get("/v1/tasks")).json["tasks"] == []
        assert (await api.get("/v1/queues")).json["queues"] == []
        assert (await api.get("/v1/schedules")).json["schedules"] == []


async def test_a_schedule_is_not_moved_to_a_queue_of_others() -> None:
    async with open_api() as api:
        restricted = await made(api, queues=["mine"])
        names = await things(api, restricted, "mine")
        path = f"/v1/schedules/{names['schedule']}"
        check_problem(await api.call("PATCH", path, {"task": SCHEDULE["task"]}, key=restricted), 403)
        assert (await api.get(path, key=restricted)).json["task"]["queue"] == "mine"


async def test_lists_show_the_allowed_queues_only() -> None:
    async with open_api() as api:
        everything, restricted = await made(api), await made(api, queues=["mine", "ours", "empty"])
        names = {queue: await things(api, everything, queue) for queue in ("mine", "other", "ours")}
        allowed = [names["ours"], names["mine"]]
        tasks = (await api.get("/v1/tasks", key=restricted)).json
        assert [task["id"] for task in tasks["tasks"]] == [it["task"] for it in allowed]
        assert tasks["pagination"]["total"] == 2
        filtered = (await api.get("/v1/tasks?queue=other", key=restricted)).json
        assert (filtered["tasks"], filtered["pagination"]["total"]) == ([], 0)
        pending = (await api.get("/v1/tasks?status=pending&limit=1", key=restricted)).json["pagination"]
        assert (pending["total"], pending["has_more"]) == (2, True)
        queues = (await api.get("/v1/queues", key=restricted)).json["queues"]
        assert [queue["name"] for queue in queues] == ["mine", "ours"]
        schedules = (await api.get("/v1/schedules", key=restricted)).json["schedules"]
        assert [schedule["task"]["queue"] for schedule in schedules] == ["mine", "ours"]
        series = (await api.get("/v1/stats", key=restricted)).json["series"]
        assert sum(point["created"] for point in series) == 2


async def test_events_are_those_of_the_allowed_queues_only() -> None:
    async with open_api() as api:
        everything, restricted = await made(api), await made(api, queues=["mine"])
        async with listening(api, key=restricted) as listener:
            await things(api, everything, "other")
            names = await things(api, everything, "mine")
            heard = [await listener.next() for _ in range(2)]
            assert {event.data["queue"] for event in heard} == {"mine"}
            assert heard[1].data["task_id"] == names["task"]


async def test_within_its_queues_a_key_does_everything() -> None:
    failing = SteeredRunner([Outcome.failure("no")])
    failing.go.set()
    async with open_api(failing) as api:
        restricted = await made(api, queues=["mine"])
        failed = (await api.post("/v1/tasks", {**BODY, "queue": "mine", "delay": 0, "max_retries": 0})).json[
            "id"
        ]
        await api.engine.wait(failed)
        names = await things(api, restricted, "mine")
        paused = {"task": failed, **{name: names[name] for name in ("queue", "schedule")}}
        assert (await api.post("/v1/queues/mine/pause", key=restricted)).status == 200
        for route in NAMES_ONE:
            reply = await ask(api, route, paused, restricted)
            expected = {"DELETE": 204, "POST": 201 if route[1].endswith("/run") else 200}.get(route[0], 200)
            if route == ("GET", "/v1/tasks/{task}?wait=60", None):
                assert reply.json["status"] == "failed"
            if route == ("POST", "/v1/queues/{queue}/resume", None):
                await api.post("/v1/queues/mine/pause", key=restricted)
            assert reply.status == expected, (route, reply.body)
