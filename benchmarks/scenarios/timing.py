"""When things happen: at low load, at their due time, beside an endpoint that hangs."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from aq.bench.plan import stamp
from benchmarks.lab import HOUR, QUEUE, Bench, Door, Lab, database

HANDED_IN = 500
"""Timers in a request."""


# -- latency ------------------------------------------------------------------------------------------------
async def latency(lab: Lab) -> dict[str, float]:
    """From the moment a POST was to be sent to the arrival of its webhook, at 20 a second."""
    async with lab.bench() as bench:
        ours = await ages(lab, bench, lab.sizes.latency)
    figures = {"p50_ms": ours[0], "p99_ms": ours[1], "p99_by_p50": ours[1] / ours[0]}
    for name, door in (("floor", "quart"), ("bare", "bare")):
        with database() as path:
            async with lab.beside("benchmarks.ceilings.relay", door, lab.sink.url, path) as relay:
                figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = await ages(
                    lab, relay, lab.sizes.latency // 2
                )
    return figures


async def ages(lab: Lab, door: Door, tasks: int) -> tuple[float, float]:
    """p50 and p99 in ms; the first tasks, on fresh connections, do not count."""
    rate = lab.sizes.latency_rate
    await door.send(requests=8, rate=rate, connections=4)
    await lab.sink.seen(8, 10)
    await lab.sink.reset()
    await door.send(requests=tasks, rate=rate, connections=4)
    found = (await lab.sink.seen(tasks, 10)).ages
    return found.quantile(0.5) * 1e3, found.quantile(0.99) * 1e3


# -- timers -------------------------------------------------------------------------------------------------
async def timers(lab: Lab) -> dict[str, float]:
    """Tasks with a due time each, evenly over some seconds: how many come early, how late are the others."""
    tasks, over = lab.sizes.timers, lab.sizes.timers_over
    async with lab.bench() as bench:
        await bench.queue()
        lead = 1 + 2 * await _takes(bench) * tasks / HANDED_IN
        wall, monotonic = time.time() + lead, time.perf_counter() + lead
        for first in range(0, tasks, HANDED_IN):
            spans = [number * over / tasks for number in range(first, min(first + HANDED_IN, tasks))]
            batch = [_timer(bench, wall + span, monotonic + span) for span in spans]
            await bench.ask("POST", "/v1/tasks/batch", {"tasks": batch})
        assert time.perf_counter() < monotonic, "it took too long to hand in the timers"
        seen = await lab.sink.seen(tasks, lead + over + 60)
        assert seen.arrivals == tasks, f"{seen.arrivals} of {tasks} timers arrived"
    return {
        "early": seen.early,
        "p50_ms": seen.ages.quantile(0.5) * 1e3,
        "p99_ms": seen.ages.quantile(0.99) * 1e3,
        "max_ms": seen.ages.most * 1e3,
    }


async def _takes(bench: Bench) -> float:
    """Seconds that handing in a request of timers takes on this machine."""
    task = {**bench.plan.task(stamp(0)), "queue": "warm", "delay": HOUR}
    began = time.perf_counter()
    await bench.ask("POST", "/v1/tasks/batch", {"tasks": [task] * HANDED_IN})
    return time.perf_counter() - began


def _timer(bench: Bench, wall: float, monotonic: float) -> dict[str, object]:
    """A task that is due at a moment of the wall clock; it carries the same moment of the monotonic clock."""
    due = datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds")
    return {**bench.plan.task(stamp(monotonic)), "run_at": due.replace("+00:00", "Z")}


# -- an endpoint that hangs ---------------------------------------------------------------------------------
async def hanging(lab: Lab) -> dict[str, float]:
    """p99 from POST to webhook of a healthy queue, alone, then while all slots of another one hang."""
    async with lab.bench() as bench:
        await bench.ask("POST", "/v1/queues", {"name": "hanging", "concurrency": 50, "timeout": 900})
        await _healthy(lab, bench, 1)  # connections and code are warm then
        alone = await _healthy(lab, bench, lab.sizes.hanging)
        hung = {**bench.plan.task(stamp(0)), "queue": "hanging", "webhook_url": lab.sink.hanging_url}
        await bench.ask("POST", "/v1/tasks/batch", {"tasks": [hung] * 500})
        beside = await _healthy(lab, bench, lab.sizes.hanging)
    return {"alone_p99_ms": alone, "beside_p99_ms": beside}


async def _healthy(lab: Lab, bench: Bench, seconds: float) -> float:
    await lab.sink.reset()
    tasks = int(100 * seconds)
    await bench.send(queue=QUEUE, requests=tasks, rate=100, connections=8)
    return (await lab.sink.seen(tasks, 10)).ages.quantile(0.99) * 1e3
