"""The stream of numbers, and what a page says first."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import trio
import trio.testing

from aq.dashboard import live
from aq.task import NewTask
from tests.api.api_world import KEY, URL, Api
from tests.api.test_events_routes import Listener, connected
from tests.dashboard.world import Browser, open_dashboard, signed_in


def watching(api: Api, browser: Browser, query: str = "") -> AbstractAsyncContextManager[Listener]:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return connected(api, "/live", {"Cookie": cookie}, query)


async def test_it_says_once_a_second_what_happened_and_how_it_stands(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with signed_in() as (api, browser):
        await api.engine.queues.create("q", concurrency=1)
        async with watching(api, browser) as stream:
            first = stream.opened.data
            assert (stream.opened.event, first["late"], first["in_flight"], first["due"]) == (
                "stats",
                0,
                0,
                0,
            )
            await api.engine.submit_all([NewTask("q", URL, {})] * 3)
            began = trio.current_time()
            told: list[dict[str, Any]] = []
            while not told or told[-1]["in_flight"] != 1:
                told.append((await stream.next()).data)
            assert sum(it["last_second"]["created"] for it in told) == 3
            assert told[-1]["due"] == 2
            assert told[-1]["late_queue"] == "q"
            assert told[-1]["late"] > 0
            assert round(trio.current_time() - began) == len(told) <= live.STANDING_SECONDS + 1


async def test_it_has_nothing_of_queues_that_the_key_may_not_see() -> None:
    async with open_dashboard() as api:
        await api.engine.submit_all([NewTask("theirs", URL, {})] * 3)
        await api.runner.begun.wait()
        _, text = await api.engine.keys.create("some", queues=["mine"])
        browser = await Browser(api).sign_in(text)
        async with watching(api, browser) as stream:
            told = stream.opened.data
            assert (told["due"], told["in_flight"], told["late_queue"]) == (0, 0, None)
            assert told["per_second"]["created"] == 0


async def test_it_tells_at_once_what_happens_to_the_task_that_is_looked_at(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with signed_in() as (api, browser):
        task = await api.engine.submit(NewTask("q", URL, {}, delay=3_600))
        other = await api.engine.submit(NewTask("q", URL, {}, delay=3_600))
        async with watching(api, browser, f"task={task.id}") as stream:
            assert (stream.opened.event, stream.opened.data) == ("task", {"task_id": task.id})
            assert (await stream.next()).event == "stats"
            began = trio.current_time()
            await api.engine.delete(other.id)
            await api.engine.delete(task.id)
            assert (await stream.next()).data == {"task_id": task.id}
            assert trio.current_time() == began
            assert (await stream.next()).event == "stats"


async def test_it_tells_nothing_of_a_task_that_the_key_may_not_see(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_dashboard() as api:
        task = await api.engine.submit(NewTask("theirs", URL, {}, delay=3_600))
        _, text = await api.engine.keys.create("some", queues=["mine"])
        browser = await Browser(api).sign_in(text)
        async with watching(api, browser, f"task={task.id}") as stream:
            assert (await stream.next()).event == "stats"
            await api.engine.delete(task.id)
            assert (await stream.next()).event == "stats"


async def test_it_ends_with_its_session(autojump_clock: trio.testing.MockClock) -> None:
    async with signed_in() as (api, browser), watching(api, browser) as stream:
        assert stream.opened.event == "stats"
        await browser.post("/signout")
        assert await stream.rest() == ["end"]


async def test_it_ends_with_its_key(autojump_clock: trio.testing.MockClock) -> None:
    async with open_dashboard() as api:
        key, text = await api.engine.keys.create("short")
        browser = await Browser(api).sign_in(text)
        async with watching(api, browser) as stream:
            assert stream.opened.event == "stats"
            await api.engine.keys.revoke(key.id)
            assert await stream.rest() == ["end"]


async def test_it_does_not_hold_the_end_of_the_service() -> None:
    async with signed_in() as (api, browser), watching(api, browser) as stream:
        assert stream.opened.event == "stats"
        api.engine.dismiss()
        assert await stream.rest() == ["end"]


async def test_windows_that_watch_have_a_bound(autojump_clock: trio.testing.MockClock) -> None:
    async with signed_in() as (api, browser), trio.open_nursery() as nursery:
        seen: list[str | None] = []

        async def watch() -> None:
            async with watching(api, browser) as stream:
                seen.append(stream.opened.event)
                await trio.sleep_forever()

        for _ in range(live.MAX_STREAMS):
            nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ["stats"] * live.MAX_STREAMS
        refused = await browser.get("/live", headers={"Accept": "text/event-stream"})
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
        nursery.cancel_scope.cancel()


async def test_the_overview_says_who_is_late_and_why(autojump_clock: trio.testing.MockClock) -> None:
    async with signed_in() as (api, browser):
        assert "Nothing to do yet" in (await browser.get("/")).words
        await api.engine.queues.create("slots", concurrency=1)
        await api.engine.submit_all([NewTask("slots", URL, {})] * 3)
        await api.runner.begun.wait()
        await trio.sleep(42)
        words = (await browser.get("/")).words
        assert "slots is 42 s late 2 tasks are due there, and all 1 of its slots are taken." in words
        api.runner.go.set()
        await trio.sleep(5)
        assert "Every queue is on time 1 queue" in (await browser.get("/")).words
        await api.engine.queues.create("rated", rate_limit={"per_second": 0.5})
        await api.engine.submit_all([NewTask("rated", URL, {})] * 30)
        await trio.sleep(10)
        words = (await browser.get("/")).words
        assert "rated is 10 s late" in words
        assert "and it starts at most 0.5 a second." in words
        await api.engine.queues.pause("rated")
        assert "Every queue is on time 2 queues, 1 of them paused" in (await browser.get("/")).words
        assert KEY not in words
