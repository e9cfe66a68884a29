"""Sends a plan over HTTP and measures the answers. It costs little: asyncio protocols over a parser in C.

python -m aq.bench.load    reads a plan (JSON) from stdin, prints what came of it (JSON)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import cattrs
import httptools
from attrs import define, field

from aq.bench.plan import Plan
from aq.bench.spread import Spread

_PATIENCE: Final = 30.0
"""Seconds that answers may take after the last request has left."""
_SOON: Final = 1e-6
"""Seconds within which a moment is the end itself."""
_AGAIN: Final = 0.1
"""Seconds until a connection that was lost is made again."""


@define
class Report:
    """``tasks`` were accepted in ``seconds``, from the first request, at ``began`` of the monotonic clock, to
    the last answer.

    ``latencies`` are of accepted requests, and of those due that were never sent or answered, at the age that
    they had in the end. ``refusal`` is the first answer that was no 2xx.
    """

    tasks: int = 0
    began: float = 0.0
    seconds: float = 0.0
    statuses: dict[int, int] = field(factory=dict)
    latencies: Spread = field(factory=Spread)
    lost: int = 0
    """Requests whose connection ended before their answer."""
    unsent: int = 0
    """Requests of an open loop that were due and found no connection free until the end."""
    refusal: str = ""

    @property
    def rate(self) -> float:
        """Tasks accepted per second."""
        return self.tasks / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests that were not accepted."""
        accepted = sum(count for status, count in self.statuses.items() if status // 100 == 2)
        return sum(self.statuses.values()) - accepted + self.lost + self.unsent


class Load:
    """One run of a plan; ``report`` grows while it runs, ``recent`` is what came since it was last taken."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.report = Report()
        self.recent = Spread()
        self._request = plan.request()
        self._gap = 1 / plan.rate if plan.rate else 0.0
        self._sent = 0
        self._connections: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()
        self._wake: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._dialling: set[asyncio.Task[None]] = set()
        self._ending = False

    async def run(self) -> Report:
        """Raises OSError when not one connection can be made at the start."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        await asyncio.gather(*(self._connect() for _ in range(self.plan.connections)))
        self._began = self._last = self.report.began = time.perf_counter()
        if self.plan.seconds is not None:
            self._loop.call_later(self.plan.seconds, self._end)
        for _ in range(len(self._idle)):
            self._feed()
        await self._over.wait()
        self._close()
        self.report.seconds = self._last - self._began
        return self.report

    def take_recent(self) -> Spread:
        recent, self.recent = self.recent, Spread()
        return recent

    # -- sending --------------------------------------------------------------------------------------------
    def _intended(self, number: int) -> float:
        """When a request of an open loop is to be sent."""
        return self._began + number * self._gap

    def _feed(self) -> None:
        """Give what is due to connections that are free; set the clock for what is due next."""
        if self._all_sent():
            self._finish()
        elif self.plan.rate is None:
            if self._idle:
                self._send(time.perf_counter())
        else:
            now = time.perf_counter()
            while self._idle and not self._all_sent() and self._intended(self._sent) <= now:
                self._send(self._intended(self._sent))
            if self._idle and not self._all_sent() and self._wake is None:
                self._wake = self._loop.call_later(self._intended(self._sent) - now, self._woken)

    def _send(self, at: float) -> None:
        self._sent += 1
        self._idle.popleft().send(at, self._request(at))

    def _woken(self) -> None:
        self._wake = None
        self._feed()

    def _all_sent(self) -> bool:
        return self._ending or self._sent == self.plan.requests

    def _end(self) -> None:
        """The time is over: what was due and was never sent is told of."""
        now = time.perf_counter()
        end = now if self.plan.seconds is None else self._began + self.plan.seconds - _SOON
        while self.plan.rate is not None and not self._all_sent() and self._intended(self._sent) < end:
            self._late(self._intended(self._sent), now)
            self._sent += 1
            self.report.unsent += 1
        self._ending = True
        self._finish()

    def _finish(self) -> None:
        """All is sent: wait for what is in flight, but not for ever."""
        if not any(connection.busy for connection in self._connections):
            self._over.set()
        elif self._patience is None:
            self._patience = self._loop.call_later(_PATIENCE, self._over.set)

    def _late(self, at: float, now: float) -> None:
        self.report.latencies.add(now - at)
        self.recent.add(now - at)

    # -- connections ----------------------------------------------------------------------------------------
    async def _connect(self) -> None:
        await self._loop.create_connection(
            lambda: _Connection(self), self.plan.host, self.plan.port, ssl=self.plan.ssl
        )

    async def _again(self) -> None:
        """Instead of a connection that was lost; when nobody answers for long, the run is over."""
        for _ in range(int(_PATIENCE / _AGAIN)):
            await asyncio.sleep(_AGAIN)
            if self._all_sent():
                return
            with suppress(OSError):
                await self._connect()
                self._feed()
                return
        self._end()

    def _close(self) -> None:
        now = time.perf_counter()
        for task in self._dialling:
            task.cancel()
        for connection in list(self._connections):
            if connection.busy:
                self.report.lost += 1
                self._late(connection.at, now)
                self._last = now
            connection.close()
        for timer in (self._wake, self._patience):
            if timer is not None:
                timer.cancel()

    def connected(self, connection: _Connection) -> None:
        self._connections.add(connection)
        self._idle.append(connection)

    def answered(self, connection: _Connection, status: int, body: bytes) -> None:
        self.report.statuses[status] = self.report.statuses.get(status, 0) + 1
        self._last = time.perf_counter()
        if status // 100 == 2:
            self.report.tasks += self.plan.batch
            self._late(connection.at, self._last)
        elif not self.report.refusal:
            self.report.refusal = body[:2_000].decode(errors="replace")
        self._idle.append(connection)
        self._feed()

    def gone(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if self._over.is_set():
            return
        if connection.busy:
            self.report.lost += 1
            self._late(connection.at, time.perf_counter())
        else:
            self._idle.remove(connection)
        task = self._loop.create_task(self._again())
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        self._feed()


class _Connection(asyncio.Protocol):
    """One request in flight at most."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.busy = False
        self.at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)
        self._load.connected(self)

    def send(self, at: float, request: bytes) -> None:
        self.busy, self.at, self._body = True, at, b""
        self._transport.write(request)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.busy = False
        self._load.answered(self, self._parser.get_status_code(), self._body)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.gone(self)


async def run(plan: Plan, tell: Callable[[float, Spread], None] | None = None, every: float = 1.0) -> Report:
    """Send a plan; ``tell`` hears of each ``every`` seconds what was accepted, and at what latencies."""
    load = Load(plan)

    async def narrate(tell: Callable[[float, Spread], None]) -> None:
        began = time.perf_counter()
        while True:
            await asyncio.sleep(every)
            tell(time.perf_counter() - began, load.take_recent())

    narrating = None if tell is None else asyncio.create_task(narrate(tell))
    try:
        return await load.run()
    finally:
        if narrating is not None:
            narrating.cancel()


def main() -> None:
    plan = cattrs.structure(json.load(sys.stdin), Plan)
    print(json.dumps(cattrs.unstructure(asyncio.run(run(plan)))))  # noqa: T201  # its answer


if __name__ == "__main__":
    main()
