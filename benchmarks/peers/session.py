"""One run of a peer, and of ours: filled, drained, end to end, at low load, and at last only taken."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio
from attrs import evolve, frozen

from aq.bench.programs import SinkProcess, send
from benchmarks.lab import HOUR, QUEUE, Lab
from benchmarks.peers import install
from benchmarks.peers.peers import Peer
from benchmarks.scenarios.delivering import CONCURRENCY
from benchmarks.scenarios.intake import CONNECTIONS
from benchmarks.scenarios.timing import ages

Figures = dict[str, float]
PATIENCE = 60


@frozen(kw_only=True)
class Amounts:
    """How many jobs each part of a run has."""

    drain: int = 15_000
    end_to_end: int = 6_000
    intake: int = 4_000
    latency: int = 80
    """At 20 a second."""


QUICK = Amounts(drain=500, end_to_end=300, intake=200, latency=20)


async def of_peer(peer: Peer, sink: SinkProcess, amounts: Amounts) -> Figures:
    with tempfile.TemporaryDirectory(prefix="aq-peers-") as folder:
        async with peer.broker(Path(folder)) as at:
            return await Session(peer, at, sink, Path(folder)).run(amounts)


@frozen
class Session:
    peer: Peer
    at: str
    sink: SinkProcess
    folder: Path

    async def run(self, amounts: Amounts) -> Figures:
        figures = await self._fill(amounts.drain)
        await self.sink.reset()
        async with self._working():
            seen = await self.sink.seen(amounts.drain, PATIENCE)
            assert seen.arrivals == amounts.drain, self._log(
                f"{seen.arrivals} of {amounts.drain} jobs arrived"
            )
            figures["drain"] = (seen.arrivals - 1) / (seen.last - seen.first)
            await self.sink.reset()
            began = (await self._add(amounts.end_to_end, 64))["began"]
            seen = await self.sink.seen(amounts.end_to_end, PATIENCE)
            assert seen.arrivals == amounts.end_to_end, (
                f"{seen.arrivals} of {amounts.end_to_end} jobs arrived"
            )
            figures["end_to_end"] = seen.arrivals / (seen.last - began)
            figures |= await self._latency(amounts.latency)
        figures["intake"] = (await self._add(amounts.intake, 32))["rate"]
        return figures

    async def _fill(self, jobs: int) -> Figures:
        if not self.peer.bulk:
            await self._ask("add", jobs=jobs, inFlight=64, url=self.sink.url)
            return {}
        filled = await self._ask("bulk", jobs=jobs, size=500, url=self.sink.url)
        return {"bulk": filled["rate"]}

    async def _add(self, jobs: int, in_flight: int) -> Figures:
        if self.peer.submit is None:
            return await self._ask("add", jobs=jobs, inFlight=in_flight, url=self.sink.url)
        plan = evolve(self.peer.submit(self.at, self.sink.url), requests=jobs, connections=in_flight)
        report = await send(plan)
        assert not report.failed, (report.statuses, report.refusal)
        return {"rate": report.rate, "began": report.began}

    async def _latency(self, jobs: int) -> Figures:
        await self._pace(8)
        await self.sink.seen(8, 10)
        await self.sink.reset()
        await self._pace(jobs)
        ages = (await self.sink.seen(jobs, 20)).ages
        return {"p50_ms": ages.quantile(0.5) * 1e3, "p99_ms": ages.quantile(0.99) * 1e3}

    async def _pace(self, jobs: int) -> None:
        if self.peer.submit is None:
            await self._ask("pace", jobs=jobs, rate=20, url=self.sink.url)
        else:
            plan = self.peer.submit(self.at, self.sink.url)
            await send(evolve(plan, requests=jobs, rate=20, connections=4))

    async def _ask(self, what: str, **given: object) -> Figures:
        """What a program of the peer has measured."""
        done = await trio.run_process(
            [*self.peer.command(self.at), what, json.dumps(given)],
            capture_stdout=True,
            capture_stderr=True,
            env=self._environment(),
            check=False,
        )
        assert done.returncode == 0, f"{self.peer.name} {what}: {done.stderr.decode()[-2_000:]}"
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        command = [*self.peer.command(self.at), "work", json.dumps(self.peer.work)]
        if self.peer.workers is not None:
            command = list(self.peer.workers(self.at))
        with (self.folder / "workers.log").open("w") as log, ExitStack() as ended:
            for _ in range(self.peer.processes):
                process = subprocess.Popen(  # noqa: ASYNC220  # nothing else is to be done meanwhile
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._environment()
                )
                ended.enter_context(process)
                ended.callback(process.terminate)
            yield

    def _log(self, text: str) -> str:
        """With what the workers have said last."""
        said = (self.folder / "workers.log").read_text().strip().splitlines()
        return f"{text}; its workers said: {said[-1]}" if said else text

    def _environment(self) -> dict[str, str]:
        return {**install.environment(), **self.peer.environment(self.at)}


async def of_ours(lab: Lab, amounts: Amounts) -> Figures:
    """The same with one server process of ours; drained is what has a recorded end."""
    async with lab.bench() as bench:
        await bench.queue(concurrency=CONCURRENCY, paused=True)
        figures = {"bulk": (await bench.fill(amounts.drain)).rate}
        began = time.perf_counter()
        await bench.ask("POST", f"/v1/queues/{QUEUE}/resume")
        await lab.sink.seen(amounts.drain, PATIENCE)
        await bench.until_completed(amounts.drain)
        figures["drain"] = amounts.drain / (time.perf_counter() - began)
        began = (await bench.send(requests=amounts.end_to_end, connections=64)).began
        await bench.until_completed(amounts.drain + amounts.end_to_end)
        figures["end_to_end"] = amounts.end_to_end / (time.perf_counter() - began)
        figures["p50_ms"], figures["p99_ms"] = await ages(lab, bench, amounts.latency)
        report = await bench.send(requests=amounts.intake, connections=CONNECTIONS, delay=HOUR)
        return {**figures, "intake": report.rate}
