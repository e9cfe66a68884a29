"""Drain, intake and latency, each beside a ceiling measured in the same run.

    python -m benchmarks.figures [--tasks N] [--runs N] [--only drain|intake|latency]
                                 [--connections N] [--ceiling bare|floor]

drain     a backlog in SQLite (synchronous=FULL), delivered as signed webhooks to a sink in another process.
          Ceiling: the same runner sending the same bodies, without storage and actors.
intake    POST /v1/tasks one by one against `aq serve`, each durable before its 201.
          Ceiling: a bare parser with a fixed answer; or ``floor``, an empty Quart-Trio POST route.
          ``AQ_LANE=0`` measures without the intake lane.
latency   20 tasks a second to an idle server: from sending the request to the arrival at the webhook.

Each figure is the median of the runs; on a shared machine compare ratios, never absolutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio

from aq.delivery.protocol import Delivery
from aq.delivery.signing import Secret
from aq.delivery.webhook import open_webhook_runner
from aq.engine import Engine
from aq.instants import from_seconds
from aq.opening import open_engine
from aq.task import Environment, NewTask, QueueKey
from benchmarks.load import Load
from benchmarks.server import Server

Measure: TypeAlias = Callable[[], Awaitable[float]]
CONCURRENCY = 64
PAYLOAD = {"to": "user@example.com", "template": "welcome", "n": 12345}


@asynccontextmanager
async def program(module: str) -> AsyncIterator[int]:
    """The port of a benchmark program that runs in a process of its own."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.receive_some())
    finally:
        process.terminate()
        await process.wait()


# -- drain --------------------------------------------------------------------------------------------------
async def delivery_ceiling(url: str, tasks: int) -> float:
    """Deliveries per second of the bare runner."""
    payload = json.dumps(PAYLOAD).encode()
    left = iter(range(tasks))

    async def worker() -> None:
        for number in left:
            await run(
                Delivery(
                    task_id=f"task_{number:026}",
                    queue=QueueKey(Environment.LIVE, "drain"),
                    webhook_url=url,
                    payload=payload,
                    attempt=1,
                    timeout=30,
                    due_at=0,
                    started_at=0,
                )
            )

    async with open_webhook_runner(
        secrets=[Secret(b"x" * 32)], now=lambda: from_seconds(time.time()), allow=["127.0.0.0/8"]
    ) as run:
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(CONCURRENCY):
                nursery.start_soon(worker)
        return tasks / (time.perf_counter() - began)


async def drain(url: str, tasks: int) -> float:
    """Tasks per second from a backlog to their recorded ends."""
    with tempfile.TemporaryDirectory() as directory:
        storage = f"sqlite:///{directory}/aq.db"
        async with open_engine(storage, allow=["127.0.0.0/8"]) as engine:
            await engine.queues.create("drain", concurrency=CONCURRENCY, paused=True)
            await _fill(engine, url, tasks)
            began = time.perf_counter()
            await engine.queues.resume("drain")
            async with trio.open_nursery() as nursery:  # the last of those in flight together
                for task in (await engine.list(queue="drain", limit=CONCURRENCY)).tasks:
                    nursery.start_soon(engine.wait, task.id)
            return tasks / (time.perf_counter() - began)


async def _fill(engine: Engine, url: str, tasks: int) -> None:
    left = iter(range(tasks))

    async def worker() -> None:
        for _ in left:
            await engine.submit(NewTask("drain", url, PAYLOAD))

    async with trio.open_nursery() as nursery:
        for _ in range(256):
            nursery.start_soon(worker)


# -- intake and latency -------------------------------------------------------------------------------------
def request_bytes(key: str, url: str, delay: int) -> bytes:
    """One ``POST /v1/tasks``, as it goes over the wire."""
    body = json.dumps({"queue": "intake", "webhook_url": url, "payload": PAYLOAD, "delay": delay})
    return (
        "POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory() as directory:
        running = Server(directory)
        await running.start()
        try:
            yield running
        finally:
            running.stop()


async def load(port: int, request: bytes, count: int, connections: int) -> float:
    """Answers per second."""
    run = Load(request, count, connections)
    rate = await trio.to_thread.run_sync(lambda: asyncio.run(run.run(port)))
    assert run.statuses == {201: count}, run.statuses
    return rate


async def intake(url: str, tasks: int, connections: int) -> float:
    """Tasks accepted per second, one a request; they are delayed, so that nothing is delivered meanwhile."""
    async with server() as running:
        return await load(running.port, request_bytes(running.key, url, 3_600), tasks, connections)


async def intake_ceiling(url: str, tasks: int, connections: int, name: str) -> float:
    async with program(f"benchmarks.{name}") as port:
        return await load(port, request_bytes("aq_live_x", url, 3_600), tasks, connections)


async def latency(tasks: int) -> list[float]:
    """Seconds from sending a request to the arrival at the webhook, each, at 20 a second."""
    arrivals: dict[int, float] = {}

    async def receive(stream: trio.SocketStream) -> None:
        data = b""
        async for chunk in stream:
            data += chunk
            _head, found, body = data.partition(b"\r\n\r\n")
            if found and body.endswith(b"}"):
                arrivals[json.loads(body)["payload"]["n"]] = time.perf_counter()
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                data = b""

    spans: list[float] = []
    async with server() as running, running.client() as client, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, receive, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        for number in range(tasks):
            began = time.perf_counter()
            task = {"queue": "latency", "webhook_url": url, "payload": {"n": number}}
            await client.post("/v1/tasks", json=task)
            await trio.sleep(0.05)
            spans.append(arrivals[number] - began)
        nursery.cancel_scope.cancel()
    return spans


# -- the report ---------------------------------------------------------------------------------------------
async def measure(arguments: argparse.Namespace) -> None:
    tasks, runs, only = arguments.tasks, arguments.runs, arguments.only
    async with program("benchmarks.sink") as port:
        url = f"http://127.0.0.1:{port}/hook"
        if only in (None, "drain"):
            await compare("drain", lambda: drain(url, tasks), lambda: delivery_ceiling(url, tasks), runs)
        if only in (None, "intake"):
            over, ceiling = arguments.connections, arguments.ceiling
            await compare(
                "intake",
                lambda: intake(url, tasks, over),
                lambda: intake_ceiling(url, tasks, over, ceiling),
                runs,
            )
    if only in (None, "latency"):
        spans = sorted(await latency(200))
        p50, p99 = (spans[int(len(spans) * q)] * 1e3 for q in (0.5, 0.99))
        print(f"latency  p50 {p50:.1f} ms, p99 {p99:.1f} ms from request to webhook, at 20/s")


async def compare(name: str, figure: Measure, ceiling: Measure, runs: int) -> None:
    """Runs in pairs, figure and ceiling in turn, so that a slow moment hits both."""
    pairs = []
    for number in range(runs):
        print(f"{name}: run {number + 1} of {runs}", end="\r", file=sys.stderr)
        pairs.append((await figure(), await ceiling()))
    rates, ceilings = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(rate / most for rate, most in pairs)
    print(f"{name:8} {rates:6.0f}/s   ceiling {ceilings:6.0f}/s   ratio {ratio:.2f}   (median of {runs})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--ceiling", choices=["bare", "floor"], default="bare")
    parser.add_argument("--only", choices=["drain", "intake", "latency"])
    trio.run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
