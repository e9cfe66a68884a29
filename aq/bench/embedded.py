"""A plan against an engine in this process, with any runner: what is left of the costs without HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import trio

from aq.bench.load import Report
from aq.bench.plan import Plan, stamp
from aq.bench.sink import Seen
from aq.bench.spread import Spread
from aq.delivery.protocol import Delivery, Runner
from aq.engine import Engine
from aq.errors import AsyncQueueError
from aq.opening import open_engine
from aq.outcome import Outcome
from aq.task import NewTask


async def nothing(delivery: Delivery) -> Outcome:
    """The runner that is done at once."""
    return Outcome.success()


class Embedded:
    """``plan.connections`` submitters of one engine. ``seen`` counts the runner's calls by age; the last
    of them may take ``patience`` seconds.
    """

    def __init__(
        self, plan: Plan, runner: Runner, patience: float, tell: Callable[[float, Spread], None]
    ) -> None:
        self.plan = plan
        self.report = Report()
        self.seen = Seen()
        self._runner = runner
        self._patience = patience
        self._tell = tell
        self._recent = Spread()
        self._sent = 0
        self._all_seen = trio.Event()
        self._all_sent = False

    async def run(self, storage: str) -> None:
        async with open_engine(storage, runner=self._run) as engine:
            self._began = self.report.began = time.perf_counter()
            async with trio.open_nursery() as narrating:
                narrating.start_soon(self._narrate)
                self._until = self._began + (self.plan.seconds or float("inf"))
                async with trio.open_nursery() as nursery:
                    for _ in range(self.plan.connections):
                        nursery.start_soon(self._submit, engine)
                self.report.seconds = time.perf_counter() - self._began
                self._all_sent = True
                self._look()
                with trio.move_on_after(self._patience + self.plan.delay):
                    await self._all_seen.wait()
                narrating.cancel_scope.cancel()

    async def _submit(self, engine: Engine) -> None:
        while self._sent != self.plan.requests and (at := self._next()) < self._until:
            self._sent += 1
            if (now := time.perf_counter()) > self._until:
                self._missed(at, now)
                continue
            if at > now:
                await trio.sleep(at - now)
            new = self._task(at)
            try:
                if self.plan.batch > 1:
                    await engine.submit_all([new] * self.plan.batch)
                else:
                    await engine.submit(new)
            except AsyncQueueError as error:
                self.report.statuses[error.status] = self.report.statuses.get(error.status, 0) + 1
                self.report.refusal = self.report.refusal or str(error)
            else:
                self.report.statuses[201] = self.report.statuses.get(201, 0) + 1
                self.report.tasks += self.plan.batch
                for spread in (self.report.latencies, self._recent):
                    spread.add(time.perf_counter() - at)

    def _next(self) -> float:
        """When the next request is meant to be sent."""
        return self._began + self._sent / self.plan.rate if self.plan.rate else time.perf_counter()

    def _missed(self, at: float, now: float) -> None:
        """The time was over before a submitter of the open loop was free for it."""
        self.report.unsent += 1
        self.report.latencies.add(now - at)

    def _task(self, at: float) -> NewTask:
        plan = self.plan
        return NewTask(plan.queue, plan.webhook_url, plan.payload(stamp(at)), delay=plan.delay)

    async def _run(self, delivery: Delivery) -> Outcome:
        now = time.perf_counter()
        self.seen.arrivals += 1
        self.seen.first = self.seen.first or now
        self.seen.last = now
        self.seen.ages.add(now - float(json.loads(delivery.payload)["at"]))
        try:
            return await self._runner(delivery)
        finally:
            self._look()

    def _look(self) -> None:
        if self._all_sent and self.seen.arrivals >= self.report.tasks:
            self._all_seen.set()

    async def _narrate(self) -> None:
        while True:
            await trio.sleep(1)
            recent, self._recent = self._recent, Spread()
            self._tell(time.perf_counter() - self._began, recent)
