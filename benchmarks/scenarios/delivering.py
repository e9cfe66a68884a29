"""How fast what is due is delivered: from a backlog, and while it comes in."""

from __future__ import annotations

import time

from aq.bench.plan import Plan
from benchmarks.lab import QUEUE, Door, Lab, calculate

CONCURRENCY = 64


async def drain(lab: Lab) -> dict[str, float]:
    """From the moment that the queue goes on to the last recorded end."""
    tasks = lab.sizes.drain
    async with lab.bench() as bench:
        await bench.queue(concurrency=CONCURRENCY, paused=True)
        await bench.fill(tasks)
        cpu, began = bench.cpu, time.perf_counter()
        await bench.ask("POST", f"/v1/queues/{QUEUE}/resume")
        await lab.sink.seen(tasks, 120)
        await bench.until_completed(tasks)
        ours = tasks / (time.perf_counter() - began)
        cpu = bench.cpu - cpu
        assert (await lab.sink.seen()).arrivals == tasks, "delivered twice, or not at all"
    most = lab.sizes.ceiling
    alone = await calculate("benchmarks.ceilings.delivery", lab.sink.url, str(most), str(CONCURRENCY))
    return {
        "rate": ours,
        "ceiling": alone["rate"],
        "cpu": cpu / tasks * 1_000,
        "ceiling_cpu": alone["cpu"] / most * 1_000,
    }


async def end_to_end(lab: Lab) -> dict[str, float]:
    """Single POSTs over 64 connections while the queue is drained: until the last recorded end."""
    tasks = lab.sizes.single
    async with lab.bench() as bench:
        await bench.queue(concurrency=CONCURRENCY)
        cpu = bench.cpu
        report = await bench.send(requests=tasks, connections=64)
        await lab.sink.seen(tasks, 120)
        await bench.until_completed(tasks)
        ours = tasks / (time.perf_counter() - report.began)
        cpu = bench.cpu - cpu
    await lab.sink.reset()
    most, door = lab.sizes.ceiling, ("benchmarks.ceilings.relay", "bare", lab.sink.url)
    async with lab.beside(*door) as relay:
        report = await relay.send(requests=most, connections=64)
        relayed = most / ((await lab.sink.seen(most, 60)).last - report.began)
    return {"rate": ours, "ceiling": relayed, "cpu": cpu / tasks * 1_000}


async def sink(lab: Lab) -> dict[str, float]:
    """The load of one process straight at the sink: neither may bind where something else is measured."""
    await lab.sink.reset()
    door = Door(Plan(url=lab.sink.url, webhook_url=lab.sink.url))
    return {"rate": (await door.send(requests=lab.sizes.drain, connections=CONCURRENCY)).rate}
