"""Where scenarios run: sizes, one sink for all, servers with a folder each, and what is asked of them."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import trio
from attrs import evolve, frozen

from aq.bench.load import Report
from aq.bench.plan import Plan
from aq.bench.programs import SinkProcess, program, send
from benchmarks import usage
from benchmarks.server import Server, until

QUEUE = "bench"
HOUR = 3_600


@frozen(kw_only=True)
class Sizes:
    """How much each scenario does. The defaults are those of the table."""

    drain: int = 50_000
    ceiling: int = 20_000
    """Of what is measured beside ours and costs no accuracy to make shorter."""
    single: int = 16_000
    slow: int = 4_000
    """Requests through Quart."""
    batches: int = 100
    """Of 500 tasks."""
    latency: int = 160
    """Tasks, at 20 a second."""
    latency_rate: float = 20
    timers: int = 10_000
    timers_over: float = 10
    """Seconds."""
    backlog: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    backlog_step: int = 8_000
    """Tasks drained, and half as many taken, at each depth."""
    queues: int = 10_000
    idle: float = 10
    """Seconds in which nothing should happen."""
    hanging: float = 6
    """Seconds of healthy load, alone and then beside the endpoint that hangs."""


QUICK = Sizes(
    drain=2_000,
    ceiling=2_000,
    single=1_000,
    slow=300,
    batches=4,
    latency=40,
    timers=500,
    timers_over=1,
    backlog=(1_000, 5_000),
    backlog_step=1_000,
    queues=200,
    idle=1,
    hanging=1,
)


@frozen
class Door:
    """Something that takes tasks. ``plan`` is a task that is due at once, to be delivered to the sink."""

    plan: Plan

    async def send(self, **changes: Any) -> Report:
        """From a process of its own; every request must be accepted."""
        report = await send(evolve(self.plan, **changes))
        assert not report.failed, (report.statuses, report.lost, report.unsent, report.refusal)
        return report


@frozen
class Bench(Door):
    """A server under test, and a client of it."""

    server: Server
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        answer = await self.client.request(method, path, json=document)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def queue(self, **policy: Any) -> None:
        await self.ask("POST", "/v1/queues", {"name": QUEUE, **policy})

    async def count(self, status: str) -> int:
        found = await self.ask("GET", f"/v1/queues/{QUEUE}")
        return int(found["counts"][status])

    async def fill(self, tasks: int, **changes: Any) -> Report:
        """In batches, as many as 500 a request, over 4 connections."""
        size = min(500, tasks)
        return await self.send(batch=size, requests=-(-tasks // size), connections=4, **changes)

    async def until_completed(self, tasks: int) -> None:
        async def done() -> bool:
            return await self.count("completed") >= tasks

        with trio.fail_after(60):
            await until(done)

    @property
    def cpu(self) -> float:
        return usage.cpu(self.server.process.pid)

    @property
    def memory(self) -> float:
        return usage.memory(self.server.process.pid)


@frozen
class Lab:
    sizes: Sizes
    sink: SinkProcess

    @asynccontextmanager
    async def bench(self, *options: str) -> AsyncIterator[Bench]:
        """A server of its own on an empty store, and the sink counting anew."""
        await self.sink.reset()
        with tempfile.TemporaryDirectory(prefix="aq-bench-") as folder:
            server = Server(folder, *options)
            await server.start()
            try:
                async with server.client() as client:
                    client.timeout = httpx.Timeout(120)
                    plan = Plan(url=server.url, webhook_url=self.sink.url, key=server.key)
                    yield Bench(plan, server, client)
            finally:
                server.stop()

    @asynccontextmanager
    async def beside(self, *arguments: str) -> AsyncIterator[Door]:
        """A ceiling's program, for the same load as a server."""
        async with program(*arguments) as port:
            yield Door(Plan(url=f"http://127.0.0.1:{port}", webhook_url=self.sink.url, key="aq_live_x" * 6))


@contextmanager
def database() -> Iterator[str]:
    """A path for a database that goes with the block."""
    with tempfile.TemporaryDirectory(prefix="aq-bench-") as folder:
        yield f"{folder}/bare.db"


async def calculate(*arguments: str) -> dict[str, float]:
    """What a program that measures by itself has printed."""
    done = await trio.run_process([sys.executable, "-m", *arguments], capture_stdout=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
