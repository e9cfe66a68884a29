"""Processes of a benchmark: each prints its port when it is ready, and ends when its stdin is closed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cattrs
import httpx
import trio
from attrs import frozen

from aq.bench.load import Report
from aq.bench.plan import Plan
from aq.bench.sink import Seen


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[int]:
    """The port of ``python -m ARGUMENTS``, ended with the block. Raises RuntimeError if it says none."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        said = await process.stdout.receive_some()  # type: ignore[union-attr]  # it is a pipe
        if not said:
            raise RuntimeError(f"{' '.join(arguments)} ended before it was ready")
        yield int(said)
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


@frozen
class SinkProcess:
    """A sink that runs, asked from outside."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def hanging_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hang"

    async def seen(self, arrivals: int = 0, seconds: float = 0) -> Seen:
        """What it saw, once so many have arrived or so many seconds have passed."""
        return await self._ask(f"seen?arrivals={arrivals}&seconds={seconds}", seconds)

    async def reset(self) -> None:
        await self._ask("reset", 0)

    async def _ask(self, what: str, seconds: float) -> Seen:
        async with httpx.AsyncClient(trust_env=False, timeout=seconds + 30) as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/-/{what}")
        return cattrs.structure(answer.json(), Seen)


@asynccontextmanager
async def open_sink() -> AsyncIterator[SinkProcess]:
    async with program("aq.bench.sink") as port:
        yield SinkProcess(port)


async def send(plan: Plan) -> Report:
    """Send a plan from a process of its own. Raises CalledProcessError when the server cannot be reached."""
    done = await trio.run_process(
        [sys.executable, "-m", "aq.bench.load"],
        stdin=json.dumps(cattrs.unstructure(plan)).encode(),
        capture_stdout=True,
        capture_stderr=True,
    )
    return cattrs.structure(json.loads(done.stdout), Report)
