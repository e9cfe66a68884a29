"""How fast tasks are taken, each on disk before its answer. They are due in an hour: nothing is delivered."""

from __future__ import annotations

from benchmarks.lab import HOUR, Lab, calculate, database

CONNECTIONS = 32
BATCH = 500


async def single(lab: Lab) -> dict[str, float]:
    """One task a request, through the lane and without it, beside bare doors that keep nothing."""
    many = {"requests": lab.sizes.single, "connections": CONNECTIONS}
    few = {"requests": lab.sizes.slow, "connections": CONNECTIONS}
    figures: dict[str, float] = {}
    async with lab.bench() as bench:
        report = await bench.send(delay=HOUR, **many)
        figures |= {"lane": report.rate, "lane_p99_ms": report.latencies.quantile(0.99) * 1e3}
    async with lab.beside("benchmarks.ceilings.bare") as door:
        figures["echo"] = (await door.send(**many)).rate
    async with lab.bench("--no-lane") as bench:
        figures["quart"] = (await bench.send(delay=HOUR, **few)).rate
    for name in ("quart", "asgi"):
        async with lab.beside("benchmarks.ceilings.framework", name) as door:
            figures[f"empty_{name}"] = (await door.send(**few)).rate
    return figures


async def batches(lab: Lab) -> dict[str, float]:
    """500 tasks a request over 4 connections, beside ``executemany`` of 500 rows and a commit."""
    async with lab.bench() as bench:
        report = await bench.send(batch=BATCH, requests=lab.sizes.batches, connections=4, delay=HOUR)
    with database() as path:
        arguments = (path, str(lab.sizes.batches), str(BATCH))
        bare = await calculate("benchmarks.ceilings.executemany", *arguments)
    return {"rate": report.rate, "ceiling": bare["rate"]}
