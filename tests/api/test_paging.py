"""Lists of tasks: their filters, and pages at any depth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio.testing

from aq.outcome import AttemptStatus, ErrorType, Outcome
from tests.api.api_world import KEY, URL, Api, SteeredRunner, open_api

HTTP_500 = Outcome(
    status=AttemptStatus.FAILURE, error_type=ErrorType.HTTP_5XX, error="500", response_code=500
)
TIMEOUT = Outcome(status=AttemptStatus.TIMEOUT, error_type=ErrorType.TIMEOUT, error="too slow")


async def page(api: Api, query: str = "", key: str = KEY) -> dict[str, Any]:
    reply = await api.get(f"/v1/tasks?{query}", key=key)
    assert reply.status == 200, reply.body
    pagination = reply.json["pagination"]
    assert set(pagination) == {"total", "limit", "offset", "has_more", "next_cursor"}
    assert pagination["has_more"] is (pagination["next_cursor"] is not None)
    return dict(reply.json)


async def ids(api: Api, query: str = "", key: str = KEY) -> list[str]:
    return [task["id"] for task in (await page(api, query, key))["tasks"]]


async def pages(api: Api, query: str = "", key: str = KEY) -> AsyncIterator[list[str]]:
    """Page by page, each one from the cursor of the one before."""
    cursor = ""
    while cursor is not None:
        found = await page(api, f"{query}&cursor={cursor}" if cursor else query, key)
        yield [task["id"] for task in found["tasks"]]
        cursor = found["pagination"]["next_cursor"]


# -- cursors ------------------------------------------------------------------------------------------------
async def test_a_walk_finds_each_task_once_whatever_comes_and_goes_meanwhile() -> None:
    async with open_api() as api:
        old = [(await api.task(queue=f"q{number % 2}"))["id"] for number in range(250)]
        seen, deleted, new = list[str](), set[str](), set[str]()
        async for found in pages(api, "limit=7"):
            assert len(found) <= 7
            seen += found
            new.add((await api.task())["id"])
            for gone in [task_id for task_id in (old[len(new)], found[0]) if task_id not in deleted]:
                await api.call("DELETE", f"/v1/tasks/{gone}")
                deleted.add(gone)
        assert len(seen) == len(set(seen))
        assert seen == sorted(seen, reverse=True)
        assert not new & set(seen)
        assert set(old) - deleted <= set(seen) <= set(old)
        assert len(new) == len(seen) // 7 + bool(len(seen) % 7)


@pytest.mark.parametrize("query", ["queue=q1", "status=pending", "queue=q0&status=pending", "tag=even", ""])
async def test_pages_by_cursor_are_the_list(query: str) -> None:
    async with open_api() as api:
        for number in range(30):
            await api.task(queue=f"q{number % 3}", tags=["even"] if number % 2 == 0 else [])
        whole = await ids(api, f"{query}&limit=100")
        assert len(whole) >= 10
        found = [part async for part in pages(api, f"{query}&limit=4")]
        assert [task_id for part in found for task_id in part] == whole
        assert all(len(part) == 4 for part in found[:-1])


async def test_a_cursor_goes_on_where_an_offset_ended() -> None:
    async with open_api() as api:
        for _ in range(10):
            await api.task()
        whole = await ids(api)
        begun = await page(api, "limit=3&offset=2")
        assert (begun["pagination"]["offset"], begun["pagination"]["total"]) == (2, 10)
        after = await page(api, f"limit=3&cursor={begun['pagination']['next_cursor']}")
        assert [task["id"] for task in after["tasks"]] == whole[5:8]
        assert (after["pagination"]["offset"], after["pagination"]["total"]) == (None, 10)


async def test_a_cursor_is_for_its_filters_only() -> None:
    async with open_api() as api:
        for _ in range(3):
            await api.task(tags=["t"])
        cursor = (await page(api, "queue=q&tag=t&limit=1"))["pagination"]["next_cursor"]
        assert len(await ids(api, f"tag=t&queue=q&limit=2&cursor={cursor}")) == 2
        for query in (
            "",
            "queue=q",
            "tag=t",
            "queue=q&tag=u",
            "queue=q&tag=t&status=pending",
            "queue=r&tag=t",
        ):
            assert (await api.get(f"/v1/tasks?{query}&cursor={cursor}")).fields == {"cursor"}, query


async def test_a_cursor_is_for_its_environment_and_its_keys_queues_only() -> None:
    async with open_api() as api:
        for _ in range(3):
            await api.task()
        cursor = (await page(api, "limit=1"))["pagination"]["next_cursor"]
        _, sandbox = await api.engine.keys.create("sandbox", environment="test")
        _, restricted = await api.engine.keys.create("restricted", queues=["other"])
        for key in (sandbox, restricted):
            assert (await api.get(f"/v1/tasks?cursor={cursor}", key=key)).fields == {"cursor"}


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "%00", "%C3%A9", "a" * 201, "dGFza18wMUpERTNHNVA"])
async def test_what_is_no_cursor_is_a_422(cursor: str) -> None:
    async with open_api() as api:
        await api.task()
        assert (await api.get(f"/v1/tasks?cursor={cursor}")).fields == {"cursor"}


async def test_a_cursor_goes_with_no_offset() -> None:
    async with open_api() as api:
        for _ in range(2):
            await api.task()
        cursor = (await page(api, "limit=1"))["pagination"]["next_cursor"]
        for offset in ("0", "1"):
            assert (await api.get(f"/v1/tasks?cursor={cursor}&offset={offset}")).fields == {"offset"}


async def test_an_offset_that_is_too_far_points_to_the_cursor() -> None:
    async with open_api() as api:
        assert await ids(api, "offset=10000") == []
        reply = await api.get("/v1/tasks?offset=10001")
        assert reply.fields == {"offset"}
        assert "cursor" in reply.json["error"]


# -- totals -------------------------------------------------------------------------------------------------
async def test_a_total_is_exact_for_queue_and_status_and_null_for_every_other_filter() -> None:
    async with open_api(ready(HTTP_500)) as api:
        await api.engine.wait((await api.task(queue="a", delay=0, max_retries=0))["id"])
        for queue in "aab":
            await api.task(queue=queue, tags=["t"])
        for query, total in {
            "": 4,
            "queue=a": 3,
            "status=pending": 3,
            "queue=a&status=pending": 2,
            "queue=a&status=failed": 1,
            "queue=none": 0,
            "status=active": 0,
        }.items():
            found = await page(api, f"{query}&limit=1")
            assert found["pagination"]["total"] == total, query
        for query in (
            "tag=t",
            "error_type=http_5xx",
            "destination=http://127.0.0.1:9",
            "created_after=2020-01-01T00:00:00Z",
            "created_before=2100-01-01T00:00:00Z",
            "queue=a&tag=t",
            "tag=none",
        ):
            assert (await page(api, query))["pagination"]["total"] is None, query


async def test_with_a_filter_a_page_looks_at_10000_tasks_at_most_and_its_cursor_goes_on() -> None:
    async with open_api() as api:
        oldest = await api.task(tags=["rare"])
        item = {"queue": "q", "webhook_url": URL, "delay": 3600}
        for _ in range(11):
            assert (await api.post("/v1/tasks/batch", {"tasks": [item] * 1_000})).status == 201
        found = [part async for part in pages(api, "tag=rare")]
        assert found == [[], [oldest["id"]]]


# -- filters ------------------------------------------------------------------------------------------------
def ready(*outcomes: Outcome) -> SteeredRunner:
    runner = SteeredRunner(list(outcomes))
    runner.go.set()
    return runner


async def test_tags_are_matched_as_a_whole() -> None:
    async with open_api() as api:
        both = await api.task(tags=["mail", "de"])
        one = await api.task(tags=["mail"])
        await api.task(tags=["mails"])
        await api.task()
        assert await ids(api, "tag=mail") == [one["id"], both["id"]]
        assert await ids(api, "tag=de") == [both["id"]]
        assert await ids(api, "tag=MAIL") == []


async def test_error_types_are_those_of_the_latest_attempt(autojump_clock: trio.testing.MockClock) -> None:
    async with open_api(ready(HTTP_500, TIMEOUT, HTTP_500)) as api:
        task = await api.task(delay=0, max_retries=1)
        await api.engine.wait(task["id"])
        healed = await api.task(delay=0, max_retries=1)
        await api.engine.wait(healed["id"])
        waiting = await api.task()
        assert (await page(api, "error_type=timeout"))["tasks"][0]["error_type"] == "timeout"
        assert await ids(api, "error_type=timeout") == [task["id"]]
        assert await ids(api, "error_type=http_5xx") == []
        assert await ids(api) == [waiting["id"], healed["id"], task["id"]]


async def test_destinations_are_scheme_host_and_port() -> None:
    async with open_api() as api:
        one = await api.task(webhook_url="https://Example.com:443/a?b")
        two = await api.task(webhook_url="https://example.com/")
        other = await api.task(webhook_url="https://example.com:8443/a?b")
        assert await ids(api, "destination=https://example.com") == [two["id"], one["id"]]
        assert await ids(api, "destination=https://example.com:8443") == [other["id"]]
        assert await ids(api, "destination=http://example.com") == []
        for spelt in ("https://example.com:443", "HTTPS://Example.COM", "https://example.com/"):
            assert await ids(api, f"destination={spelt}") == [two["id"], one["id"]]


async def test_created_after_is_in_and_created_before_is_out(mock_clock: trio.testing.MockClock) -> None:
    async with open_api() as api:
        tasks = []
        for _ in range(3):
            tasks.append(await api.task(delay=86_400))
            mock_clock.jump(10)
        first, second, third = ([task["id"], task["created_at"]] for task in tasks)
        assert await ids(api, f"created_after={second[1]}") == [third[0], second[0]]
        assert await ids(api, f"created_before={second[1]}") == [first[0]]
        assert await ids(api, f"created_after={first[1]}&created_before={third[1]}") == [second[0], first[0]]
        assert await ids(api, f"created_after={second[1][:-1]}%2B00:00") == [third[0], second[0]]


async def test_filters_add_up() -> None:
    async with open_api() as api:
        task = await api.task(queue="a", tags=["t"], webhook_url="https://example.com/")
        await api.task(queue="b", tags=["t"], webhook_url="https://example.com/")
        await api.task(queue="a", tags=["t"])
        await api.task(queue="a", webhook_url="https://example.com/")
        assert await ids(api, "queue=a&tag=t&destination=https://example.com&status=pending") == [task["id"]]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("tag=", {"tag"}),
        (f"tag={'x' * 65}", {"tag"}),
        ("error_type=http_500", {"error_type"}),
        ("destination=example.com", {"destination"}),
        ("destination=https://example.com/x", {"destination"}),
        ("destination=https://example.com?x", {"destination"}),
        ("destination=https://u:p@example.com", {"destination"}),
        ("destination=https://example.com:0", {"destination"}),
        ("created_after=yesterday&created_before=2026-01-31", {"created_after", "created_before"}),
        ("created_after=2026-01-31T09:30:00", {"created_after"}),
        ("tags=a&finished_after=2026-01-31T09:30:00Z", {"tags", "finished_after"}),
        ("tag=a&tag=b", {"tag"}),
    ],
)
async def test_a_filter_that_is_none_is_a_422(query: str, fields: set[str]) -> None:
    async with open_api() as api:
        assert (await api.get(f"/v1/tasks?{query}")).fields == fields
