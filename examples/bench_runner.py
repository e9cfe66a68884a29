"""How many tasks a second, and how late, with a runner of yours. Put it in the place of `work`.

python examples/bench_runner.py --tasks 20000 --storage sqlite:///bench.db
"""

from __future__ import annotations

import argparse
import time
from statistics import quantiles

import trio

from aq import Delivery, NewTask, Outcome, open_engine
from aq.instants import SECOND

CHUNK = 1_000


async def work(delivery: Delivery) -> Outcome:
    await trio.sleep(0.002)  # a call that takes two milliseconds
    return Outcome.success()


class Measured:
    """Runs each attempt by `work`, and notes how late it began and when the last one was over."""

    def __init__(self, tasks: int) -> None:
        self.left = tasks
        self.late: list[float] = []
        """Milliseconds between due and started."""
        self.over = trio.Event()

    async def __call__(self, delivery: Delivery) -> Outcome:
        self.late.append((delivery.started_at - delivery.due_at) / SECOND * 1_000)
        outcome = await work(delivery)
        self.left -= 1
        if self.left == 0:
            self.over.set()
        return outcome


async def main(tasks: int, storage: str, concurrency: int) -> None:
    measured = Measured(tasks)
    async with open_engine(storage=storage, runner=measured) as engine:
        await engine.queues.create("bench", concurrency=concurrency)
        await engine.queues.pause("bench")  # first all of them are put in, then they are worked off
        began = time.perf_counter()
        for first in range(0, tasks, CHUNK):
            numbers = range(first, min(first + CHUNK, tasks))
            await engine.submit_all([NewTask("bench", "http://localhost/", {"n": n}) for n in numbers])
        put_in = time.perf_counter()
        await engine.queues.resume("bench")
        await measured.over.wait()
        ended = time.perf_counter()
        print(f"put in     {tasks / (put_in - began):10,.0f} tasks/s")
        print(f"worked off {tasks / (ended - put_in):10,.0f} tasks/s, {concurrency} at a time")

        # Lateness says something only while there is no backlog: one after the other.
        measured.left, measured.over, measured.late = -1, trio.Event(), []
        for n in range(min(tasks, 500)):
            task = await engine.submit(NewTask("bench", "http://localhost/", {"n": n}))
            await engine.wait(task.id)
        cuts = quantiles(measured.late, n=100)
        print(f"late       {cuts[49]:.2f} ms in the middle, {cuts[98]:.2f} ms for one in a hundred")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--tasks", type=int, default=10_000)
    options.add_argument("--storage", default="memory:")
    options.add_argument("--concurrency", type=int, default=100)
    given = options.parse_args()
    trio.run(main, given.tasks, given.storage, given.concurrency)
