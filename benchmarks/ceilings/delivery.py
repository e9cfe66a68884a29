"""The delivery alone: the same runner posting the same signed bodies, without storage and actors.

python -m benchmarks.ceilings.delivery URL TASKS CONCURRENCY     prints {"rate": per second, "cpu": seconds}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from aq.bench.plan import Plan, stamp
from aq.delivery.protocol import Delivery, Runner
from aq.delivery.signing import Secret
from aq.delivery.webhook import open_webhook_runner
from aq.instants import from_seconds
from aq.outcome import AttemptStatus
from aq.task import Environment, QueueKey


@asynccontextmanager
async def runner() -> AsyncIterator[Runner]:
    async with open_webhook_runner(
        secrets=[Secret(b"x" * 32)], now=lambda: from_seconds(time.time()), allow=["127.0.0.0/8"]
    ) as run:
        yield run


def delivery(url: str, payload: bytes, number: int) -> Delivery:
    return Delivery(
        task_id=f"task_{number:026}",
        queue=QueueKey(Environment.LIVE, "bench"),
        webhook_url=url,
        payload=payload,
        attempt=1,
        timeout=30,
        due_at=0,
        started_at=0,
    )


async def measure(url: str, tasks: int, concurrency: int) -> dict[str, float]:
    payload = json.dumps(Plan(url="", webhook_url=url).payload(stamp(time.perf_counter()))).encode()
    left = iter(range(tasks))

    async def worker() -> None:
        for number in left:
            outcome = await run(delivery(url, payload, number))
            assert outcome.status is AttemptStatus.SUCCESS, outcome

    async with runner() as run:
        began, cpu = time.perf_counter(), time.process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(concurrency):
                nursery.start_soon(worker)
        return {"rate": tasks / (time.perf_counter() - began), "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(trio.run(measure, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
