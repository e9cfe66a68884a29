"""Idempotency keys over HTTP: a request that is repeated is done once and answered as the first time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from aq.outcome import Outcome
from tests.api.api_world import KEY, URL, Api, Reply, SteeredRunner, check_problem, open_api

pytestmark = pytest.mark.usefixtures("both_doors")

BODY: dict[str, Any] = {"queue": "q", "webhook_url": URL, "delay": 3600, "payload": {"n": 1}}
HEADER = "Idempotency-Key"
DAY = 86_400
TASK = {name: value for name, value in BODY.items() if name != "delay"}


async def create(api: Api, body: dict[str, Any] = BODY, key: str = "k", credential: str = KEY) -> Reply:
    return await api.post("/v1/tasks", body, headers={HEADER: key}, key=credential)


async def total(api: Api, credential: str = KEY) -> int:
    return int((await api.get("/v1/tasks", key=credential)).json["pagination"]["total"])


def failing(times: int) -> SteeredRunner:
    """Fails so many attempts, at once."""
    runner = SteeredRunner([Outcome.failure("no") for _ in range(times)])
    runner.go.set()
    return runner


def check_replay(first: Reply, again: Reply) -> None:
    """The first answer once more, under 200, and said to be so."""
    assert HEADER not in first.headers
    assert "Idempotent-Replay" not in first.headers
    assert (again.status, again.headers["Idempotent-Replay"]) == (200, "true")
    assert again.json == first.json
    assert again.headers.get("Location") == first.headers.get("Location")


# -- tasks --------------------------------------------------------------------------------------------------
async def test_a_repeated_create_gets_the_first_answer() -> None:
    async with open_api() as api:
        first = await create(api)
        assert first.status == 201
        for _ in range(2):
            again = await create(api)
            check_replay(first, again)
            assert again.body == first.body
        assert await total(api) == 1


async def test_the_field_is_as_good_as_the_header() -> None:
    async with open_api() as api:
        field = {**BODY, "idempotency_key": "k"}
        first = await api.post("/v1/tasks", field)
        check_replay(first, await api.post("/v1/tasks", field))
        check_replay(first, await create(api))
        check_replay(first, await create(api, field))
        check_replay(first, await create(api, {**BODY, "idempotency_key": None}))
        assert await total(api) == 1


async def test_header_and_field_that_differ_are_a_422() -> None:
    async with open_api() as api:
        assert (await create(api, {**BODY, "idempotency_key": "other"})).fields == {"idempotency_key"}
        assert await total(api) == 0


@pytest.mark.parametrize("wrong", ["", "x" * 256, "é", "a\tb"])
async def test_a_key_that_cannot_be_is_a_422(wrong: str) -> None:
    async with open_api() as api:
        assert (await api.post("/v1/tasks", {**BODY, "idempotency_key": wrong})).fields == {"idempotency_key"}
        if wrong.isascii() and wrong.isprintable():
            assert (await create(api, key=wrong)).fields == {"idempotency_key"}
        assert await total(api) == 0


async def test_a_field_that_is_no_text_is_named_also_beside_a_header() -> None:
    async with open_api() as api:
        assert (await create(api, {**BODY, "idempotency_key": 5})).fields == {"idempotency_key"}
        assert await total(api) == 0


async def test_another_body_is_a_409_and_changes_nothing() -> None:
    async with open_api() as api:
        await create(api)
        others: list[dict[str, Any]] = [
            {**BODY, "payload": {"n": 2}},
            {**BODY, "priority": 6},
            {**BODY, "queue": "r"},
            {**BODY, "headers": {"X-A": "1"}},
        ]
        for other in others:
            check_problem(await create(api, other), 409)
        assert await total(api) == 1


async def test_the_same_body_is_the_same_fields_and_the_payload_byte_for_byte() -> None:
    async with open_api() as api:
        first = await create(api)
        reordered = (
            b'{ "payload":{"n": 1}, "priority":5, "delay":3600, "webhook_url":"%b","queue":"\\u0071"}'
            % URL.encode()
        )
        again = await api.post("/v1/tasks", raw=reordered, headers={HEADER: "k"})
        check_replay(first, again)
        spaced = reordered.replace(b'{"n": 1}', b'{"n":1}')
        check_problem(await api.post("/v1/tasks", raw=spaced, headers={HEADER: "k"}), 409)


async def test_values_of_headers_count_too() -> None:
    async with open_api() as api:
        first = await create(api, {**BODY, "headers": {"X-A": "1"}})
        check_replay(first, await create(api, {**BODY, "headers": {"x-a": "1"}}))
        check_problem(await create(api, {**BODY, "headers": {"X-A": "2"}}), 409)


async def test_a_day_later_the_key_is_free_again(mock_clock: trio.testing.MockClock) -> None:
    async with open_api() as api:
        first = await create(api, {**BODY, "delay": 10 * DAY})
        mock_clock.jump(DAY - 1)
        check_replay(first, await create(api, {**BODY, "delay": 10 * DAY}))
        mock_clock.jump(1)
        assert (await create(api)).status == 201
        assert await total(api) == 2


async def test_it_holds_after_the_task_was_deleted() -> None:
    async with open_api() as api:
        first = await create(api)
        assert (await api.call("DELETE", first.headers["Location"])).status == 204
        check_replay(first, await create(api))
        assert await total(api) == 0


async def test_it_holds_after_the_task_has_ended() -> None:
    async with open_api() as api:
        api.runner.go.set()
        first = await create(api, {**BODY, "delay": 0})
        await api.engine.wait(first.json["id"])
        again = await create(api, {**BODY, "delay": 0})
        check_replay(first, again)
        assert again.json["status"] == "pending"
        assert len(api.runner.deliveries) == 1


async def test_a_refused_request_uses_up_no_key() -> None:
    async with open_api() as api:
        assert (await create(api, {**BODY, "priority": 0})).status == 422
        assert (await create(api)).status == 201


async def test_of_twins_in_flight_one_is_done_and_both_get_its_answer() -> None:
    async with open_api() as api:
        replies: list[Reply] = []

        async def send() -> None:
            replies.append(await create(api))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(send)
        assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
        assert len({reply.body for reply in replies}) == 1
        assert await total(api) == 1


async def test_live_and_test_have_keys_of_their_own() -> None:
    async with open_api() as api:
        _, sandbox = await api.engine.keys.create("sandbox", environment="test")
        live = await create(api)
        test = await create(api, {**BODY, "priority": 1}, credential=sandbox)
        assert (live.status, test.status) == (201, 201)
        assert (await total(api), await total(api, sandbox)) == (1, 1)


# -- every other POST that creates or retries ---------------------------------------------------------------
async def test_on_a_batch_the_header_covers_the_whole() -> None:
    async with open_api() as api:
        body = {"tasks": [BODY, {**BODY, "priority": 9}]}
        first = await api.post("/v1/tasks/batch", body, headers={HEADER: "k"})
        assert first.status == 201
        check_replay(first, await api.post("/v1/tasks/batch", body, headers={HEADER: "k"}))
        swapped = {"tasks": body["tasks"][::-1]}
        check_problem(await api.post("/v1/tasks/batch", swapped, headers={HEADER: "k"}), 409)
        check_problem(await create(api), 409)
        assert await total(api) == 2


async def test_a_repeated_retry_retries_once() -> None:
    async with open_api(failing(2)) as api:
        task = await api.task(delay=0, max_retries=0)
        await api.engine.wait(task["id"])
        path = f"/v1/tasks/{task['id']}/retry"
        first = await api.post(path, headers={HEADER: "k"})
        assert first.status == 200
        await api.engine.wait(task["id"])
        check_replay(first, await api.post(path, headers={HEADER: "k"}))
        shown = (await api.get(f"/v1/tasks/{task['id']}")).json
        assert (shown["status"], len(shown["attempts"])) == ("failed", 2)
        other = await api.task()
        check_problem(await api.post(f"/v1/tasks/{other['id']}/retry", headers={HEADER: "k"}), 409)


async def test_a_repeated_queue_is_made_once() -> None:
    async with open_api() as api:
        body = {"name": "n", "timeout": 9}
        first = await api.post("/v1/queues", body, headers={HEADER: "k"})
        assert first.status == 201
        await api.task(queue="n", delay=0)
        check_replay(first, await api.post("/v1/queues", body, headers={HEADER: "k"}))
        check_problem(await api.post("/v1/queues", {"name": "m"}, headers={HEADER: "k"}), 409)
        check_problem(await api.post("/v1/queues", body), 409)


async def test_a_number_is_the_same_with_and_without_a_point() -> None:
    async with open_api() as api:
        body = {"name": "n", "retry_delay": 1, "timeout": 9.0, "rate_limit": {"per_second": 2.0}}
        first = await api.post("/v1/queues", body, headers={HEADER: "k"})
        body |= {"retry_delay": 1.0, "timeout": 9, "rate_limit": {"per_second": 2}}
        again = await api.post("/v1/queues", body, headers={HEADER: "k"})
        assert (first.status, again.status) == (201, 200)
        assert again.body == first.body
        assert b'"retry_delay":1,' in first.body


async def test_a_queues_secrets_are_part_of_what_was_asked() -> None:
    async with open_api() as api:
        for letter, status in (("c2VjcmV0", 201), ("c2VjcmV0", 200), ("U2VjcmV0", 409)):
            body = {"name": "n", "signing_secrets": ["whsec_" + letter * 6]}
            assert (await api.post("/v1/queues", body, headers={HEADER: "k"})).status == status


async def test_a_repeated_bulk_retry_retries_once() -> None:
    runner = failing(2)
    async with open_api(runner) as api:
        task = await api.task(delay=0, max_retries=0)
        await api.engine.wait(task["id"])
        first = await api.post("/v1/queues/q/retry", headers={HEADER: "k"})
        assert (first.status, first.json) == (200, {"count": 1})
        await trio.testing.wait_all_tasks_blocked()
        check_replay(first, await api.post("/v1/queues/q/retry", headers={HEADER: "k"}))
        check_problem(await api.post("/v1/queues/q/retry", {"limit": 1}, headers={HEADER: "k"}), 409)
        await trio.testing.wait_all_tasks_blocked()
        assert len(runner.deliveries) == 2


async def test_it_holds_after_what_was_asked_of_is_deleted() -> None:
    """For a key that may use one queue alone, too; another queue's answers it does not see."""
    async with open_api(failing(1)) as api:
        _, mine = await api.engine.keys.create("mine", queues=["q"])
        _, other = await api.engine.keys.create("other", queues=["o"])
        task = await api.task(delay=0, max_retries=0)
        await api.engine.wait(task["id"])
        schedule = (await api.post("/v1/schedules", {"every": 60, "task": TASK})).json
        asked = [
            f"/v1/schedules/{schedule['id']}/run",
            f"/v1/tasks/{task['id']}/retry",
            "/v1/queues/q/retry",
        ]
        firsts = []
        for path in asked:
            check_problem(await api.post(path, headers={HEADER: path}, key=other), 404)
            firsts.append(await api.post(path, headers={HEADER: path}))
            await trio.testing.wait_all_tasks_blocked()
        assert (await api.call("DELETE", f"/v1/schedules/{schedule['id']}")).status == 204
        assert (await api.call("DELETE", "/v1/queues/q")).status == 204
        for path, first in zip(asked, firsts, strict=True):
            for key in (KEY, mine):
                check_replay(first, await api.post(path, headers={HEADER: path}, key=key))
            check_problem(await api.post(path, headers={HEADER: path}, key=other), 404)
            check_problem(await api.post(path, headers={HEADER: "another"}), 404)


async def test_one_key_is_for_one_kind_of_request() -> None:
    async with open_api() as api:
        await create(api)
        check_problem(await api.post("/v1/queues", {"name": "n"}, headers={HEADER: "k"}), 409)
