"""/metrics over HTTP, and what it says of HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from aq.api.connection import LINGER_SECONDS
from aq.api.front import open_front
from aq.api.metrics import create_metrics_app
from aq.telemetry.traffic import Traffic
from tests.api.api_world import URL, Api, open_api
from tests.api.lane_world import connected
from tests.api.test_connection import GET, App
from tests.api.test_events_routes import listening
from tests.telemetry.scrape import Scrape

TASK = {"queue": "q", "webhook_url": URL, "delay": 3_600}


async def read(api: Api) -> Scrape:
    reply = await api.get("/metrics", key=None)
    assert reply.status == 200
    return Scrape(reply.body.decode())


@pytest.mark.usefixtures("both_doors")
async def test_requests_are_counted_alike_through_both_doors() -> None:
    async with open_api() as api:
        task = await api.task()
        await api.post("/v1/tasks", TASK)
        await api.post("/v1/tasks", {"queue": "q"})
        await api.post("/v1/tasks/batch", {"tasks": [TASK]})
        await api.get(f"/v1/tasks/{task['id']}")
        await api.get("/v1/tasks/none")
        await api.get("/nothing/here")
        await api.call("PUT", "/v1/tasks")
        await api.get("/v1/queues", key=None)
        scrape = await read(api)
    assert scrape.all("aq_http_requests_total") == {
        # method, route, status
        ("POST", "/v1/tasks", "201"): 2,
        ("POST", "/v1/tasks", "422"): 1,
        ("POST", "/v1/tasks/batch", "201"): 1,
        ("GET", "/v1/tasks/{task_id}", "200"): 1,
        ("GET", "/v1/tasks/{task_id}", "404"): 1,
        ("_none", "_none", "404"): 1,
        ("_none", "_none", "405"): 1,
        ("GET", "/v1/queues", "401"): 1,
    }
    assert scrape.value("aq_http_request_duration_seconds_count", method="POST", route="/v1/tasks") == 3


async def test_metrics_need_no_key_and_take_no_parameters() -> None:
    async with open_api() as api:
        for key in (None, "aq_live_wrong"):
            reply = await api.get("/metrics", key=key)
            assert reply.status == 200
            assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert (await api.call("HEAD", "/metrics", key=None)).status == 200
        assert (await api.get("/metrics?name=aq_tasks", key=None)).fields == {"name"}


@pytest.mark.parametrize("version", ["1.0.0", "0.0.1", "x", "1." + "9" * 5_000, "1.0.0; escaping=x"])
async def test_whatever_form_is_asked_for_there_is_an_answer(version: str) -> None:
    async with open_api() as api:
        accept = f"application/openmetrics-text;version={version},*/*;q=0.1"
        client = api.app.test_client(use_cookies=False)
        reply = await client.get("/metrics", headers={"Accept": accept})
        text = await reply.get_data(as_text=True)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("# EOF\n")


async def test_open_streams_show() -> None:
    async with open_api() as api:
        assert (await read(api)).value("aq_event_streams") == 0
        async with listening(api):
            assert (await read(api)).value("aq_event_streams") == 1
        await trio.testing.wait_all_tasks_blocked()
        assert (await read(api)).value("aq_event_streams") == 0


async def test_connections_and_refusals_are_counted(autojump_clock: object) -> None:
    traffic = Traffic()
    async with (
        trio.open_nursery() as nursery,
        open_front(App(), [], traffic=traffic, max_connections=2) as front,
    ):
        first, slow = connected(nursery, front), connected(nursery, front)
        await first.send(GET)
        await slow.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        await connected(nursery, front).ended.wait()
        await trio.sleep(LINGER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert traffic.connections == 2
        await slow.ended.wait()
        await trio.sleep(LINGER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        assert traffic.connections == 1
        malformed = connected(nursery, front)
        await malformed.send(b"GET / HTTP/1.1\nHost: a\n\n")
        await malformed.ended.wait()
        assert traffic.refusals == {503: 1, 408: 1, 400: 1}
        nursery.cancel_scope.cancel()
    assert traffic.connections == 0


async def test_a_port_of_their_own_has_nothing_else() -> None:
    async with open_api() as beside:
        client: Any = create_metrics_app(beside.engine, Traffic()).test_client(use_cookies=False)
        reply = await client.get("/metrics")
        assert reply.status_code == 200
        assert b"aq_task_lateness_seconds" in await reply.get_data(as_text=False)
        for path in ("/v1/tasks", "/readyz", "/", "/openapi.json"):
            reply = await client.get(path)
            assert reply.status_code == 404
            assert reply.headers["Content-Type"] == "application/problem+json"
