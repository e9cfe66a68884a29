"""The load that `aq bench` sends: what it counts, and from when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest
import trio
from attrs import evolve

from aq.bench.load import Report, run
from aq.bench.plan import Plan

OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[trio.SocketStream], Awaitable[None]]


async def ok(stream: trio.SocketStream) -> None:
    await stream.send_all(OK)


async def measured(plan: Plan, answer: Answer = ok) -> tuple[Report, list[bytes]]:
    """What came of a plan, and the bodies that a server got, whose answers are given."""
    bodies: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        data = b""
        async with stream:
            async for piece in stream:
                data += piece
                head, found, body = data.partition(b"\r\n\r\n")
                if found and len(body) == int(head.rpartition(b"Content-Length: ")[2]):
                    bodies.append(body)
                    data = b""
                    await answer(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        aimed = evolve(plan, url=f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        report = await trio.to_thread.run_sync(lambda: asyncio.run(run(aimed)))
        nursery.cancel_scope.cancel()
    return report, bodies


PLAN = Plan(url="", webhook_url="http://localhost/", key="aq_live_x", connections=3, requests=20)


async def test_each_request_is_sent_once_and_each_task_counted() -> None:
    report, bodies = await measured(evolve(PLAN, batch=5))
    assert (report.tasks, report.statuses, report.failed) == (100, {201: 20}, 0)
    assert report.latencies.count == 20
    assert [len(json.loads(body)["tasks"]) for body in bodies] == [5] * 20


async def test_an_open_loop_counts_from_when_a_request_was_meant_to_be_sent() -> None:
    """A server that stalls until all requests are overdue: each of them waited from its own moment on."""
    released: list[float] = []

    async def stall(stream: trio.SocketStream) -> None:
        if not released:
            await trio.sleep(0.1)
            released.append(time.perf_counter())
        await ok(stream)

    report, bodies = await measured(evolve(PLAN, connections=1, rate=1_000, requests=10), stall)
    meant = [float(json.loads(body)["payload"]["at"]) for body in bodies]
    assert meant == pytest.approx([report.began + number / 1_000 for number in range(10)], abs=2e-6)
    assert report.latencies.total >= sum(released[0] - at for at in meant)


async def test_what_an_open_loop_could_not_send_in_the_end_is_told_with_its_age() -> None:
    async def stall(stream: trio.SocketStream) -> None:
        await trio.sleep(0.15)
        await ok(stream)

    report, bodies = await measured(evolve(PLAN, connections=1, rate=100, requests=None, seconds=0.1), stall)
    assert len(bodies) == 1
    assert (report.tasks, report.unsent, report.failed) == (1, 9, 9)
    assert report.latencies.count == 10


async def test_a_refusal_is_counted_and_told_and_is_no_latency() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.send_all(b'HTTP/1.1 422 Oh\r\nContent-Length: 15\r\n\r\n{"error": "no"}')

    report, _ = await measured(PLAN, refuse)
    assert (report.tasks, report.statuses, report.failed, report.latencies.count) == (0, {422: 20}, 20, 0)
    assert json.loads(report.refusal) == {"error": "no"}


async def test_a_connection_that_is_lost_is_counted_and_made_again() -> None:
    times = iter(range(100))

    async def hang_up(stream: trio.SocketStream) -> None:
        if next(times) == 4:
            await stream.send_eof()
        else:
            await ok(stream)

    report, bodies = await measured(evolve(PLAN, connections=1), hang_up)
    assert (len(bodies), report.tasks, report.lost, report.failed) == (20, 19, 1, 1)


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(run(evolve(PLAN, url="http://127.0.0.1:1")))
