"""What it costs to have many queues in which nothing is due."""

from __future__ import annotations

import trio

from benchmarks.lab import HOUR, Lab

SETTLED = 2.0
"""Seconds until nothing of the filling is left to be done."""


async def queues(lab: Lab) -> dict[str, float]:
    """Memory, and processor time in per cent of one core, with one delayed task in each of many queues."""
    async with lab.bench() as bench:
        task = {**bench.plan.task("0"), "delay": HOUR}
        for first in range(0, lab.sizes.queues, 200):
            names = [f"queue-{number}" for number in range(first, min(first + 200, lab.sizes.queues))]
            await bench.ask("POST", "/v1/tasks/batch", {"tasks": [{**task, "queue": name} for name in names]})
        await trio.sleep(SETTLED)
        before = bench.cpu
        await trio.sleep(lab.sizes.idle)
        return {"memory_mib": bench.memory, "idle_percent": (bench.cpu - before) / lab.sizes.idle * 100}
