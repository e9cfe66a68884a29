"""What a backlog costs: in speed, memory, disk, reading and starting, from thousands to millions of tasks."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.lab import QUEUE, Bench, Lab
from benchmarks.scenarios.delivering import CONCURRENCY
from benchmarks.scenarios.intake import CONNECTIONS

WINDOWS = 3
"""Measurements at each depth; the figure is their median."""
READS = 15


async def backlog(lab: Lab) -> dict[str, float]:
    """Figures of each depth, named by it: ``10000_drain``."""
    figures: dict[str, float] = {}
    for depth in lab.sizes.backlog:
        figures |= {f"{depth}_{name}": value for name, value in (await at(lab, depth)).items()}
    return figures


async def at(lab: Lab, depth: int) -> dict[str, float]:
    async with lab.bench() as bench:
        await bench.queue(concurrency=CONCURRENCY, paused=True)
        empty = bench.memory
        filling = await bench.fill(depth)
        speeds = [await speed(lab, bench, depth) for _ in range(WINDOWS)]
        figures = {name: statistics.median(run[name] for run in speeds) for name in speeds[0]}
        figures["fill"] = filling.rate
        figures |= await reads(bench, depth)
        figures["memory_mib"] = bench.memory
        figures["memory_bytes_per_task"] = (bench.memory - empty) * (1 << 20) / depth
        figures["disk_bytes_per_task"] = _size(bench) / depth
        bench.server.stop()
        began = time.perf_counter()
        await bench.server.start()
        figures["ready_s"] = time.perf_counter() - began
        assert await bench.count("pending") >= depth
        return figures


async def speed(lab: Lab, bench: Bench, depth: int) -> dict[str, float]:
    """Take some tasks, drain twice as many, and fill up again: the depth is never below the one asked for."""
    step = min(lab.sizes.backlog_step, depth)
    intake = await bench.send(requests=step // 2, connections=CONNECTIONS)
    await bench.fill(step // 2)
    await lab.sink.reset()
    await bench.ask("POST", f"/v1/queues/{QUEUE}/resume")
    began = time.perf_counter()
    seen = await lab.sink.seen(step, 120)
    await bench.ask("POST", f"/v1/queues/{QUEUE}/pause")
    missing = depth - await bench.count("pending")
    if missing > 0:
        await bench.fill(missing)
    return {"intake": intake.rate, "drain": seen.arrivals / (seen.last - began)}


async def reads(bench: Bench, depth: int) -> dict[str, float]:
    """Milliseconds of a page, of a page far down by cursor, of the counts and of one task; the medians."""
    limit = min(100, depth // 4)
    pages = f"/v1/tasks?queue={QUEUE}&status=pending&limit={limit}"
    page = await bench.ask("GET", f"{pages}&offset={min(10_000, depth // 2)}")
    paths = {
        "list_ms": f"/v1/tasks?queue={QUEUE}&limit={limit}",
        "cursor_ms": f"{pages}&cursor={page['pagination']['next_cursor']}",
        "count_ms": f"/v1/queues/{QUEUE}",
        "get_ms": f"/v1/tasks/{page['tasks'][0]['id']}",
    }
    return {name: await _milliseconds(bench, path) for name, path in paths.items()}


async def _milliseconds(bench: Bench, path: str) -> float:
    spans = []
    for _ in range(READS):
        began = time.perf_counter()
        await bench.ask("GET", path)
        spans.append(time.perf_counter() - began)
    return statistics.median(spans) * 1e3


def _size(bench: Bench) -> int:
    return sum(path.stat().st_size for path in Path(bench.server.directory).glob("aq.db*"))
