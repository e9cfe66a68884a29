"""GET /v1/stats: series of the last quarter of an hour, hour or day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing

from aq.instants import SECOND, to_rfc3339
from aq.task import Environment, QueueKey
from tests.api.api_world import Api, check_problem, open_api

A, B = QueueKey(Environment.LIVE, "a"), QueueKey(Environment.LIVE, "b")
SANDBOX = QueueKey(Environment.TEST, "a")
NOTHING = {"created": 0, "started": 0, "completed": 0, "failed": 0, "retried": 0, "lateness_ms": None}


def count(api: Api, key: QueueKey, **counts: int) -> None:
    api.engine.meter.count(key, api.engine.clock.now(), **counts)


async def sums(api: Api, query: str = "", **kwargs: Any) -> dict[str, int]:
    """Of the whole series, by name; without zeros."""
    series = (await api.get(f"/v1/stats{query}", **kwargs)).json["series"]
    found = {name: sum(point[name] for point in series) for name in NOTHING if name != "lateness_ms"}
    return {name: number for name, number in found.items() if number}


@pytest.mark.parametrize(
    ("query", "window", "step"),
    [("", 900, 10), ("?window=900", 900, 10), ("?window=3600", 3600, 60), ("?window=86400", 86400, 900)],
)
async def test_a_series_has_every_step_up_to_now(
    query: str, window: int, step: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_api(wall=lambda: 1_800_000_000) as api:  # a multiple of every step
        await trio.sleep(5)
        count(api, A, created=3, failed=1)
        api.engine.meter.late(A, api.engine.clock.now(), 2 * SECOND)
        await trio.sleep(step)
        reply = await api.get(f"/v1/stats{query}")
        assert (reply.status, set(reply.json)) == (200, {"window", "step", "queue", "series"})
        assert (reply.json["window"], reply.json["step"], reply.json["queue"]) == (window, step, None)
        *early, then, last = reply.json["series"]
        assert len(early) + 2 == window // step
        assert last == {"at": at(1_800_000_000 + step), **NOTHING}
        assert early[0] == {"at": at(1_800_000_000 + 2 * step - window), **NOTHING}
        lateness = then.pop("lateness_ms")
        assert then == {
            "at": at(1_800_000_000),
            "created": 3,
            "started": 0,
            "completed": 0,
            "failed": 1,
            "retried": 0,
        }
        assert set(lateness) == {"p50", "p95", "p99"}
        assert lateness["p50"] == lateness["p99"] == pytest.approx(2_000, rel=0.06)


def at(seconds: int) -> str:
    return to_rfc3339(seconds * SECOND)


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("", {}, {"created": 3}),
        ("?queue=a", {}, {"created": 1}),
        ("?queue=none", {}, {}),
        ("", {"queues": ["b", "c"]}, {"created": 2}),
        ("?queue=b", {"queues": ["b", "c"]}, {"created": 2}),
        ("?queue=a", {"queues": ["b", "c"]}, {}),
        ("", {"environment": "test"}, {"created": 4}),
        ("?queue=b", {"environment": "test"}, {}),
    ],
)
async def test_a_key_is_told_only_of_what_it_may_see(
    query: str, fields: Mapping[str, Any], expected: dict[str, int]
) -> None:
    async with open_api() as api:
        for key, number in ((A, 1), (B, 2), (SANDBOX, 4)):
            count(api, key, created=number)
        _, text = await api.engine.keys.create("restricted", **fields)
        assert await sums(api, query, key=text) == expected
        queue = query.removeprefix("?queue=") or None
        assert (await api.get(f"/v1/stats{query}", key=text)).json["queue"] == queue


async def test_what_happens_to_tasks_is_counted() -> None:
    async with open_api() as api:
        api.runner.go.set()
        task = await api.task(delay=0)
        await api.engine.wait(task["id"])
        await api.task(delay=3600)
        await trio.testing.wait_all_tasks_blocked()
        assert await sums(api, "?queue=q") == {"created": 2, "started": 1, "completed": 1}
        last = (await api.get("/v1/stats?window=86400")).json["series"][-1]
        assert last["lateness_ms"] is not None


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?bogus=1", {"bogus"}),
        ("?window=60", {"window"}),
        ("?window=900.0&queue=a%20b", {"window", "queue"}),
        ("?window=900&window=3600", {"window"}),
    ],
)
async def test_422(query: str, fields: set[str]) -> None:
    async with open_api() as api:
        reply = await api.get(f"/v1/stats{query}")
        check_problem(reply, 422)
        assert reply.fields == fields
