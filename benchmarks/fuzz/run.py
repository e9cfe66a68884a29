"""A run: a server, what it is asked, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from attrs import define, field

from benchmarks.fuzz.cases import Case, Cases
from benchmarks.fuzz.exchange import exchange
from benchmarks.fuzz.forms import DOOMED, NOWHERE, forms
from benchmarks.fuzz.ledger import Ledger, log_problems
from benchmarks.server import Server

WORKERS: Final = 8
MOST_GROWTH: Final = 150 << 20
"""Bytes by which the server may grow after its first tenth of the run."""
_KEPT: Final = "emails"
"""The queue of the examples."""
_NAMED: Final = 20
"""Tasks, schedules and keys for paths to name; some are deleted on the way."""
_MEMORY_EVERY: Final = 500
_FIT_TO_PRINT: Final = 2_000


@define
class Run:
    """``step`` is told how many requests were made, as they are made."""

    requests: int
    seed: int
    step: Callable[[int], None]
    ledger: Ledger = field(factory=lambda: Ledger(_KEPT))
    faults: list[str] = field(factory=list)
    made: int = 0
    seconds: float = 0
    doubted: int = 0
    memory: list[int] = field(factory=list)
    """Resident bytes of the server, every so many requests."""

    async def __call__(self, directory: str, only: int | None = None) -> None:
        """All cases, or ``only`` one; what is wrong is in ``faults``, which are lines for people."""
        server = Server(directory)
        try:
            await server.start()
            cases = await self._prepared(server)
            numbers = count() if only is None else iter([only])
            began = time.monotonic()
            async with trio.open_nursery() as nursery:
                for _ in range(WORKERS if only is None else 1):
                    nursery.start_soon(self._work, server, cases, numbers)
            self.seconds = time.monotonic() - began
        finally:
            code = server.stop()
        if code:
            self.faults.append(f"the server ended with exit code {code}")
        self.faults += log_problems(Path(directory) / "server.log")
        self.faults += await self.ledger.compare(f"sqlite:///{directory}/aq.db")
        if self.growth > MOST_GROWTH:
            self.faults.append(f"the server grew by {self.growth >> 20} MiB")

    @property
    def growth(self) -> int:
        """Bytes from the first tenth of the run to its end."""
        return self.memory[-1] - self.memory[len(self.memory) // 10] if self.memory else 0

    async def _prepared(self, server: Server) -> Cases:
        """Things to name, and what the server says that it can be asked."""
        async with server.client() as client:

            async def make(path: str, **body: Any) -> str:
                answer = await client.post(path, json=body)
                answer.raise_for_status()
                return str(answer.json().get("id", ""))

            task = {"webhook_url": NOWHERE, "queue": _KEPT}
            names = {
                "task_id": [await make("/v1/tasks", **task, delay=86_400) for _ in range(_NAMED)],
                "schedule_id": [await make("/v1/schedules", every=86_400, task=task) for _ in range(_NAMED)],
                "key_id": [await make("/v1/apikeys", name="fuzz") for _ in range(_NAMED)],
                "name": [DOOMED],
            }
            self.ledger.told |= dict.fromkeys(names["task_id"], _KEPT)
            await make("/v1/queues", name=DOOMED)
            document = (await client.get("/openapi.json")).json()
        return Cases(self.seed, forms(document), names, server.key)

    async def _work(self, server: Server, cases: Cases, numbers: Iterator[int]) -> None:
        async with server.client() as client:
            for number in numbers:
                if self.made >= self.requests:
                    return
                case = cases.case(number)
                await self._try(server, client, case)
                self.step(case.requests)
                if self.made // _MEMORY_EVERY >= len(self.memory):
                    self.memory.append(_resident(server.process.pid))

    async def _try(self, server: Server, client: httpx.AsyncClient, case: Case) -> None:
        self.made += case.requests
        came = await exchange(server.port, case)
        if came.fault is not None and case.methods is None and not came.answers:
            self.doubted += 1  # its handler had a second after the client's end; a busy machine may be slower
            came = await exchange(server.port, case)
        wrong = [came.fault, *map(self.ledger.note, came.answers)]
        told = [line for line in wrong if line is not None]
        if told:
            self.faults.append(self._replayable(case, told[0]))
        for answer in came.answers:
            if answer.status == 201 and not answer.headers.get("location", "/v1/tasks").startswith(
                "/v1/tasks"
            ):
                await client.delete(answer.headers["location"])  # lists stay short

    def _replayable(self, case: Case, fault: str) -> str:
        data = b"".join(case.pieces)
        more = f" … and {len(data) - _FIT_TO_PRINT:,} bytes more" if len(data) > _FIT_TO_PRINT else ""
        again = f"python -m benchmarks.fuzz --seed {self.seed} --case {case.number}"
        return f"{fault}\n  again: {again}\n  bytes: {data[:_FIT_TO_PRINT]!r}{more}"


def _resident(pid: int) -> int:
    """Bytes; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0
