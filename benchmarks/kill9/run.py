"""One run: clients, receiver and reaper together, then the judgement."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from random import Random

import httpx
import trio
from attrs import define, field

from aq.storage import open_storage
from aq.storage.answers import StoredTask, TaskFilter
from benchmarks.kill9.clients import CLIENTS, QUEUES, RHYTHMS, Client, follow_events, prepare
from benchmarks.kill9.judge import judge
from benchmarks.kill9.ledger import Death, Ledger, Rhythm
from benchmarks.kill9.lives import Lives
from benchmarks.kill9.reaper import Reaper
from benchmarks.kill9.receiver import Receiver
from benchmarks.server import until

_PATIENCE = 300
"""Seconds after the last death until all must have ended."""


@define
class Run:
    """``kills`` times -9 and ``terms`` times SIGTERM, of which every fourth is sent twice."""

    folder: str
    kills: int
    terms: int
    seed: int
    died: Callable[[], object]
    """Called after each death."""
    ledger: Ledger = field(factory=Ledger)
    lives: Lives = field(init=False)
    reaper: Reaper = field(init=False)

    async def __call__(self) -> list[tuple[str, str]]:
        """The faults; none is as it should be."""
        self.lives = Lives(self.folder, self.ledger.lives)
        receiver = Receiver(self.ledger, trio.Event())
        self.reaper = Reaper(self.lives, Random(self.seed), lambda: receiver.arrived)
        try:
            async with trio.open_nursery() as nursery:
                port = await nursery.start(receiver.serve)
                self.lives.begin()
                await self.reaper.until_ready()
                await prepare(self.lives, self.ledger, port)
                await self.lives.end(Death.KILL)
                await self._under_load(port)
                await self._rest()
                nursery.cancel_scope.cancel()
            return [*await self._verdict(), *_in_log(self.lives.log.read_text())]
        finally:
            self.lives.destroy()

    async def _under_load(self, port: int) -> None:
        deaths = [Death.KILL] * (self.kills - 1)
        deaths += [Death.TWICE if number % 4 == 3 else Death.TERM for number in range(self.terms)]
        Random(self.seed).shuffle(deaths)
        async with trio.open_nursery() as following:
            following.start_soon(follow_events, self.lives)
            async with trio.open_nursery() as asking:
                enough = trio.Event()
                for number in range(CLIENTS):
                    client = Client(
                        self.lives,
                        self.ledger,
                        port,
                        Random(f"{self.seed}-{number}"),
                        f"c{number}",
                        self.reaper.acknowledge,
                        enough,
                    )
                    asking.start_soon(client.run)
                self.died()
                for death in deaths:
                    await self.reaper.one_life(death)
                    self.died()
                self.lives.begin()
                await self.reaper.until_ready()
                enough.set()  # they leave when they know what came of what they asked last
            following.cancel_scope.cancel()

    async def _rest(self) -> None:
        """The last life, in which all comes to its end."""
        async with self.lives.client() as client:
            for rhythm in self.ledger.rhythms:
                await self._until_it_beats(client, rhythm)
                (await client.delete(f"/v1/schedules/{rhythm.id}")).raise_for_status()

            async def ended() -> bool:
                answers = [await client.get(f"/v1/queues/{queue}") for queue in (*QUEUES, *RHYTHMS)]
                counts = [answer.json()["counts"] for answer in answers if answer.is_success]
                return not any(count["pending"] + count["active"] for count in counts)

            with trio.move_on_after(_PATIENCE):
                await until(ended, every=0.1)
        await self.lives.end(Death.TERM)

    async def _until_it_beats(self, client: httpx.AsyncClient, rhythm: Rhythm) -> None:
        """A schedule has made up for what it missed, and goes on: it has a task for each slot until now."""

        async def beats() -> bool:
            counts = (await client.get(f"/v1/queues/{rhythm.queue}")).json()["counts"]
            made = sum(counts[status] for status in ("pending", "active", "completed", "failed"))
            return bool(rhythm.created_at + made * rhythm.every > self.lives.now.began)

        with trio.fail_after(_PATIENCE):
            await until(beats, every=0.1)

    async def _verdict(self) -> list[tuple[str, str]]:
        """By the store itself, once its last process has ended; ``aq doctor`` has a word too."""
        command = [sys.executable, "-m", "aq", "doctor", "--storage", self.lives.storage]
        doctor = await trio.run_process(command, check=False, capture_stdout=True, stderr=subprocess.STDOUT)
        async with open_storage(self.lives.storage) as storage:
            kept: dict[str, StoredTask] = {}
            before: str | None = None
            while True:
                page = await storage.list_tasks(TaskFilter(), limit=100, before=before)
                for task in page.tasks:
                    stored = await storage.task(task.id)
                    assert stored is not None
                    kept[task.id] = stored
                if (before := page.more) is None:
                    break
        faults = judge(self.ledger, kept)
        if doctor.returncode:
            faults.append(("aq doctor is not content", doctor.stdout.decode()))
        return faults


def _in_log(log: str) -> list[tuple[str, str]]:
    """A server that is ended has nothing to be surprised by."""
    where = log.find("Traceback")
    return [] if where < 0 else [("a traceback in the log", log[max(0, where - 300) : where + 2_000])]


def figures(ledger: Ledger, began: float) -> str:
    """What there was to judge, in one line."""
    killed = sum(life.death is Death.KILL for life in ledger.lives)
    told = sum(life.death in (Death.TERM, Death.TWICE) for life in ledger.lives)
    deliveries = sum(map(len, ledger.arrivals.values()))
    seconds = time.time() - began
    return (
        f"{killed} kills and {told} SIGTERMs in {seconds:.0f} s ({killed / seconds:.2f} kills/s);"
        f" {len(ledger.made):,} tasks acknowledged, {ledger.requests:,} requests, {deliveries:,} deliveries"
    )
