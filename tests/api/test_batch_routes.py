"""Many tasks in one request: all of them or none."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing

from aq.api.creation import MOST_IN_A_BATCH
from tests.api.api_world import URL, Api, Reply, check_problem, open_api

pytestmark = pytest.mark.usefixtures("both_doors")

ITEM: dict[str, Any] = {"queue": "q", "webhook_url": URL, "delay": 3600}
BATCH = "/v1/tasks/batch"


async def send(api: Api, *items: object, **kwargs: Any) -> Reply:
    return await api.post(BATCH, {"tasks": items}, **kwargs)


async def total(api: Api) -> int:
    return int((await api.get("/v1/tasks")).json["pagination"]["total"])


async def test_a_batch_is_answered_in_its_order() -> None:
    async with open_api() as api:
        items = [{**ITEM, "queue": f"q{number % 3}", "priority": 1 + number % 10} for number in range(50)]
        reply = await send(api, *items)
        assert reply.status == 201
        tasks = reply.json["tasks"]
        assert [(task["queue"], task["priority"]) for task in tasks] == [
            (item["queue"], item["priority"]) for item in items
        ]
        ids = [task["id"] for task in tasks]
        assert ids == sorted(set(ids))
        listed = (await api.get("/v1/tasks?limit=100")).json["tasks"]
        assert [task["id"] for task in listed] == ids[::-1]
        one = (await api.post("/v1/tasks", items[0])).json
        assert tasks[0].keys() == one.keys()
        counts = {
            queue["name"]: queue["counts"]["pending"]
            for queue in (await api.get("/v1/queues")).json["queues"]
        }
        assert counts == {"q0": 18, "q1": 17, "q2": 16}


async def test_what_is_due_is_delivered_and_what_is_not_waits() -> None:
    async with open_api() as api:
        await send(api, ITEM, {**ITEM, "delay": 0}, {"queue": "r", "webhook_url": URL})
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(delivery.queue.name for delivery in api.runner.deliveries) == ["q", "r"]


async def test_the_values_in_force_are_those_of_each_items_queue() -> None:
    async with open_api() as api:
        await api.post("/v1/queues", {"name": "r", "max_retries": 9, "timeout": 1})
        tasks = (await send(api, ITEM, {**ITEM, "queue": "r"}, {**ITEM, "timeout": 5})).json["tasks"]
        assert [(task["max_retries"], task["timeout"]) for task in tasks] == [(3, 30), (9, 1), (3, 5)]


async def test_a_thousand_are_taken_and_not_one_more() -> None:
    async with open_api() as api:
        reply = await send(api, *[ITEM] * MOST_IN_A_BATCH)
        assert (reply.status, len(reply.json["tasks"])) == (201, 1_000)
        assert (await send(api, *[ITEM] * (MOST_IN_A_BATCH + 1))).fields == {"tasks"}
        assert await total(api) == 1_000


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"tasks"}),
        ({"tasks": []}, {"tasks"}),
        ({"tasks": None}, {"tasks"}),
        ({"tasks": {"0": ITEM}}, {"tasks"}),
        ({"tasks": [ITEM], "queue": "q"}, {"queue"}),
        ({"tasks": 5, "queue": "q"}, {"tasks", "queue"}),
        ({"tasks": [ITEM, None, 5, "x", [ITEM]]}, {"tasks[1]", "tasks[2]", "tasks[3]", "tasks[4]"}),
        ({"tasks": [ITEM, {**ITEM, "priority": 0}]}, {"tasks[1].priority"}),
        (
            {"tasks": [{}, ITEM, {**ITEM, "priority": 11, "prioritty": 5}]},
            {"tasks[0].queue", "tasks[0].webhook_url", "tasks[2].priority", "tasks[2].prioritty"},
        ),
        ({"tasks": [{**ITEM, "run_at": "2100-01-01T00:00:00Z"}]}, {"tasks[0].run_at"}),
        (
            {"tasks": [ITEM, {"queue": "q", "webhook_url": URL, "run_at": "9999-01-01T00:00:00Z"}]},
            {"tasks[1].run_at"},
        ),
        ({"tasks": [ITEM, {**ITEM, "expires_in": 60}]}, {"tasks[1].expires_in"}),
        ({"tasks": [ITEM, {**ITEM, "idempotency_key": "k"}]}, {"tasks[1].idempotency_key"}),
        (
            {"tasks": [{**ITEM, "payload": [1]}, {**ITEM, "queue": "a b"}]},
            {"tasks[0].payload", "tasks[1].queue"},
        ),
    ],
)
async def test_every_wrong_field_is_named_with_its_index_and_nothing_is_made(
    body: dict[str, Any], fields: set[str]
) -> None:
    async with open_api() as api:
        reply = await api.post(BATCH, body)
        check_problem(reply, 422)
        assert reply.fields == fields
        assert await total(api) == 0


async def test_payloads_keep_their_bytes() -> None:
    payloads = [
        b'{ "n" : 1.10 }',
        b'{"s":"\\u00e9\\/\xc3\xa9","e":1E2}',
        b'{"big":12345678901234567890123}',
        b"{}",
    ]
    items = [b'{ "payload": %b ,"queue":"q","webhook_url":"%b"}' % (text, URL.encode()) for text in payloads]
    async with open_api() as api:
        reply = await api.post(BATCH, raw=b'{"tasks": [ %b ]}' % b" , ".join(items))
        assert reply.status == 201
        for task, payload in zip(reply.json["tasks"], payloads, strict=True):
            shown = await api.get(f"/v1/tasks/{task['id']}")
            assert b'"payload":' + payload + b"," in shown.body
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(delivery.payload for delivery in api.runner.deliveries) == sorted(payloads)


async def test_a_payload_of_an_item_may_be_nested_64_deep() -> None:
    async with open_api() as api:
        for depth, status in ((64, 201), (65, 422)):
            payload = b'{"a":' * depth + b"1" + b"}" * depth
            item = b'{"queue":"q","webhook_url":"%b","payload":%b}' % (URL.encode(), payload)
            assert (await api.post(BATCH, raw=b'{"tasks":[%b]}' % item)).status == status


@pytest.mark.parametrize(
    "raw", [b'{"tasks":[{"queue":"q","queue":"r"}]}', b'{"tasks":[{"payload":{"n":NaN}}]}', b"[]"]
)
async def test_400_for_what_is_not_json_anywhere_in_it(raw: bytes) -> None:
    async with open_api() as api:
        check_problem(await api.post(BATCH, raw=raw), 400)


async def test_403_for_a_batch_that_names_one_queue_that_the_key_may_not_use() -> None:
    async with open_api() as api:
        _, key = await api.engine.keys.create("restricted", queues=["mine", "ours"])
        mine, ours, other = ({**ITEM, "queue": name} for name in ("mine", "ours", "other"))
        assert "other" in check_problem(await send(api, mine, other, ours, key=key), 403)["error"]
        assert await total(api) == 0
        assert (await send(api, mine, ours, key=key)).status == 201


async def test_a_batch_into_the_sandbox_is_kept_and_not_delivered() -> None:
    async with open_api() as api:
        _, key = await api.engine.keys.create("sandbox", environment="test")
        reply = await send(api, {**ITEM, "delay": 0}, key=key)
        assert reply.status == 201
        await trio.testing.wait_all_tasks_blocked()
        assert api.runner.deliveries == []
        assert await total(api) == 0


async def test_get_of_the_batch_address_is_a_task_that_is_not_there() -> None:
    async with open_api() as api:
        check_problem(await api.get(BATCH), 404)


async def test_503_while_draining() -> None:
    async with open_api() as api:
        api.engine.begin_drain()
        reply = await send(api, ITEM)
        check_problem(reply, 503)
        assert int(reply.headers["Retry-After"]) >= 1


async def test_a_batch_refused_for_its_times_leaves_no_queue() -> None:
    async with open_api() as api:
        late = {"queue": "new", "webhook_url": URL, "run_at": "2999-01-01T00:00:00Z"}
        reply = await api.post("/v1/tasks/batch", {"tasks": [late]})
        assert reply.fields == {"tasks[0].run_at"}
        assert (await api.get("/v1/queues")).json == {"queues": []}
