"""The receiver that `aq bench` counts with."""

from __future__ import annotations

import time

import httpx
import trio

from aq.bench.plan import Plan, stamp
from aq.bench.programs import open_sink, send


async def test_arrivals_are_counted_by_their_age_and_early_ones_apart() -> None:
    plan = Plan(url="", webhook_url="")
    async with open_sink() as sink, httpx.AsyncClient(trust_env=False) as client:
        now = time.perf_counter()
        for at in (now - 10, now - 20, now + 1_000):
            answer = await client.post(sink.url, json={"payload": plan.payload(stamp(at))})
            assert (answer.status_code, answer.text) == (200, "ok")
        await client.post(sink.url, json={"no": "moment"})
        seen = await sink.seen()
        assert (seen.arrivals, seen.early, seen.ages.count) == (4, 1, 3)
        assert now <= seen.first <= seen.last <= time.perf_counter()
        assert seen.ages.most >= 20
        await sink.reset()
        assert (await sink.seen()).arrivals == 0


async def test_it_can_be_waited_for_and_says_what_hangs() -> None:
    async with open_sink() as sink:
        assert (await sink.seen(arrivals=1, seconds=0)).arrivals == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, Plan(url=sink.url, webhook_url=sink.url, requests=50))
            assert (await sink.seen(arrivals=50, seconds=20)).arrivals == 50
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.move_on_after(60) as waiting:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.post, sink.hanging_url)
                    while (await sink.seen()).hanging == 0:
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
            assert not waiting.cancelled_caught
